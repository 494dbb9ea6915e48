"""The tables: text for a terminal, markdown for the README. Only formats what load.py and targets.py give it. Used by
bench.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from load import Sample
from targets import IDLE_RESIDENT_MAX, MIB, TITLES, Results, Verdict, proxy_ratios, sum_ratios

PEERS = ("haproxy", "envoy")


def medians(samples: list[Sample]) -> Sample:
    """Each figure's median."""
    fields = ("ops_per_second", "p50_ms", "p99_ms", "proxy_us", "servers_us")
    return Sample(*(statistics.median(getattr(sample, field) for sample in samples) for field in fields))


def text_table(load: str, samples: dict[str, list[Sample]]) -> str:
    """One load, one target a line."""
    rounds = max(map(len, samples.values()))
    lines = [
        f"## {load} (medians of {rounds} rounds)",
        f"{'':12}{'ops/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'proxy µs':>10}{'servers µs':>12}{'sum µs':>9}",
    ]
    for name, of_target in samples.items():
        m = medians(of_target)
        lines.append(
            f"{TITLES[name]:12}{m.ops_per_second:10,.0f}{m.p50_ms:9.2f}{m.p99_ms:9.2f}"
            f"{m.proxy_us:10.2f}{m.servers_us:12.2f}{m.sum_us:9.2f}"
        )
    ratios = []
    for peer in PEERS:
        if of_peer := proxy_ratios(samples, peer):
            ratios.append(f"slotway / {TITLES[peer]} {statistics.median(of_peer):.2f}")
    if total := sum_ratios(samples):
        ratios.append(f"(proxy + servers) / direct {statistics.median(total):.2f}")
    return "\n".join([*lines, "   ".join(ratios)])


def text_verdicts(found: list[Verdict], idle: dict[str, tuple[int, int]]) -> str:
    """Each target on a line."""
    lines = ["## Targets (median of the rounds' ratios, lowest to highest)"]
    for v in found:
        word = "met   " if v.met else "MISSED"
        low, high = v.spread
        measured = f"{v.measured:5.2f} ({low:.2f}–{high:.2f})"
        lines.append(f"{word} {v.load:26} {v.what:26} {measured}, at most {v.limit:.2f}")
    for name, (before, held) in idle.items():
        word = "met   " if held <= IDLE_RESIDENT_MAX else "MISSED"
        load = f"10,000 idle clients, {name}"
        what = f"resident, {before / MIB:.1f} MB before"
        lines.append(f"{word} {load:26} {what:26} {held / MIB:5.1f} MB, at most {IDLE_RESIDENT_MAX / MIB:.0f}")
    return "\n".join(lines)


def markdown(results: Results, found: list[Verdict], idle: dict[str, tuple[int, int]], machine: str) -> str:
    """Both tables for the README."""
    rows = [["load", "", "must be", "measured", "rounds", "met"]]
    for v in found:
        low, high = v.spread
        rows.append([v.load, v.what, f"≤ {v.limit:.2f}", f"{v.measured:.2f}", f"{low:.2f}–{high:.2f}", yes(v.met)])
    for name, (_, held) in idle.items():
        rows.append(["10,000 idle clients", f"resident, {name}", f"≤ {IDLE_RESIDENT_MAX / MIB:.0f} MB"])
        rows[-1] += [f"{held / MIB:.1f} MB", "", yes(held <= IDLE_RESIDENT_MAX)]
    figures = [["load", "target", "ops/s", "p50 ms", "p99 ms", "proxy µs/request", "servers µs/request"]]
    for ((clients, pipeline), test), samples in results.items():
        load = f"{test.upper()}, {clients} clients, P={pipeline}"
        for name, of_target in samples.items():
            m = medians(of_target)
            proxy = "–" if name == "direct" else f"{m.proxy_us:.2f}"
            figures.append([load, TITLES[name], f"{m.ops_per_second:,.0f}", f"{m.p50_ms:.2f}", f"{m.p99_ms:.2f}"])
            figures[-1] += [proxy, f"{m.servers_us:.2f}"]
            load = ""
    return f"{markdown_table(rows)}\n\n{markdown_table(figures)}\n\n{machine}"


def markdown_table(rows: Iterable[list[str]]) -> str:
    """Rows, the first of them the head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def yes(met: bool) -> str:
    """A word for the last column."""
    return "yes" if met else "**no**"
