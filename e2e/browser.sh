#!/bin/sh
# Installs what the console's tests need, as far as it is missing: Chromium, and Node.js with npm to build the pages. Only as
# root and only with apt-get; elsewhere it says what to install. The tests themselves fail and say so when something is missing.
set -eu

here() { command -v "$1" >/dev/null 2>&1; }

wanted=
here chromium || here chromium-browser || here google-chrome || wanted="$wanted chromium"
here node || wanted="$wanted nodejs"
here npm || wanted="$wanted npm"
[ -n "$wanted" ] || exit 0

if ! here apt-get || [ "$(id -u)" != 0 ]; then
    echo "For the console's tests, install:$wanted (Node.js 20 or later)"
    exit 0
fi
echo "Installing for the console's tests:$wanted"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q || echo "The package lists could not be renewed; trying with those there are."
# shellcheck disable=SC2086 # one word per package
apt-get install -y -q --no-install-recommends $wanted || echo "The packages could not be installed; the console's tests will fail."
