#!/bin/sh
# Installs what the tests with real clients need, as far as it is missing: Chromium, Node.js with npm to build the console's pages
# and to run a framework, and a C compiler, which one of the frameworks is written with. Only as root and only with apt-get;
# elsewhere it says what to install. The tests themselves fail and say so when something is missing.
set -eu

here() { command -v "$1" >/dev/null 2>&1; }

wanted=
here chromium || here chromium-browser || here google-chrome || wanted="$wanted chromium"
here node || wanted="$wanted nodejs"
here npm || wanted="$wanted npm"
here cc || wanted="$wanted gcc libc6-dev"
[ -n "$wanted" ] || exit 0

if ! here apt-get || [ "$(id -u)" != 0 ]; then
    echo "For the tests with real clients, install:$wanted (Node.js 20 or later)"
    exit 0
fi
echo "Installing for the tests with real clients:$wanted"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || echo "The package lists could not be renewed; trying with those there are."
# shellcheck disable=SC2086 # one word per package
apt-get install -y -q --no-install-recommends $wanted || echo "The packages could not be installed; the tests that need them will fail."
