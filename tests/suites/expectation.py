"""The list of tests that pass on a plain server and do not pass through slotway, and the classes of reasons. The file
has a test on each line behind the class of its reason; comments say more. A class with a question mark: it depends on
the moment. Used by judge.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What tells a class, in the order in which it is looked for; what has none of these words is a difference.
WORDS = {
    "crossslot": (
        "CROSSSLOT",
        "hash to the same slot",
        "ClusterCrossSlotError",
        "access a non local key",
        "denied in cluster mode",
        "denied in Cluster mode",
    ),
    "refused": ("slotway:",),
    "database": ("DB index is out of range",),
}
CLASSES = (*WORDS, "difference")


def classify(why: str) -> str:
    """The class of what a test said."""
    for name, words in WORDS.items():
        if any(word in why for word in words):
            return name
    return "difference"


@dataclass(frozen=True)
class Expectation:
    """The list: test and class; and those of them that may pass as well."""

    tests: Mapping[str, str]
    uncertain: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> Expectation:
        """The file; a line that is none is an error."""
        tests: dict[str, str] = {}
        uncertain = set()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            if len(words) != 2 or words[0].rstrip("?") not in CLASSES or words[1] in tests:
                raise SystemExit(f"{path.name}:{number}: not a class and a test of its own: {line}")
            tests[words[1]] = words[0].rstrip("?")
            if words[0].endswith("?"):
                uncertain.add(words[1])
        return cls(tests, frozenset(uncertain))

    def settle(self, test: str, kind: str) -> str:
        """The class to count it in: what a test says does not always tell, and then the list does."""
        return self.tests.get(test, kind) if kind == "difference" else kind

    def problems(self, missing: Mapping[str, tuple[str, str]], passed: set[str]) -> list[str]:
        """Everything that is not as the list says."""
        found = []
        for test, (kind, why) in missing.items():
            expected = self.tests.get(test)
            if expected != kind:
                found.append(f"{kind} {test}\n    {why}\n    expected: {expected or 'to pass'}")
        needless = (test for test in self.tests if test in passed and test not in self.uncertain)
        return found + [f"passes, and is listed as {self.tests[test]}: {test}" for test in needless]
