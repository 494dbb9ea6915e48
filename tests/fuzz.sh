#!/usr/bin/env bash
# Fuzzes for as long as one likes; the short runs are in `cargo test`.
#   ./tests/fuzz.sh                      every target, 1 minute each
#   ./tests/fuzz.sh TARGET [MINUTES]     one of them
#   ./tests/fuzz.sh --minimise [TARGET]  what the runs have found out goes into tests/fuzz/corpus, as few inputs as cover it
# Targets without sockets run under libFuzzer, guided by coverage. An input that fails is in target/fuzz/failures: moved
# into tests/fuzz/corpus/TARGET it is a test.
set -euo pipefail
cd "$(dirname "$0")/.."

guided=(requests replies topology split merging)
# Through a running proxy, without guidance.
wired=(smuggling scripts streams)
# The largest corpus that is kept of a target, in inputs.
kept_max=150

minimise=
if [[ ${1-} == --minimise ]]; then
    minimise=1
    shift
fi
targets=("${@:1:1}")
((${#targets[@]})) || targets=("${guided[@]}" "${wired[@]}")
seconds=$((60 * ${2-1}))

out=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` gives the compiler, without the sanitizers: slotway forbids unsafe code. No nightly is needed.
coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares"
build() {
    RUSTFLAGS=$(tr -s ' \n' ' ' <<<"$coverage") CARGO_TARGET_DIR=$out \
        cargo build --locked --release --target "$host" --manifest-path tests/fuzz/Cargo.toml
}

guide() {
    local target=$1 found=$out/found/$1 corpus=tests/fuzz/corpus/$1 dictionary=()
    [[ -s $out/dictionary-$target ]] && dictionary=(-dict="$out/dictionary-$target")
    mkdir -p "$found" "$out/failures"
    echo "fuzz: $target, $seconds s"
    SLOTWAY_FUZZ_TARGET=$target "$out/$host/release/slotway-fuzz" "$found" "$corpus" \
        -max_total_time="$seconds" -timeout=10 -max_len=4096 -artifact_prefix="$out/failures/$target-" \
        -print_final_stats=1 -verbosity=0 ${dictionary[@]+"${dictionary[@]}"}
}

# The words of a target as libFuzzer wants them.
dictionary() {
    SLOTWAY_FUZZ_TARGET=$1 SLOTWAY_FUZZ_WORDS=1 "$out/$host/release/slotway-fuzz" -runs=0 >"$out/dictionary-$1" 2>/dev/null
}

# Keeps of what was found the inputs that cover something, the shortest first.
minimise() {
    local target=$1 found=$out/found/$1 corpus=tests/fuzz/corpus/$1 few
    few=$(mktemp -d)
    SLOTWAY_FUZZ_TARGET=$target "$out/$host/release/slotway-fuzz" -merge=1 -verbosity=0 "$few" "$corpus" "$found"
    # Those with a name were put there by hand.
    find "$corpus" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
    find "$few" -type f -printf '%s %p\n' | sort -n | head -n "$kept_max" | cut -d' ' -f2- | while read -r input; do
        cp "$input" "$corpus/"
    done
    rm -r "$few"
    echo "fuzz: $target: $(find "$corpus" -type f | wc -l) inputs kept, $(du -bs "$corpus" | cut -f1) bytes"
}

# A target through a proxy and with real servers, from a new seed.
wire() {
    eval "$(./tests/run.sh --env)"
    echo "fuzz: $1, $seconds s"
    local tests=(--test fuzz_wire --)
    [[ $1 == smuggling ]] || tests=(--test fuzz_direct -- "$1")
    SLOTWAY_FUZZ_SECONDS=$seconds cargo test --locked "${tests[@]}" --nocapture
}

built=
for target in "${targets[@]}"; do
    if [[ " ${wired[*]} " == *" $target "* ]]; then
        [[ -n $minimise ]] || wire "$target"
        continue
    fi
    [[ -n $built ]] || build
    built=1
    if [[ -n $minimise ]]; then
        minimise "$target"
    else
        dictionary "$target"
        guide "$target"
    fi
done
