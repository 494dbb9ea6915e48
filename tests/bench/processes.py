"""Processes under measurement: starting and stopping them, their CPU time and memory, free ports, and one
blocking question to a server. Owns no knowledge of what is measured. Used by stand.py, load.py and idle.py.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Below the ports that the kernel gives to outgoing connections, and so that port + 10000 (a node's bus) is too.
PORTS = range(20_000, 22_500)
BUS_OFFSET = 10_000
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.05


class BenchError(Exception):
    """What keeps the benchmark from going on, in words for whoever started it."""


class Process:
    """A program that runs while the benchmark does; its output goes to a file."""

    def __init__(self, name: str, command: list[str], directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=directory
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        """Its resident set."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise BenchError(f"{self.name} ended\n{self.last_words()}")

    def check_alive(self) -> None:
        """Fails if it ended: nothing measured after that means anything."""
        if self.child.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.child.returncode}\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends it: by request first, then by force."""
        if self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process."""
    # The name in parentheses may hold spaces: count from behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def free_ports(count: int, offsets: Iterable[int] = (0,)) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens, nor on any of the offsets from them."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            return found
        if all(is_free(port + offset) for offset in offsets):
            found.append(port)
    raise BenchError(f"no {count} free ports in {PORTS}")


def is_free(port: int) -> bool:
    """Whether a listener could have this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ask(port: int, *arguments: str) -> str:
    """One command to a server, and its reply as text (simple strings, errors, integers and bulk strings)."""
    request = f"*{len(arguments)}\r\n" + "".join(f"${len(a)}\r\n{a}\r\n" for a in arguments)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request.encode())
        with connection.makefile("rb") as stream:
            line = stream.readline().rstrip(b"\r\n")
            if line.startswith(b"$") and line != b"$-1":
                line = stream.read(int(line[1:]))
    return line.decode(errors="replace")


def wait_until(what: str, condition: Callable[[], bool], *needed: Process) -> None:
    """Waits for a condition while the processes it depends on live."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        for process in needed:
            process.check_alive()
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            words = "\n".join(process.last_words() for process in needed)
            raise BenchError(f"not within {START_TIMEOUT_S:.0f} s: {what}\n{words}")
        time.sleep(POLL_S)
