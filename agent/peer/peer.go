// Package peer finds out what a process on this machine has in its environment, when all that is known of it is a
// connection it made to us over loopback. It is how clients that cannot send credentials are told apart: only who may
// start a process with a secret in its environment has the secret.
//
// It is Linux only, and finds only processes whose files this process may read: all of them as root, its own user's otherwise. It keeps
// nothing. Its functions are safe for concurrent use.
package peer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Variable returns a variable of the environment, as it was when the program began, of the process at the other end of a
// loopback connection from remote to local, both host:port. It is empty when there is none, or it cannot be told.
func Variable(local, remote, name string) string {
	l, err1 := netip.ParseAddrPort(local)
	r, err2 := netip.ParseAddrPort(remote)
	if err1 != nil || err2 != nil || !r.Addr().IsLoopback() || !l.Addr().IsLoopback() {
		return ""
	}
	inode := inodeOf(r, l)
	if inode == "" {
		return ""
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // a fixed pattern
	for _, dir := range dirs {
		if holds(dir, "socket:["+inode+"]") {
			return variable(dir, name)
		}
	}
	return ""
}

// VariableOf is Variable of the process that sent a request to an [http.Server], empty when the request came otherwise.
func VariableOf(r *http.Request, name string) string {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return ""
	}
	return Variable(local.String(), r.RemoteAddr, name)
}

// inodeOf finds the socket of a connection by its two ends, as its owner sees them.
func inodeOf(own, other netip.AddrPort) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		v6 := strings.HasSuffix(table, "6")
		a, b := entry(own, v6), entry(other, v6)
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 9 && f[1] == a && f[2] == b {
				return f[9]
			}
		}
	}
	return ""
}

// entry is an end of a connection as the kernel's tables write it: words in the order of the machine's bytes.
func entry(p netip.AddrPort, v6 bool) string {
	a := p.Addr().Unmap().AsSlice()
	if v6 {
		full := p.Addr().As16()
		a = full[:]
	}
	for word := range slices.Chunk(a, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	return fmt.Sprintf("%s:%04X", strings.ToUpper(hex.EncodeToString(a)), p.Port())
}

// holds reports whether a process has a file open.
func holds(dir, file string) bool {
	entries, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return false
	}
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/fd/" + e.Name()); err == nil && to == file {
			return true
		}
	}
	return false
}

func variable(dir, name string) string {
	data, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(data, []byte{0}) {
		if value, ok := bytes.CutPrefix(v, []byte(name+"=")); ok {
			return string(value)
		}
	}
	return ""
}
