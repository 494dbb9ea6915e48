"""Instructions that slotway spends per request, counted by valgrind's callgrind: a figure that a busy machine
does not disturb, to compare one build with another. Says nothing about the kernel's share. Called by instructions.sh.

Two runs that differ only in the number of requests: what start, connections and end cost cancels out.
With --observing it is counted once with everything that `observe` can do, and once with nothing of it: the exit status is 1
where that costs more than it may.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
from pathlib import Path

from load import Shape, benchmark, fill
from processes import BenchError
from stand import Programs, Stand

CLIENTS = 50
PIPELINE = 16
FEW_REQUESTS = 20_000
MANY_REQUESTS = 100_000
# Callgrind writes its profile at the end.
END_TIMEOUT_S = 60
# What observing may cost, in parts of a request without it.
OBSERVING_MAX = 0.08
GROUPS = ",".join(f"group{n}=other{n}:*" for n in range(8)) + ",keys=key:*"
EVERYTHING = {"hit_rate": "true", "latency": "true", "hot_keys": "128", "slow": "10ms", "big_value": "64KB", "groups": GROUPS}
NOTHING = {"hit_rate": "false", "latency": "false", "hot_keys": "0", "slow": "off", "big_value": "off"}
COUNTED = re.compile(r"Collected\s*:\s*(\d+)")


def main() -> int:
    """Prints the figure; the exit status is 1 if it could not be found out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slotway", required=True, help="the binary to measure, built in release mode")
    parser.add_argument("--redis-server", default="redis-server")
    parser.add_argument("--redis-benchmark", default="redis-benchmark")
    parser.add_argument("--test", default="get", choices=["get", "set"])
    parser.add_argument("--pipeline", type=int, default=PIPELINE)
    parser.add_argument("--observing", action="store_true", help="what observing costs, reads and writes")
    parser.add_argument("--profile", type=Path, help="keeps callgrind's profile here, for callgrind_annotate")
    options = parser.parse_args()
    programs = Programs(options.slotway, options.redis_server, options.redis_benchmark, "", "")
    try:
        with Stand(programs) as stand:
            stand.boot_cluster()
            # The keys are written without valgrind, for it takes a fiftieth of the time.
            plain = stand.slotway("slotway-fill")
            fill(programs.redis_benchmark, plain)
            if options.observing:
                return 1 if any([costs_too_much(stand, options, test) for test in ("get", "set")]) else 0
            print(f"{load(options, options.test)}: {per_request(stand, options, options.test):.0f} instructions/request")
    except BenchError as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 1
    return 0


def load(options: argparse.Namespace, test: str) -> str:
    """What is measured."""
    return f"{test.upper()} 32 B, {CLIENTS} clients, P={options.pipeline}"


def costs_too_much(stand: Stand, options: argparse.Namespace, test: str) -> bool:
    """Prints what observing costs."""
    without, everything = (per_request(stand, options, test, observe) for observe in (NOTHING, EVERYTHING))
    cost = everything / without - 1
    figures = f"{without:.0f} instructions/request without observing, {everything:.0f} with all of it: {cost:+.1%}"
    print(f"{load(options, test)}: {figures}, at most {OBSERVING_MAX:+.0%}")
    return cost > OBSERVING_MAX


def per_request(stand: Stand, options: argparse.Namespace, test: str, observe: dict[str, str] | None = None) -> float:
    """Instructions for one request."""
    settings = [part for name, value in (observe or {}).items() for part in ("--set", f"observe.{name}={value}")]
    few, many = (count(stand, options, test, settings, n) for n in (FEW_REQUESTS, MANY_REQUESTS))
    return (many - few) / (MANY_REQUESTS - FEW_REQUESTS)


def count(stand: Stand, options: argparse.Namespace, test: str, settings: list[str], requests: int) -> int:
    """All instructions of one slotway that served so many requests."""
    name = f"counted-{len(list(stand.directory.iterdir()))}"
    profile = stand.directory / f"{name}.profile"
    target = stand.slotway(name, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"], settings)
    benchmark(stand.programs.redis_benchmark, target, Shape(CLIENTS, options.pipeline, requests), test)
    assert target.proxy is not None
    target.proxy.check_alive()
    target.proxy.stop(END_TIMEOUT_S)
    found = COUNTED.search(target.proxy.log.read_text(errors="replace"))
    if not found:
        raise BenchError(f"callgrind said nothing\n{target.proxy.last_words()}")
    if options.profile:
        shutil.copyfile(profile, options.profile)
    return int(found.group(1))


if __name__ == "__main__":
    sys.exit(main())
