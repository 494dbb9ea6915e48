"""Several commands or keys at once: MGET over all slots against a pipeline of GETs and against Envoy's MGET, and a
transaction against the same commands in a pipeline. Gives verdicts as targets.py does. Used by bench.py.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

from load import KEYS, VALUE_BYTES, Shape, custom
from processes import BenchError
from stand import Target
from targets import TITLES, Verdict, verdict

CLIENTS = 50
# Requests of one sample, in keys: enough that a clock of 10 ms says something.
KEYS_PER_SAMPLE = 1_000_000
# What one key of an MGET may cost the proxy, of what a GET in a pipeline of the same depth costs, and of Envoy's.
MGET_PER_GET_MAX = 1.0
MGET_PER_ENVOY_MAX = 0.5
MGET_KEYS = (10, 100)
# What a transaction may cost the proxy, of what the same commands in a pipeline cost.
MULTI_MAX = 1.3
MULTI_COMMANDS = 10
MULTI_BLOCKS = 60_000


def several(redis_benchmark: str, targets: list[Target], rounds: int) -> list[Verdict]:
    """All of them, round by round; prints each when it is done."""
    proxies = {target.name: target for target in targets if target.name in ("slotway", "envoy")}
    found = []
    if slotway := proxies.get("slotway"):
        for keys in MGET_KEYS:
            found += mget(redis_benchmark, proxies, keys, rounds)
        found.append(transaction(slotway, rounds))
    return found


def mget(redis_benchmark: str, proxies: dict[str, Target], keys: int, rounds: int) -> list[Verdict]:
    """CPU per key of an MGET."""
    key = "key:__rand_int__"
    gets = Shape(CLIENTS, keys, KEYS_PER_SAMPLE, threads=2)
    mgets = Shape(CLIENTS, 1, KEYS_PER_SAMPLE // keys, threads=2)
    per_get, per_envoy = [], []
    for _ in range(rounds):
        one = per_key(proxies["slotway"], 1, lambda t: custom(redis_benchmark, t, gets, ["get", key]), gets.requests)
        cost = {
            name: per_key(target, keys, lambda t: custom(redis_benchmark, t, mgets, ["mget", *[key] * keys]), mgets.requests)
            for name, target in proxies.items()
        }
        per_get.append(cost["slotway"] / one)
        if "envoy" in cost:
            per_envoy.append(cost["slotway"] / cost["envoy"])
    load = f"MGET of {keys} keys, {CLIENTS} clients"
    found = [verdict(load, f"proxy CPU per key / GET, P={keys}", MGET_PER_GET_MAX, per_get)]
    if per_envoy:
        found.append(verdict(load, f"proxy CPU / {TITLES['envoy']}", MGET_PER_ENVOY_MAX, per_envoy))
    return found


def per_key(target: Target, keys: int, load: Callable[[Target], object], requests: int) -> float:
    """The proxy's CPU for one key of so many requests, in microseconds."""
    if target.proxy is None:
        raise BenchError(f"{target.name} is no proxy")
    before = target.proxy.cpu_seconds()
    load(target)
    return (target.proxy.cpu_seconds() - before) * 1e6 / requests / keys


def transaction(slotway: Target, rounds: int) -> Verdict:
    """A MULTI block against the same commands without it, every connection with keys of one slot."""
    ratios = []
    for _ in range(rounds):
        costs = [per_key(slotway, 1, lambda t, wrap=wrap: blocks(t, wrap), MULTI_BLOCKS) for wrap in (False, True)]
        ratios.append(costs[1] / costs[0])
    load = f"MULTI of {MULTI_COMMANDS} SET, {CLIENTS} clients"
    return verdict(load, "proxy CPU / pipeline of the same", MULTI_MAX, ratios)


def blocks(target: Target, wrap: bool) -> None:
    """Sends the blocks over all connections, each waiting for its replies; as redis-benchmark cannot."""
    with selectors.DefaultSelector() as ready:
        for number in range(CLIENTS):
            block, reply = block_of(number, wrap)
            connection = socket.create_connection(("127.0.0.1", target.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(connection, selectors.EVENT_READ, [block, reply, 0, MULTI_BLOCKS // CLIENTS])
            connection.sendall(block)
        while ready.get_map():
            for key, _ in ready.select():
                step(ready, key)


def step(ready: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Reads what has come to one connection; sends the next block when the replies are whole."""
    block, reply, heard, left = key.data
    connection = key.fileobj
    assert isinstance(connection, socket.socket)
    got = connection.recv(65536)
    if not got or got != reply[heard : heard + len(got)]:
        raise BenchError(f"expected {reply[heard:heard + 80]!r}, got {got[:80]!r}")
    heard += len(got)
    if heard == len(reply):
        heard, left = 0, left - 1
        if left == 0:
            ready.unregister(connection)
            connection.close()
            return
        connection.sendall(block)
    key.data[2:] = [heard, left]


def block_of(number: int, wrap: bool) -> tuple[bytes, bytes]:
    """The bytes of one block, and of the replies to it."""
    value = "v" * VALUE_BYTES
    sets = b"".join(encode("SET", f"{{{number % KEYS}}}:{i}", value) for i in range(MULTI_COMMANDS))
    oks = b"+OK\r\n" * MULTI_COMMANDS
    if not wrap:
        return sets, oks
    queued = b"+OK\r\n" + b"+QUEUED\r\n" * MULTI_COMMANDS
    return encode("MULTI") + sets + encode("EXEC"), queued + b"*%d\r\n" % MULTI_COMMANDS + oks


def encode(*words: str) -> bytes:
    """A command in RESP."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
