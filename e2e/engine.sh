#!/bin/sh
# A container engine of its own in a directory, for the demo and the tests when the machine runs none.
#
#   e2e/engine.sh start DIR   starts containerd and dockerd there, makes the image polder/busybox, prints DOCKER_HOST
#   e2e/engine.sh stop DIR    ends them, by the process ids recorded in DIR, and what is left of them if they died before
#
# Start is idempotent. State is below DIR, sockets too, so DIR must be short (a socket path has 107 characters at most).
# Only root can run an engine.
set -eu

fail() { echo "engine.sh: $*" >&2; exit 1; }

need() {
    missing=
    for program in dockerd containerd runc docker; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    [ -x /bin/busybox ] || [ -x /usr/bin/busybox ] || missing="$missing busybox"
    [ -z "$missing" ] || fail "missing:$missing. Install them: apt-get install docker.io containerd runc busybox-static"
    [ "$(id -u)" = 0 ] || fail "an engine needs root: run this as root"
    [ "${#dir}" -le 70 ] || fail "$dir is too long for the sockets in it: use a shorter directory"
}

# alive FILE PROGRAM: the process recorded in FILE runs and still is that program, started for this directory.
alive() {
    [ -s "$1" ] || return 1
    process=/proc/$(cat "$1")
    [ "$(cat "$process/comm" 2>/dev/null)" = "$2" ] && tr '\0' '\n' <"$process/cmdline" | grep -qF "$dir/"
}

containerd_config() {
    cat <<CONFIG
version = 2
root = "$dir/containerd"
state = "$dir/run/containerd"
[grpc]
  address = "$dir/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  stream_server_port = "0"
CONFIG
}

# bridge makes a network of the engine's own, so that it shares neither bridge nor addresses with another engine here.
bridge() {
    number=$(printf %s "$dir" | cksum | cut -d' ' -f1)
    bridge=polder$((number % 65536))
    busybox ip link show "$bridge" >/dev/null 2>&1 && return # /sys may show another network than ours
    busybox ip link add name "$bridge" type bridge
    busybox ip addr add "10.$((number / 256 % 64 + 192)).$((number % 256)).1/24" dev "$bridge"
    busybox ip link set "$bridge" up
    echo "$bridge" >"$dir/bridge"
}

daemon_config() {
    echo '{"bridge": "'"$bridge"'", "log-driver": "json-file", "log-opts": {"max-size": "16m", "max-file": "2"}}'
}

# launch NAME PROGRAM ARGS…: in a session of its own, so that a Ctrl-C for the caller is not one for the engine.
launch() {
    name=$1; shift
    setsid "$@" >>"$dir/$name.log" 2>&1 </dev/null 3>&- &
    echo $! >"$dir/$name.started"
}

# await NAME COMMAND…: until the command succeeds, as long as NAME lives, a minute at most.
await() {
    name=$1; shift
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        alive "$dir/$name.started" "$name" || [ $n -lt 5 ] || fail "$name ended: $(tail -n 3 "$dir/$name.log")"
        [ $n -lt 600 ] || fail "$name does not answer: see $dir/$name.log"
        sleep 0.1
    done
}

# image makes polder/busybox, a few megabytes, from the machine's own busybox: no registry is needed.
image() {
    docker -H "$host" image inspect polder/busybox >/dev/null 2>&1 && return
    root=$dir/image
    rm -rf "$root"
    mkdir -p "$root/bin" "$root/tmp" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/polder"
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    tar -C "$root" -c . | docker -H "$host" import -c 'ENV PATH=/bin' -c 'CMD ["/bin/sh"]' - polder/busybox >/dev/null
    rm -rf "$root"
}

start() {
    need
    mkdir -p "$dir/run"
    if ! alive "$dir/containerd.started" containerd; then
        rm -f "$dir/containerd.sock"
        containerd_config >"$dir/containerd.toml"
        launch containerd containerd --config "$dir/containerd.toml"
    fi
    await containerd test -S "$dir/containerd.sock"
    if ! alive "$dir/dockerd.started" dockerd; then
        rm -f "$dir/docker.sock" "$dir/docker.pid"
        bridge
        daemon_config >"$dir/daemon.json"
        launch dockerd dockerd --config-file "$dir/daemon.json" --containerd "$dir/containerd.sock" --data-root "$dir/docker" \
            --exec-root "$dir/run/docker" -H "$host" --pidfile "$dir/docker.pid"
    fi
    await dockerd docker -H "$host" version
    image
    echo "$host"
}

# end NAME: ask, then insist after ten seconds.
end() {
    file=$dir/$1.started
    n=0
    while alive "$file" "$1"; do
        case $n in
            0) kill "$(cat "$file")" || true ;;
            100) kill -9 "$(cat "$file")" || true ;;
            200) fail "$1 does not end: process $(cat "$file")" ;;
        esac
        n=$((n + 1))
        sleep 0.1
    done
    rm -f "$file"
}

# leftovers ends what a killed engine leaves behind: the shims of its containers, with their containers, and its mounts.
leftovers() {
    for command in /proc/[0-9]*/cmdline; do
        process=${command%/cmdline}
        case $({ tr '\0' ' ' <"$command"; } 2>/dev/null || true) in
            *containerd-shim*" -address $dir/containerd.sock "*) kill_shim "${process#/proc/}" ;;
        esac
    done
    # The deepest first; the names in mountinfo have spaces and the like as octal escapes.
    cut -d' ' -f5 /proc/self/mountinfo | sort -r | while read -r mount; do
        mount=$(printf %b "$mount")
        case $mount in "$dir"/*) umount -l "$mount" 2>/dev/null || true ;; esac
    done
}

# kill_shim PID: with the processes it started, which are the containers' first ones; theirs end with them.
kill_shim() {
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do kill -9 "$child" 2>/dev/null || true; done
    kill -9 "$1" 2>/dev/null || true
}

unbridge() {
    [ -s "$dir/bridge" ] || return 0
    busybox ip link del "$(cat "$dir/bridge")" 2>/dev/null || true
    rm -f "$dir/bridge"
}

usage() { echo "usage: $0 start DIR | stop DIR" >&2; exit 2; }

[ $# -eq 2 ] || usage
case $1 in start|stop) ;; *) usage ;; esac
[ "$1" = stop ] || mkdir -p "$2"
[ -d "$2" ] || exit 0
dir=$(cd "$2" && pwd -P)
host=unix://$dir/docker.sock
case $1 in
    start) start ;;
    stop) end dockerd; end containerd; leftovers; unbridge ;;
esac
