#!/bin/sh
# A container engine on a machine of its own, as far as one machine can give it: network, mounts and host name are its own.
#
#   e2e/apart.sh start DIR   makes such a place in DIR and runs engine.sh start DIR there
#   e2e/apart.sh stop DIR    runs engine.sh stop DIR there and ends the place
#
# Start is idempotent: an engine that died is started again in the place that is there. The engine's socket is below DIR.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
[ $# -eq 2 ] || { echo "usage: $0 start DIR | stop DIR" >&2; exit 2; }
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)

# place is the process that holds the namespaces; empty when there is none. Its command line names the directory.
place() {
    pid=$(cat "$dir/place" 2>/dev/null) || return 0
    if tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$dir/place"; then echo "$pid"; fi
}

# settle is what holds the namespaces: it stands by until it is ended. An engine keeps its identity in /etc/docker.
settle='echo $$ >"$0.new"; hostname "$(basename "$(dirname "$0")")"; busybox ip link set lo up
mount --bind "${0%/*}/etc" /etc/docker; mv "$0.new" "$0"; while :; do sleep 3600 & wait $!; done'

inside() {
    nsenter --net --mount --uts --target "$(place)" "$here/engine.sh" "$1" "$dir"
}

case $1 in
start)
    mkdir -p "$dir/etc" /etc/docker
    if [ -z "$(place)" ]; then
        setsid unshare --net --mount --uts sh -c "$settle" "$dir/place" >>"$dir/place.log" 2>&1 </dev/null 3>&- &
        n=0
        until [ -n "$(place)" ]; do
            n=$((n + 1))
            [ $n -lt 100 ] || { echo "apart.sh: no place for an engine: $(tail -n 3 "$dir/place.log")" >&2; exit 1; }
            sleep 0.1
        done
    fi
    inside start
    ;;
stop)
    pid=$(place)
    [ -n "$pid" ] || exit 0
    code=0
    inside stop || code=$?
    kill -9 "-$pid" 2>/dev/null || kill -9 "$pid" || true # it leads a session of its own
    rm -f "$dir/place"
    exit $code
    ;;
*)
    echo "usage: $0 start DIR | stop DIR" >&2
    exit 2
    ;;
esac
