"""Instructions that slotway spends per request, counted by valgrind's callgrind: a figure that a busy machine
does not disturb, to compare one build with another. Says nothing about the kernel's share. Called by instructions.sh.

Two runs that differ only in the number of requests: what start, connections and end cost cancels out.
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
    parser.add_argument("--profile", type=Path, help="keeps callgrind's profile here, for callgrind_annotate")
    options = parser.parse_args()
    programs = Programs(options.slotway, options.redis_server, options.redis_benchmark, "", "")
    try:
        with Stand(programs) as stand:
            stand.boot_cluster()
            # The keys are written without valgrind, for it takes a fiftieth of the time.
            plain = stand.slotway("slotway-fill")
            fill(programs.redis_benchmark, plain)
            few = count(stand, options, FEW_REQUESTS)
            many = count(stand, options, MANY_REQUESTS)
    except BenchError as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 1
    per_request = (many - few) / (MANY_REQUESTS - FEW_REQUESTS)
    load = f"{options.test.upper()} 32 B, {CLIENTS} clients, P={options.pipeline}"
    print(f"{load}: {per_request:.0f} instructions/request")
    return 0


def count(stand: Stand, options: argparse.Namespace, requests: int) -> int:
    """All instructions of one slotway that served so many requests."""
    name = f"counted-{requests}"
    profile = stand.directory / f"{name}.profile"
    target = stand.slotway(name, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"])
    benchmark(stand.programs.redis_benchmark, target, Shape(CLIENTS, options.pipeline, requests), options.test)
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
