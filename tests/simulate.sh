#!/usr/bin/env bash
# Deterministic simulation (tests/simulation.rs) over many seeds, in a release build, on all processors.
#   ./tests/simulate.sh [SEEDS] [FIRST]     100,000 seeds from FIRST on; without FIRST, seeds nobody has tried
# Where a seed fails: what happened, with all left out that the failure does not need, and the command that repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."
export SLOTWAY_SEEDS=${1:-100000}
# One failure does not end it: all of them are of interest.
export SLOTWAY_FAILURES=${SLOTWAY_FAILURES:-20}
[[ -z ${2:-} ]] || export SLOTWAY_FIRST_SEED=$2
# Thin optimisation: the whole of the dependencies need not be linked into one for this.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo test --locked --release --features simulation --test simulation -- --nocapture many_seeds
