#!/bin/sh
# Installs what a container engine of its own (engine.sh) needs, as far as it is missing.
#
#   e2e/packages.sh          says what it installs and installs it; says why not where it cannot, and goes on
#   e2e/packages.sh missing  only prints the packages that are missing
#
# It installs only as root and only with apt-get. It never fails for want of a package: Polder runs tasks as processes where
# there is no engine.
set -eu

PATH=$PATH:/usr/sbin:/sbin # where daemons are, not on everybody's path
here() { command -v "$1" >/dev/null 2>&1; }

# The docker program is a package of its own in newer releases.
client() { if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; else echo docker.io; fi; }

missing() {
    here dockerd || echo docker.io
    here docker || client
    here containerd || echo containerd
    here runc || echo runc
    here iptables || echo iptables
    here busybox || echo busybox-static
}

wanted=$(missing | sort -u | tr '\n' ' ')
if [ "${1:-}" = missing ]; then
    echo "$wanted"
    exit 0
fi
[ -n "$wanted" ] || exit 0

if ! here apt-get; then
    echo "For containers, install these yourself (there is no apt-get here): $wanted"
elif [ "$(id -u)" != 0 ]; then
    echo "For containers, install these as root: apt-get install -y --no-install-recommends $wanted"
else
    echo "Installing the packages of a container engine: $wanted"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q || echo "The package lists could not be renewed; trying with those there are."
    wanted=$(missing | sort -u | tr '\n' ' ') # names as the lists have them now
    # shellcheck disable=SC2086 # one word per package
    if apt-get install -y -q --no-install-recommends $wanted; then exit 0; fi
    echo "The packages could not be installed."
fi
echo "Going on without an engine: tasks run as processes."
