#!/bin/sh
# Installs a server program (redis-server or valkey-server) with the system's package manager, unless one is on
# PATH already. The distribution's own service is neither started nor enabled by it: port 6379 stays free.
# Called by deploy/demo.sh and tests/run.sh.
set -eu

say() { printf '%s\n' "install-server: $*" >&2; }

if command -v redis-server >/dev/null 2>&1; then exit 0; fi
if [ "${1:-}" != "--redis" ] && command -v valkey-server >/dev/null 2>&1; then exit 0; fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1; then as_root=sudo; else as_root=missing; fi
fi
need_root() {
    if [ "$as_root" = missing ]; then
        say "no redis-server on PATH, and installing it needs root or sudo: run '$*' as root, then try again"
        exit 1
    fi
}

# Debian starts and enables a service as soon as its package is installed. A policy says no to that while
# this installation runs; a policy that the machine already has is left alone.
apt_install() {
    need_root apt-get install redis-server
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # shellcheck disable=SC2064 # expanded now on purpose
        trap "$as_root rm -f $policy" EXIT
        trap 'exit 1' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server >&2 || {
        $as_root apt-get update >&2
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server >&2
    }
    if [ -d /run/systemd/system ]; then
        $as_root systemctl disable --quiet redis-server >&2 || say "redis-server will start at the next boot"
    fi
}

say "no redis-server on PATH: installing it"
if command -v apt-get >/dev/null 2>&1; then
    apt_install
elif command -v dnf >/dev/null 2>&1; then
    need_root dnf install valkey
    $as_root dnf install -y valkey >&2 || $as_root dnf install -y redis >&2
elif command -v apk >/dev/null 2>&1; then
    need_root apk add redis
    $as_root apk add redis >&2
elif command -v brew >/dev/null 2>&1; then
    brew install redis >&2
else
    say "no apt-get, dnf, apk or brew here: install redis-server or valkey-server by hand and try again"
    exit 1
fi
if ! command -v redis-server >/dev/null 2>&1 && ! command -v valkey-server >/dev/null 2>&1; then
    say "the package is installed, but neither redis-server nor valkey-server is on PATH"
    exit 1
fi
