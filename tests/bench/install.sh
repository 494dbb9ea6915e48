# What run.sh and instructions.sh share: installing packages, and whether there is anything to build. Sourced.
# shellcheck shell=bash

# Programs that only root usually has on PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

as_root() { if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi; }

# Debian starts a service as soon as its package is installed; a policy says no to that meanwhile. One that the
# machine already has is left alone.
install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "bench: please install $* (no apt-get here to do it)" >&2
        exit 1
    fi
    local policy=/usr/sbin/policy-rc.d own=no
    if [[ ! -e $policy ]]; then
        own=yes
        # shellcheck disable=SC2064 # expanded now on purpose
        trap "as_root rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2 || {
        as_root apt-get update >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
    }
    if [[ $own == yes ]]; then
        as_root rm -f "$policy"
        trap - EXIT
    fi
}

# Whether the arguments name no binary, so that one must be built.
builds() {
    local argument
    for argument in "$@"; do
        case $argument in --slotway | --slotway=*) return 1 ;; esac
    done
}
