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
# Orders to end are for the command, which gets a Ctrl-C from the terminal as well; the engine is ended after it.
command=
ordered=
pass() { ordered=$1; [ -z "$command" ] || kill -s "$1" "$command" 2>/dev/null || true; }
for order in INT TERM HUP; do
    # shellcheck disable=SC2064 # the name is wanted now
    trap "pass $order" "$order"
done
trap : PIPE
started=
if host=$("$here/engine.sh" start "$dir"); then
    started=yes
    export DOCKER_HOST="$host"
else
    echo "Going on without a container engine."
fi
[ -z "$ordered" ] || { "$here/engine.sh" stop "$dir"; exit 130; }
exec 3<&0
"$@" <&3 3<&- &
command=$!
code=0
wait "$command" || code=$?
while kill -0 "$command" 2>/dev/null; do # an order interrupts the wait
    code=0
    wait "$command" || code=$?
done
[ -z "$started" ] || "$here/engine.sh" stop "$dir"
exit "$code"
