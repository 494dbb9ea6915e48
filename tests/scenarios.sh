#!/usr/bin/env bash
# Every fault scenario, one after the other, and the table of them with their figures.
#   ./tests/scenarios.sh                 the short form, as in tests/run.sh
#   ./tests/scenarios.sh --long          20 repetitions of each, with the times of recovery asserted (hours)
#   … --repetitions N                    so many of them, in either form (SLOTWAY_REPETITIONS)
#   ./tests/scenarios.sh --only NAME     one test file, such as `faults`
#   ./tests/scenarios.sh --table FILE    only prints the table of rows that were recorded
#   … --markdown FILE                    the table for the README as well
#   … --operations                       the same, written into deploy/operations.md
set -euo pipefail
cd "$(dirname "$0")/.."

# The test files whose tests record rows (`tests/support/scenario.rs`).
binaries=(
    splits
    faults
    hangups
    slot_moves
    redirections
    hostile_node
    forged_redirection
    lies
    fuzz
    fuzz_wire
    fuzz_direct
    overload
    signals
    network
    lines
    isolation
    outages
    dials
    modal
    atomic_moves
    hostile_load
    bulk
    simulation
)
table=() rows=
while (($#)); do
    case $1 in
    --long) export SLOTWAY_LONG=1 ;;
    --repetitions) export SLOTWAY_REPETITIONS=$2; shift ;;
    --only) binaries=("$2"); table+=(--partial); shift ;;
    --table) rows=$2; shift ;;
    --markdown) table+=(--markdown "$2"); shift ;;
    --operations) table+=(--into deploy/operations.md) ;;
    *) sed -n '2,10p' "$0" >&2; exit 2 ;;
    esac
    shift
done
if [[ -z $rows ]]; then
    eval "$(./tests/run.sh --env)"
    rows=$(mktemp)
    trap 'rm -f "$rows"' EXIT
    export SLOTWAY_SCENARIOS=$rows
    failed=0
    for binary in "${binaries[@]}"; do
        # The rows tell what failed; the table is printed whatever happens.
        features=()
        [[ $binary != simulation ]] || features=(--features simulation)
        cargo test --locked ${features[@]+"${features[@]}"} --test "$binary" -- --nocapture --test-threads 1 || failed=1
    done
    python3 tests/scenarios/table.py "$rows" ${table[@]+"${table[@]}"} || failed=1
    exit "$failed"
fi
python3 tests/scenarios/table.py "$rows" ${table[@]+"${table[@]}"}
