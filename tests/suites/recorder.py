"""A pytest plugin: writes one line of JSON for each test, says whether the test spoke to the server at all, and brings
the servers back to where they were between tests. judge.py loads it into the suite's run and reads what it wrote.
"""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from collections.abc import Generator, Iterable

import pytest
from administrator import Administrator

# Set by judge.py.
RESULTS = os.environ["SLOTWAY_SUITE_RESULTS"]
TARGET_PORT = int(os.environ["SLOTWAY_SUITE_TARGET"])
SERVER_PORTS = [int(port) for port in os.environ["SLOTWAY_SUITE_SERVERS"].split(",")]
REASON_MAX = 2_000


class Recorder:
    """What happened to the test that runs now."""

    def __init__(self) -> None:
        self.spoke = False
        self.outcome = "passed"
        self.why = ""
        self.administrators = [Administrator(port) for port in SERVER_PORTS]

    def begin(self) -> None:
        """A new test."""
        self.spoke, self.outcome, self.why = False, "passed", ""

    def watch(self, event: str, arguments: Iterable[object]) -> None:
        """Hears of every connection that the process opens."""
        if event == "socket.connect":
            _, address = arguments
            if isinstance(address, tuple) and address[1] == TARGET_PORT:
                self.spoke = True

    def add(self, report: pytest.TestReport) -> None:
        """One phase of the test: the first that does not pass decides."""
        if report.outcome == "passed" or self.outcome != "passed":
            return
        self.outcome = report.outcome
        crash = getattr(report.longrepr, "reprcrash", None)
        self.why = str(crash.message if crash else report.longreprtext)[:REASON_MAX]

    def end(self, test: str) -> None:
        """Writes the line, and puts right what the test may have left behind."""
        line = {"test": test, "outcome": self.outcome, "spoke": self.spoke, "why": self.why}
        with open(RESULTS, "a", encoding="utf-8") as results:
            results.write(json.dumps(line) + "\n")
        for administrator in self.administrators:
            administrator.tidy(thoroughly=self.outcome == "failed")


RECORDER = Recorder()
sys.addaudithook(RECORDER.watch)
# The suite traces all memory to word its warnings, which nobody reads here and which takes most of the time.
tracemalloc.start = lambda *_: None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around each test."""
    RECORDER.begin()
    result = yield
    RECORDER.end(item.nodeid)
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Each phase of a test."""
    RECORDER.add(report)
