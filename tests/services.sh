#!/usr/bin/env bash
# The programs that the interop tests run, and with `bench` those of the bench, none of them ours: installed from Debian
# where they are missing.
# Quick when nothing is missing. Needs root, or sudo without a password, only when something is.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# program:package
wanted=(
    acme-tiny:acme-tiny      # ACME clients of other houses
    caddy:caddy
    certbot:certbot
    lego:lego
    uacme:uacme
    cfssl:golang-cfssl       # a client and a CA of another house
    cfssljson:golang-cfssl
    certtool:gnutls-bin      # requests and checks by GnuTLS
    ocsptool:gnutls-bin
    chromium:chromium        # the dashboard in a browser
    curl:curl
    faketime:faketime        # a process on another day
    java:openjdk-17-jre-headless # Apache Kafka runs on it, and
    mvn:maven                    # its jars come by it
    nginx:nginx              # a server that uses what was issued
    openssl:openssl
    redis-server:redis-server # where replicas share their views
    softhsm2-util:softhsm2   # a PKCS#11 token in software
)

# what the bench needs besides
[[ ${1:-} == bench ]] && wanted+=(
    pebble:pebble # an ACME server of another house
    wrk:wrk # load over HTTP and HTTPS
)

missing_packages() {
    local pair
    for pair in "${wanted[@]}"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done | sort -u
}

mapfile -t packages < <(missing_packages)
((${#packages[@]})) || exit 0

by_hand="apt-get update && apt-get install -y --no-install-recommends ${packages[*]}"
if ! command -v apt-get >/dev/null; then
    echo "error: the tests need the programs of the Debian packages ${packages[*]}, and there is no apt-get here" >&2
    echo "hint: install them your system's way" >&2
    exit 1
fi
if ((EUID == 0)); then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "error: the tests need the Debian packages ${packages[*]}, and installing takes root" >&2
    echo "hint: sudo sh -c '$by_hand'" >&2
    echo "hint: the tests that need none of them: .venv/bin/python -m pytest tests/unit tests/house" >&2
    exit 1
fi

# Debian starts a service when its package arrives. The tests run their own nginx, so none is started or left enabled.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi

echo "installing ${packages[*]}"
log=$(mktemp)
if ! {
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -y --no-install-recommends "${packages[@]}"
} >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "error: apt-get could not install ${packages[*]} (its last lines stand above)" >&2
    echo "hint: sudo sh -c '$by_hand'" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
if [[ -d /run/systemd/system && " ${packages[*]} " == *" nginx "* ]]; then
    "${as_root[@]}" systemctl disable --quiet nginx || true
fi

mapfile -t packages < <(missing_packages)
if ((${#packages[@]})); then
    echo "error: ${packages[*]} installed, but a program of theirs is not on the path $PATH" >&2
    exit 1
fi
