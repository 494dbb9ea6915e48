"""A connection to a server behind everybody's back, as a user of its own: it works while a test has set a password, and
brings the server back to where it was. Used by judge.py, which makes the user, and by recorder.py.
"""

from __future__ import annotations

import socket

USER = "suite-judge"
PASSWORD = "suite-judge"
TIMEOUT_S = 20


class Administrator:
    """One server's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stream: socket.SocketIO | None = None

    def create_user(self) -> None:
        """On a server that has no password yet."""
        self.connect()
        self.ask("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")

    def tidy(self, *, thoroughly: bool) -> None:
        """No keys; after a test that failed, and may not have cleaned up, also no functions, settings or users."""
        try:
            self.tidy_once(thoroughly=thoroughly)
        except (OSError, EOFError):
            # A test may end everybody's connections.
            self.connect()
            self.ask("AUTH", USER, PASSWORD)
            self.tidy_once(thoroughly=thoroughly)

    def tidy_once(self, *, thoroughly: bool) -> None:
        """The commands."""
        if self.stream is None:
            raise EOFError
        self.ask("FLUSHALL")
        if not thoroughly:
            return
        self.ask("FUNCTION", "FLUSH")
        self.ask("REPLICAOF", "NO", "ONE")
        for setting, value in (("requirepass", ""), ("notify-keyspace-events", ""), ("maxmemory", "0")):
            self.ask("CONFIG", "SET", setting, value)
        self.ask("ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all")
        users = self.ask("ACL", "USERS")
        for user in users if isinstance(users, list) else []:
            if user not in ("default", USER):
                self.ask("ACL", "DELUSER", str(user))

    def connect(self) -> None:
        """A new connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        self.stream = connection.makefile("rwb", buffering=0)

    def ask(self, *arguments: str) -> object:
        """One command; an error is a reply like any other."""
        stream = self.stream
        if stream is None:
            raise EOFError
        request = f"*{len(arguments)}\r\n" + "".join(f"${len(a)}\r\n{a}\r\n" for a in arguments)
        stream.write(request.encode())
        return self.reply()

    def reply(self) -> object:
        """The reply in RESP2: text, or a list."""
        stream = self.stream
        line = stream.readline() if stream else b""
        if not line.endswith(b"\r\n") or stream is None:
            raise EOFError
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"$" and rest != "-1":
            return self.exactly(int(rest) + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < size:
            more = self.stream.read(size - len(data)) if self.stream else None
            if not more:
                raise EOFError
            data += more
        return data
