#!/bin/sh
# Runs a command with a container engine to talk to, and ends the engine with it.
#
#   e2e/with-engine.sh usual DIR COMMAND…   the machine's own engine if it answers, else one of engine.sh in DIR
#   e2e/with-engine.sh own DIR COMMAND…     one of engine.sh in DIR, which has the image polder/busybox
#
# Where none can be started it says why and runs the command all the same. The exit code is the command's.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
[ $# -ge 3 ] || { echo "usage: $0 usual|own DIR COMMAND…" >&2; exit 2; }
which=$1 dir=$2
shift 2

if [ "$which" = usual ] && docker version >/dev/null 2>&1; then
    exec "$@"
fi
trap : INT TERM # they are for the command; the engine is ended after it
started=
if host=$("$here/engine.sh" start "$dir"); then
    started=yes
    export DOCKER_HOST="$host"
else
    echo "Going on without a container engine."
fi
code=0
"$@" || code=$?
[ -z "$started" ] || "$here/engine.sh" stop "$dir"
exit "$code"
