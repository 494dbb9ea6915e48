"""The table of the fault scenarios, from the rows that the tests recorded (tests/support/scenario.rs).

A scenario of TITLES that no row speaks of, and a row that has no end, are failures: exit code 1.
"""

import argparse
import json
import re
import statistics
import sys

# The numbered scenarios: what is done to the cluster, the proxy or the network while clients are served.
TITLES = {
    1: "bytes split at random, pipelines of 1 to 1,000, clients that reset",
    2: "a primary is killed, and comes back as a replica",
    3: "a primary is stopped (SIGSTOP) for 1 s and for 10 s",
    4: "CLUSTER FAILOVER, again and again",
    5: "slots move between primaries; a slot stays half moved",
    6: "Valkey's atomic slot migration",
    7: "two nodes redirect to each other",
    8: "the network drops, refuses or swallows everything to a node",
    9: "all nodes go down and come back",
    10: "the proxy starts before the cluster; slots without an owner",
    11: "a node is replaced under a new address",
    12: "slow readers of large values, clients stalled in the middle of a request",
    13: "nodes hang up, refuse connections, load their data",
    14: "replies of nodes: surplus, cut short, injected; scripts that forge redirections",
    15: "blocked, watching, subscribed clients and transactions across a kill and failovers",
    16: "SIGTERM and SIGHUP under load",
    17: "more load than can be served",
}


def read(path):
    """Ended rows, and those that were begun and have no end, as (scenario, what, servers)."""
    ended, begun = [], {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            key = (row["scenario"], row["what"], row["servers"])
            if row["result"] == "begun":
                begun[key] = begun.get(key, 0) + 1
            else:
                begun[key] = begun.get(key, 0) - 1
                ended.append(row)
    return ended, [key for key, open_ in begun.items() if open_ > 0]


def spread(values):
    """One value as it is; several of one unit as median and worst; others joined."""
    if len(set(values)) == 1:
        return values[0]
    numbers = [re.fullmatch(r"(-?[\d.,]+)(.*)", value) for value in values]
    if all(numbers) and len({number[2] for number in numbers}) == 1:
        found = sorted(float(number[1].replace(",", "")) for number in numbers)
        return f"{statistics.median(found):,g}, at most {found[-1]:,g}{numbers[0][2]}"
    return " / ".join(dict.fromkeys(values))


def group(rows, unended):
    """Rows of the same kind as one: scenario, what, servers, result, times, figures."""
    groups = {}
    for row in rows:
        groups.setdefault((row["scenario"], row["what"], row["servers"]), []).append(row)
    for key in unended:
        groups.setdefault(key, []).append({"result": "NO END", "seed": None, "figures": [], "seconds": 0})
    for (number, what, servers), same in sorted(groups.items(), key=lambda item: (item[0][0] or 99, item[0][1:])):
        wrong = [row for row in same if row["result"] != "passed"]
        result = "passed" if not wrong else f"{wrong[0]['result']} ({len(wrong)} of {len(same)})"
        names = dict.fromkeys(name for row in same for name, _ in row["figures"])
        figures = "; ".join(
            f"{name} {spread([value for row in same for n, value in row['figures'] if n == name])}" for name in names
        )
        seeds = [str(row["seed"]) for row in wrong if row["seed"] is not None]
        if seeds:
            figures += f" (seeds {', '.join(seeds)})"
        yield number, what, servers, result, len(same), figures


def markdown(table):
    lines = ["| # | what happens | servers | result | figures |", "| --- | --- | --- | --- | --- |"]
    for number, what, servers, result, times, figures in table:
        title = f"{TITLES[number]}: {what}" if number else what
        lines.append(f"| {number or ''} | {title} | {servers} | {result}, {times} × | {figures} |")
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("rows")
    arguments.add_argument("--partial", action="store_true", help="not every scenario has to be there")
    arguments.add_argument("--markdown", metavar="FILE")
    arguments.add_argument("--into", metavar="PAGE", help="a page with marks where the table begins and ends")
    given = arguments.parse_args()
    rows, unended = read(given.rows)
    table = list(group(rows, unended))
    missing = [] if given.partial else sorted(set(TITLES) - {row[0] for row in table})
    last = None
    for number, what, servers, result, times, figures in table:
        if number != last:
            print(f"\n{number:2} {TITLES[number]}" if number else "\n   beside the scenarios")
            last = number
        print(f"   {result:8} {servers:7} {times:3}x  {what}{': ' if figures else ''}{figures}")
    for number in missing:
        print(f"\n{number:2} {TITLES[number]}\n   NOT RUN")
    bad = sum(row[3] != "passed" for row in table) + len(missing)
    print(f"\n{len(table)} rows of {len({row[0] for row in table if row[0]})} scenarios, {bad} failed or missing")
    if given.markdown:
        with open(given.markdown, "w", encoding="utf-8") as out:
            out.write(markdown(table))
    if given.into:
        with open(given.into, encoding="utf-8") as page:
            before, rest = page.read().split("<!-- scenarios: begin -->\n")
        after = rest.split("<!-- scenarios: end -->")[1]
        with open(given.into, "w", encoding="utf-8") as page:
            page.write(f"{before}<!-- scenarios: begin -->\n{markdown(table)}<!-- scenarios: end -->{after}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
