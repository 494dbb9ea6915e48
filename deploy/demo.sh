#!/bin/sh
# A cluster of three primaries and three replicas on this machine, with slotway in front of it on
# 127.0.0.1:6379, or on the port given: ./deploy/demo.sh [PORT]
# Installs the server program if there is none, builds slotway in release mode, and runs until Ctrl-C. Nothing
# is left running and no file is left behind, but for the build in target/ and the installed package.
set -eu

port=${1:-6379}
fail() {
    printf '%s\n' "demo: $*" >&2
    exit 1
}
case $port in
'' | *[!0-9]*) fail "the port must be a number, not '$port'" ;;
esac
if [ "${#port}" -gt 5 ] || [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then fail "no such port: $port"; fi

cd "$(dirname "$0")/.."
command -v cargo >/dev/null 2>&1 || fail "cargo is not on PATH: install a Rust toolchain (rustup or your package manager)"
command -v cc >/dev/null 2>&1 || fail "no C compiler (cc) on PATH: install one (Debian: apt-get install build-essential)"
./deploy/install-server.sh
cargo build --release --locked --bin slotway
target=${CARGO_TARGET_DIR:-target}
exec "$target/release/slotway" demo --listen "127.0.0.1:$port"
