#!/usr/bin/env bash
# Counts the instructions that slotway spends per request (valgrind's callgrind, installed if missing): GET 32 B,
# 50 clients, a pipeline of 16. Steady where wall time and CPU time are not: for comparing builds.
#   ./tests/bench/instructions.sh                               builds slotway in release mode and counts
#   ./tests/bench/instructions.sh --slotway PATH --test set     this binary, writes
#   ./tests/bench/instructions.sh --observing                   what metrics, hot keys, slow log … cost; fails beyond 8 %
#   ./tests/bench/instructions.sh --profile FILE                keeps the profile: callgrind_annotate FILE
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/bench/install.sh
. "$here/install.sh"

case ${1:-} in -h | --help) exec python3 "$here/instructions.py" --help ;; esac

command -v valgrind >/dev/null || install_packages valgrind
command -v redis-benchmark >/dev/null || install_packages redis-tools
"$root/deploy/install-server.sh" --redis

arguments=()
if builds "$@"; then
    (cd "$root" && cargo build --release --locked --bin slotway)
    arguments+=(--slotway "${CARGO_TARGET_DIR:-$root/target}/release/slotway")
fi
exec python3 "$here/instructions.py" "${arguments[@]}" "$@"
