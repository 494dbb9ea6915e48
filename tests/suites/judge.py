"""Judges slotway by the test suite of a client library: boots a plain server and a cluster with slotway in front of it,
runs the suite on both, and compares. What passes on the plain server must pass through slotway; redis_py.expected lists
the tests that do not, each with the class of its reason. Exit code 1 when anything else fails, and when a listed test
passes. Started by run.sh, which has the suite and the servers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))

from administrator import Administrator  # noqa: E402
from expectation import CLASSES, Expectation, classify  # noqa: E402
from processes import free_ports, wait_until  # noqa: E402
from stand import Programs, Stand, answers  # noqa: E402

# The suite's files for a standalone server. Not here: those of clusters, sentinels, TLS, of services of a vendor, and
# of modules that no package has.
FILES = (
    "bloom cache client commands connect connection connection_pool cwe_404 encoding function hash himport_integration "
    "json keyspace_notifications legacy_responses_arg lock max_connections_error monitor multiprocessing pipeline "
    "pubsub retry scripting usage_counter"
).split()
FOLDERS = ("tests", "tests/test_asyncio")
# A test that waits for something that never comes.
TEST_TIMEOUT_S = 30
SUITE_TIMEOUT_S = 3_600
# What the operator of such an application would switch on: the suite sets options, users and snapshots, watches with
# MONITOR, and has transactions over several slots.
ALLOWED = ("acl", "bgrewriteaof", "bgsave", "config|resetstat", "config|rewrite", "config|set", "monitor", "save")
SETTINGS = (f"policy.allow={json.dumps(ALLOWED)}", 'policy.cross_slot_transactions="split"')


@dataclass(frozen=True)
class Result:
    """One test on one target."""

    outcome: str
    spoke: bool
    why: str


@dataclass(frozen=True)
class Judgement:
    """One kind of server, both targets."""

    server: str
    passed_plain: set[str]
    # Those that passed on the plain server and not through slotway: the class and what was said.
    missing: dict[str, tuple[str, str]]

    def line(self) -> str:
        """For people."""
        passed = len(self.passed_plain) - len(self.missing)
        classes = Counter(kind for kind, _ in self.missing.values())
        details = ", ".join(f"{classes[kind]} {kind}" for kind in CLASSES if classes[kind])
        return f"{self.server}: {passed} of {len(self.passed_plain)} tests pass through slotway; {details or 'all'}"


def main() -> int:
    """The whole run."""
    options = parse_arguments()
    version = library_version()
    expectation = Expectation.read(HERE / "redis_py.expected")
    judgements = []
    for name, path in servers(options.server):
        judgements.append(judge(options, expectation, name, path))
        print(judgements[-1].line(), flush=True)
    missing = {test: found for judgement in judgements for test, found in judgement.missing.items()}
    passed = set.union(*(judgement.passed_plain - set(judgement.missing) for judgement in judgements))
    problems = expectation.problems(missing, passed - set(missing))
    for problem in problems:
        print(problem)
    if options.markdown:
        from figures import write

        write(HERE.parent.parent / "README.md", version, judgements)
    return 1 if problems else 0


def parse_arguments() -> argparse.Namespace:
    """What run.sh and people say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, help="folder with the suite")
    parser.add_argument("--slotway", help="the binary to judge")
    parser.add_argument("--server", choices=("redis", "valkey"), help="only this kind (default: both)")
    parser.add_argument("--protocol", default="", help="RESP version (default: the library's own)")
    parser.add_argument("--only", default="", help="only tests that match this, as pytest's -k")
    parser.add_argument("--results", type=Path, help="keeps each test's outcome in this folder")
    parser.add_argument("--markdown", action="store_true", help="writes the figures into the README")
    return parser.parse_args()


def servers(only: str | None) -> list[tuple[str, str]]:
    """Name and program of each kind of server."""
    kinds = {"redis": "redis-server", "valkey": os.environ["SLOTWAY_TEST_VALKEY"]}
    return [(name, path) for name, path in kinds.items() if only in (None, name)]


def server_title(path: str) -> str:
    """What a server calls itself, and its version."""
    words = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout.split()
    return f"{words[0]} {next(word for word in words if word.startswith('v='))[2:]}"


