package runtime

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signal is a signal of this machine.
type Signal = syscall.Signal

// ParseSignal reads "SIGTERM", "TERM", "term" or "15"; empty is SIGTERM.
func ParseSignal(name string) (Signal, error) {
	if name == "" {
		return syscall.SIGTERM, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return Signal(n), nil
	}
	upper := strings.ToUpper(name)
	if !strings.HasPrefix(upper, "SIG") {
		upper = "SIG" + upper
	}
	if sig := unix.SignalNum(upper); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("signal %q: use a name like SIGTERM or a number from 1 to 64", name)
}

// SignalName is "SIGTERM", or the number of a signal without a name.
func SignalName(sig Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return strconv.Itoa(int(sig))
}
