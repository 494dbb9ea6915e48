"""Measures slotway side by side with its peers: the same loads on each in turn, over several rounds, in one run.

Called by run.sh, which installs what is missing and builds slotway. Needs only Python's standard library.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from idle import raise_file_limit, resident_with_idle_clients
from load import Sample, Shape, fill, measure
from processes import BenchError
from report import markdown, text_table, text_verdicts
from several import several
from stand import Programs, Stand, Target, http_get
from targets import IDLE_RESIDENT_MAX, TITLES, Results, verdicts

# Requests of one sample: enough that a clock of 10 ms says something, few enough that the run ends in 6 minutes.
SHAPES = [Shape(50, 1, 180_000), Shape(50, 16, 1_200_000), Shape(500, 1, 180_000)]
LONG_SHAPES = [Shape(50, 64, 3_000_000)]
ROUNDS = 5
LONG_ROUNDS = 9
LONG_FACTOR = 2
TESTS = ["get", "set"]
# One thread of redis-benchmark is slower than the proxies at P=1: they would idle and be woken for every few requests,
# and what is measured would be wake-ups.
LOAD_THREADS = 2
# Load by others, before the benchmark starts, from which on its figures are doubtful.
BUSY_LOAD = 0.5


def main() -> int:
    """Runs the benchmark; the exit status is 1 if it failed, or with --check if a target was missed."""
    options = parse_options()
    # So that a request to stop unwinds, and the stand takes everything down.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        return run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def parse_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slotway", required=True, help="the binary to measure")
    parser.add_argument("--envoy", default="", help="Envoy's binary")
    parser.add_argument("--haproxy", default="haproxy")
    parser.add_argument("--redis-server", default="redis-server")
    parser.add_argument("--redis-benchmark", default="redis-benchmark")
    parser.add_argument("--only", default="slotway,direct,haproxy,envoy", help="what to measure, separated by commas")
    parser.add_argument("--shapes", help="instead of the usual ones: CLIENTS,PIPELINE,REQUESTS separated by blanks")
    parser.add_argument("--tests", default=",".join(TESTS), help="get, set or both")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --long {LONG_ROUNDS}")
    parser.add_argument("--load-threads", type=int, default=LOAD_THREADS, help="threads of the load generator")
    parser.add_argument("--long", action="store_true", help="more rounds, more requests, and P=64")
    parser.add_argument("--no-several", action="store_true", help="leave out MGET and transactions")
    parser.add_argument("--no-idle", action="store_true", help="leave out the idle clients")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="also write the README's tables to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


def run(options: argparse.Namespace) -> int:
    """The whole benchmark."""
    started = time.monotonic()
    raise_file_limit()
    # Nothing of a run may be lost to a pipe's buffer, nor come after what went to standard error.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    machine = describe_machine(options)
    print(machine)
    busy = os.getloadavg()[0]
    if busy > BUSY_LOAD:
        print(f"NOTE: others keep this machine busy (load {busy:.1f}): look at ratios, not at ops/s and latency.")
    programs = Programs(
        options.slotway, options.redis_server, options.redis_benchmark, options.haproxy, options.envoy
    )
    with Stand(programs) as stand:
        targets = start_targets(stand, options.only.split(","))
        for target in targets:
            # The proxies in front of the cluster share its keys.
            if target.name in ("slotway", "haproxy", "direct"):
                fill(programs.redis_benchmark, target)
        results = measure_all(programs, targets, options)
        rounds = chosen_rounds(options)
        found = verdicts(results) + ([] if options.no_several else several(programs.redis_benchmark, targets, rounds))
        idle = {} if options.no_idle else measure_idle(stand, targets)
    print("\n" + text_verdicts(found, idle))
    print(f"\ntook {time.monotonic() - started:.0f} s")
    if options.markdown:
        options.markdown.write_text(markdown(results, found, idle, machine) + "\n")
    all_met = all(v.met for v in found) and all(held <= IDLE_RESIDENT_MAX for _, held in idle.values())
    return 1 if options.check and not all_met else 0


def start_targets(stand: Stand, names: list[str]) -> list[Target]:
    """Starts what is to be measured."""
    stand.boot_cluster()
    starters = {"slotway": stand.slotway, "direct": stand.direct, "haproxy": stand.haproxy, "envoy": stand.envoy}
    unknown = [name for name in names if name not in starters]
    if unknown:
        raise BenchError(f"no such target: {', '.join(unknown)}; there are {', '.join(starters)}")
    if "envoy" in names and not stand.programs.envoy:
        raise BenchError("Envoy's binary is missing: give --envoy PATH, or leave it out by --only")
    return [starters[name]() for name in names]


def measure_all(programs: Programs, targets: list[Target], options: argparse.Namespace) -> Results:
    """All loads; within a load, round by round each target in turn. Prints each load's table when it is done."""
    rounds = chosen_rounds(options)
    results: Results = {}
    for shape in chosen_shapes(options):
        for test in options.tests.split(","):
            samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
            for number in range(rounds):
                # Another one begins each round: none always runs behind the same one.
                first = number % len(targets)
                for target in targets[first:] + targets[:first]:
                    samples[target.name].append(measure(programs.redis_benchmark, target, shape, test))
            results[(shape.clients, shape.pipeline), test] = samples
            print("\n" + text_table(f"{test.upper()} 32 B, {shape.title}", samples))
    return results