def library_version() -> str:
    """That of the library under test."""
    from importlib.metadata import version

    return version("redis")


def judge(options: argparse.Namespace, expectation: Expectation, name: str, path: str) -> Judgement:
    """Runs the suite on both targets, side by side, and compares."""
    modules = Path(os.environ["SLOTWAY_TEST_MODULES"])
    server_options = [o for module in ("rejson", "redisbloom") for o in ("--loadmodule", str(modules / f"{module}.so"))]
    with Stand(Programs(options.slotway, path, "", "", ""), server_options) as stand:
        stand.boot_cluster()
        (plain,) = free_ports(1)
        process = stand.redis("plain", plain, cluster=False)
        wait_until("the plain server answers", lambda: answers(plain), process)
        nodes = [port for port, _ in stand.nodes]
        for port in (plain, *nodes):
            Administrator(port).create_user()
        proxy = stand.slotway(options=[word for setting in SETTINGS for word in ("--set", setting)])
        folder = options.results or stand.directory
        folder.mkdir(parents=True, exist_ok=True)
        runs = {
            "plain": Run(options, folder / f"{name}-plain", plain, [plain]),
            "slotway": Run(options, folder / f"{name}-slotway", proxy.port, nodes),
        }
        try:
            results = {target: run.results() for target, run in runs.items()}
        finally:
            for run in runs.values():
                run.child.kill()
    return compare(expectation, server_title(path), results["plain"], results["slotway"])


class Run:
    """The suite on one target, from the moment this is made."""

    def __init__(self, options: argparse.Namespace, stem: Path, port: int, nodes: list[int]) -> None:
        self.file = stem.with_suffix(".jsonl").absolute()
        self.file.write_text("")
        self.log = stem.with_suffix(".log")
        environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "SLOTWAY_SUITE_RESULTS": str(self.file),
            "SLOTWAY_SUITE_TARGET": str(port),
            "SLOTWAY_SUITE_SERVERS": ",".join(map(str, nodes)),
        }
        files = [f"{folder}/test_{name}.py" for folder in FOLDERS for name in FILES]
        present = [file for file in files if (options.suite / file).exists()]
        url = f"redis://localhost:{port}"
        command = [sys.executable, "-m", "pytest", "-p", "recorder", "-p", "no:cacheprovider", "-o", "addopts=", "-q"]
        command += ["--tb=native", f"--timeout={TEST_TIMEOUT_S}", f"--redis-url={url}/0", f"--redis-mod-url={url}"]
        command += [f"--protocol={options.protocol}", "-k", options.only, *present]
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=options.suite, env=environment
            )

    def results(self) -> dict[str, Result]:
        """Waits for the end. Tests that are one but for their parameters count once: all must pass."""
        code = self.child.wait(SUITE_TIMEOUT_S)
        # 0: all passed, 1: some failed; all else is no run.
        if code not in (0, 1):
            raise SystemExit(f"the suite did not run: exit code {code}\n{self.log.read_text()[-3000:]}")
        found: dict[str, Result] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            test = entry["test"].split("[")[0]
            result = Result(entry["outcome"], entry["spoke"], entry["why"])
            found[test] = worse(found[test], result) if test in found else result
        return found


def worse(one: Result, other: Result) -> Result:
    """Of two runs of a test with different parameters."""
    order = ("skipped", "passed", "failed")
    worst = max((one, other), key=lambda result: order.index(result.outcome))
    return Result(worst.outcome, one.spoke or other.spoke, worst.why)


def compare(
    expectation: Expectation, server: str, plain: dict[str, Result], through: dict[str, Result]
) -> Judgement:
    """Only tests that speak to the server tell anything."""
    passed = {test for test, result in plain.items() if result.outcome == "passed" and result.spoke}
    missing = {}
    for test in sorted(passed):
        result = through.get(test, Result("failed", spoke=False, why="was not run"))
        if result.outcome != "passed":
            kind = expectation.settle(test, classify(result.why))
            missing[test] = (kind, result.why.splitlines()[0] if result.why else result.outcome)
    return Judgement(server, passed, missing)


if __name__ == "__main__":
    sys.exit(main())
