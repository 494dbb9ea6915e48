#!/usr/bin/env bash
# Runs the test suite that redis-py brings along, against plain servers and through slotway in front of clusters, and
# judges slotway by it: what passes on a plain server must pass through slotway, but for the tests in redis_py.expected,
# each with its reason. Installs what is missing under target/; the suite itself comes with the library's source.
#   ./tests/suites/run.sh                    both servers; takes 15 minutes on two cores
#   ./tests/suites/run.sh --server redis     one of them
#   ./tests/suites/run.sh --slotway PATH     judges this binary, builds nothing
#   ./tests/suites/run.sh --markdown         also writes the figures into the README
#   ./tests/suites/run.sh --help             everything else
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
env_dir=$target/suite-env

case " $* " in *" --help "* | *" -h "*) exec python3 "$here/judge.py" --help ;; esac

eval "$("$root/tests/run.sh" --env)"

# The suite and the library must be of one version: both come from the library's source package.
python=$env_dir/venv/bin/python
if [[ ! -d $env_dir/redis-py/tests ]]; then
    rm -rf "$env_dir"
    mkdir -p "$env_dir"
    python3 -m venv "$env_dir/venv"
    pip=("$python" -m pip --quiet --disable-pip-version-check)
    "${pip[@]}" download --no-deps --no-binary redis --dest "$env_dir" redis >&2
    "${pip[@]}" install "$env_dir"/redis-*.tar.gz pytest pytest-asyncio pytest-timeout packaging >&2
    mkdir "$env_dir/unpacked"
    tar -xzf "$env_dir"/redis-*.tar.gz -C "$env_dir/unpacked" --strip-components=1
    # Only the tests: next to the library's source they would not test what is installed.
    mkdir "$env_dir/partial"
    mv "$env_dir/unpacked/tests" "$env_dir/unpacked/pyproject.toml" "$env_dir/partial/"
    rm -r "$env_dir/unpacked"
    mv "$env_dir/partial" "$env_dir/redis-py"
fi

arguments=()
if [[ " $* " != *" --slotway"* ]]; then
    (cd "$root" && cargo build --release --locked --bin slotway)
    arguments+=(--slotway "$target/release/slotway")
fi
exec "$python" "$here/judge.py" --suite "$env_dir/redis-py" "${arguments[@]}" "$@"