def chosen_rounds(options: argparse.Namespace) -> int:
    """How often each load is repeated."""
    return options.rounds or (LONG_ROUNDS if options.long else ROUNDS)


def chosen_shapes(options: argparse.Namespace) -> list[Shape]:
    """The loads asked for."""
    if options.shapes:
        shapes = [Shape(*map(int, shape.split(","))) for shape in options.shapes.split()]
    elif options.long:
        shapes = [replace(s, requests=s.requests * LONG_FACTOR) for s in SHAPES + LONG_SHAPES]
    else:
        shapes = SHAPES
    return [replace(shape, threads=options.load_threads) for shape in shapes]


def measure_idle(stand: Stand, targets: list[Target]) -> dict[str, tuple[int, int]]:
    """Memory with idle clients: of the slotway that has served the loads, and of a fresh one."""
    found = {}
    for target in targets:
        if target.name == "slotway":
            check_counted(stand)
            found["after the loads"] = resident_with_idle_clients(target)
            found["freshly started"] = resident_with_idle_clients(stand.slotway("slotway-fresh"))
    return found


def check_counted(stand: Stand) -> None:
    """What was measured is slotway with everything on: its metrics saw the lookups."""
    page = http_get(stand.admin_port, "/metrics")
    hits = [line for line in page.splitlines() if "lookups_total" in line and 'result="hit"' in line]
    if not any(float(line.rsplit(" ", 1)[1]) > 0 for line in hits):
        raise BenchError("slotway's metrics show no hits: what was measured is not slotway with all features on")


def describe_machine(options: argparse.Namespace) -> str:
    """What the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].split(":", 1)[1].strip() if models else platform.machine()
    parts = [f"{os.cpu_count()} cores ({model}), Linux {platform.release()}"]
    for name, command in (
        ("redis-server", [options.redis_server, "--version"]),
        ("haproxy", [options.haproxy, "-v"]),
        ("envoy", [options.envoy, "--version"]),
    ):
        parts.append(f"{TITLES.get(name, name)} {version(command)}")
    return ", ".join(parts)


def version(command: list[str]) -> str:
    """The first word in a program's answer that looks like a version."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout
    except OSError:
        return "(missing)"
    words = [word.removeprefix("v=") for part in answer.split() for word in part.split("/")]
    return next((word for word in words if word[:1].isdigit() and "." in word), "(unknown version)")


if __name__ == "__main__":
    sys.exit(main())
