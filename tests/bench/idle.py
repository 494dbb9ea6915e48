"""Many idle clients: opens connections, asks one PING on each, and reads what the proxy then holds in memory.
Used by bench.py.
"""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack

from processes import BenchError, Process
from stand import Target

IDLE_CLIENTS = 10_000
# Each source address has its own range of ports.
SOURCE_ADDRESSES = 10
# Files that the benchmark needs besides the connections.
SPARE_FILES = 200
REPLY_TIMEOUT_S = 20.0
# So that a proxy which gives memory back after a while may do so.
SETTLE_S = 2.0


def raise_file_limit() -> None:
    """Allows this process, and what it starts, as many open files as the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE_CLIENTS + SPARE_FILES:
        try:
            hard = IDLE_CLIENTS + SPARE_FILES
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            raise BenchError(f"{IDLE_CLIENTS} connections need a limit of {hard} open files (ulimit -n)") from error
    elif soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident_with_idle_clients(target: Target, clients: int = IDLE_CLIENTS) -> tuple[int, int]:
    """Resident bytes of the proxy before and while so many clients are connected, each after one PING."""
    proxy = target.proxy
    assert proxy is not None, "only a proxy has clients of its own"
    before = proxy.resident_bytes()
    with ExitStack() as open_connections:
        for index in range(clients):
            open_connections.enter_context(connect(target.port, index, proxy))
        time.sleep(SETTLE_S)
        return before, proxy.resident_bytes()


def connect(port: int, index: int, proxy: Process) -> socket.socket:
    """A client that has got the answer to one PING."""
    source = f"127.0.0.{2 + index % SOURCE_ADDRESSES}"
    try:
        client = socket.create_connection(("127.0.0.1", port), REPLY_TIMEOUT_S, (source, 0))
        client.sendall(b"*1\r\n$4\r\nPING\r\n")
        reply = client.recv(64)
    except OSError as error:
        proxy.check_alive()
        raise BenchError(f"client {index} of {proxy.name}: {error}") from error
    if reply != b"+PONG\r\n":
        raise BenchError(f"client {index} of {proxy.name}: {reply!r}")
    return client
