"""What must be reached, and whether it was: the one place with the project's speed targets. Used by report.py.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from load import Sample

MIB = 1024 * 1024
IDLE_RESIDENT_MAX = 60 * MIB
# By clients and pipeline: how much of what each peer's proxy spends per request slotway's may spend.
PROXY_RATIO_MAX = {
    (50, 1): {"haproxy": 0.85, "envoy": 0.65},
    (50, 16): {"haproxy": 1.6, "envoy": 0.35},
}
# By clients and pipeline: what proxy and servers together may spend of what the servers spend without a proxy.
SUM_RATIO_MAX = {(500, 1): 1.25}

# By (clients, pipeline), test and target: a sample per round, in order.
Results = dict[tuple[tuple[int, int], str], dict[str, list[Sample]]]


@dataclass(frozen=True)
class Verdict:
    """One target, and what was measured."""

    load: str
    what: str
    limit: float
    measured: float
    # Lowest and highest of the rounds.
    spread: tuple[float, float]

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.measured <= self.limit


def verdicts(results: Results) -> list[Verdict]:
    """Each target for which there are results."""
    found = []
    for (shape, test), samples in results.items():
        load = f"{test.upper()}, {shape[0]} clients, P={shape[1]}"
        for peer, limit in PROXY_RATIO_MAX.get(shape, {}).items():
            ratios = proxy_ratios(samples, peer)
            if ratios:
                found.append(verdict(load, f"proxy CPU / {TITLES[peer]}", limit, ratios))
        ratios = sum_ratios(samples)
        if shape in SUM_RATIO_MAX and ratios:
            found.append(verdict(load, "(proxy + servers) / direct", SUM_RATIO_MAX[shape], ratios))
    return found


def verdict(load: str, what: str, limit: float, ratios: list[float]) -> Verdict:
    """The median of the rounds' ratios against a limit."""
    return Verdict(load, what, limit, statistics.median(ratios), (min(ratios), max(ratios)))


def proxy_ratios(samples: dict[str, list[Sample]], peer: str) -> list[float]:
    """slotway's proxy CPU over a peer's, round by round: what disturbs a round disturbs both alike."""
    pairs = zip(samples.get("slotway", []), samples.get(peer, []))
    return [ours.proxy_us / theirs.proxy_us for ours, theirs in pairs if theirs.proxy_us > 0]


def sum_ratios(samples: dict[str, list[Sample]]) -> list[float]:
    """CPU of slotway and servers over that of the servers without a proxy, round by round."""
    pairs = zip(samples.get("slotway", []), samples.get("direct", []))
    return [ours.sum_us / theirs.sum_us for ours, theirs in pairs if theirs.sum_us > 0]


TITLES = {"slotway": "slotway", "direct": "direct", "haproxy": "HAProxy TCP", "envoy": "Envoy"}
