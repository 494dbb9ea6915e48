"""One load on one target with redis-benchmark, and what it cost: requests per second, latency, and CPU per request
of the proxy and of the servers. Knows nothing of rounds and targets to be met. Used by bench.py.
"""

from __future__ import annotations

import csv
import subprocess
from dataclasses import dataclass

from processes import BenchError
from stand import SLOTS, Target

VALUE_BYTES = 32
KEYS = 100_000
# In cluster mode the key carries a tag for each slot besides the random number: about as many keys in all.
KEYS_PER_SLOT = 6
FILL_PIPELINE = 64
# Each key is written this often on average, so that at most 1 % of them is never written.
FILL_FACTOR = 5
LOAD_TIMEOUT_S = 300


@dataclass(frozen=True)
class Shape:
    """How many clients send how many commands at once, how many requests make one sample, and how many threads of
    the load generator serve the clients."""

    clients: int
    pipeline: int
    requests: int
    threads: int = 1

    @property
    def title(self) -> str:
        """As tables name it."""
        return f"{self.clients} clients, P={self.pipeline}"


@dataclass(frozen=True)
class Sample:
    """What one load on one target cost."""

    ops_per_second: float
    p50_ms: float
    p99_ms: float
    # 0 without a proxy.
    proxy_us: float
    servers_us: float

    @property
    def sum_us(self) -> float:
        """CPU of proxy and servers per request."""
        return self.proxy_us + self.servers_us


def fill(redis_benchmark: str, target: Target) -> None:
    """Writes all keys, so that reads find what they ask for."""
    keys = SLOTS * KEYS_PER_SLOT if target.cluster_mode else KEYS
    benchmark(redis_benchmark, target, Shape(50, FILL_PIPELINE, keys * FILL_FACTOR), "set")


def measure(redis_benchmark: str, target: Target, shape: Shape, test: str) -> Sample:
    """Runs one load and reads the clocks of all processes involved before and after it."""
    proxies = [target.proxy] if target.proxy else []
    processes = [*proxies, *target.servers]
    before = [process.cpu_seconds() for process in processes]
    rate, p50, p99 = benchmark(redis_benchmark, target, shape, test)
    for process in processes:
        process.check_alive()
    spent = [process.cpu_seconds() - start for process, start in zip(processes, before)]
    per_request = [seconds * 1e6 / shape.requests for seconds in spent]
    return Sample(rate, p50, p99, sum(per_request[: len(proxies)]), sum(per_request[len(proxies) :]))


def benchmark(program: str, target: Target, shape: Shape, test: str) -> tuple[float, float, float]:
    """Runs redis-benchmark; requests per second, p50 and p99 in milliseconds."""
    command = [program, "-h", "127.0.0.1", "-p", str(target.port), "-t", test, "--csv"]
    command += ["-c", str(shape.clients), "-P", str(shape.pipeline), "-n", str(shape.requests), "-d", str(VALUE_BYTES)]
    if shape.threads > 1:
        command += ["--threads", str(shape.threads)]
    command += ["-r", str(KEYS_PER_SLOT), "--cluster"] if target.cluster_mode else ["-r", str(KEYS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{target.name}: {shape.title} {test} took longer than {LOAD_TIMEOUT_S} s") from error
    # "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",…
    rows = [row for row in csv.reader(done.stdout.splitlines()) if row and row[0].upper() == test.upper()]
    if done.returncode != 0 or len(rows) != 1 or "error" in done.stderr.lower():
        raise BenchError(f"{target.name}: {' '.join(command)} failed\n{done.stdout[-500:]}{done.stderr[-500:]}")
    return float(rows[0][1]), float(rows[0][4]), float(rows[0][6])


def custom(program: str, target: Target, shape: Shape, words: list[str]) -> None:
    """Runs redis-benchmark with a command of one's own; in its words `__rand_int__` is a random number."""
    command = [program, "-h", "127.0.0.1", "-p", str(target.port), "-q", "--threads", str(shape.threads)]
    command += ["-c", str(shape.clients), "-P", str(shape.pipeline), "-n", str(shape.requests), "-r", str(KEYS)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=LOAD_TIMEOUT_S, check=False)
    if done.returncode != 0 or "error" in done.stderr.lower():
        raise BenchError(f"{target.name}: {' '.join(command)} failed\n{done.stdout[-500:]}{done.stderr[-500:]}")
