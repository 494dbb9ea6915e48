"""The README's line about the suite, made of a run. Used by judge.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from expectation import CLASSES

if TYPE_CHECKING:
    from judge import Judgement

BEGIN = "<!-- suite: begin -->\n"
END = "<!-- suite: end -->"


def write(readme: Path, version: str, judgements: list[Judgement]) -> None:
    """Puts the table between the marks."""
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    head = ["suite", "server", "pass on a plain server", "of these through slotway", *CLASSES]
    rows = [head, ["---"] * len(head)]
    for judgement in judgements:
        classes = Counter(kind for kind, _ in judgement.missing.values())
        plain = len(judgement.passed_plain)
        figures = [plain, plain - len(judgement.missing), *(classes[kind] for kind in CLASSES)]
        rows.append([f"redis-py {version}", judgement.server, *map(str, figures)])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    readme.write_text(f"{before}{BEGIN}{table}{END}{after}")
