package mesos

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty opens a pseudo-terminal of 33 rows and 99 columns.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 99}); err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// shellOnTerminal runs mesos-go's shell on a terminal of its own: a shell in a task of the pool answers what is typed, knows the
// terminal's size, and the program ends as it ends. It finds the task's agent at port 5051 of the host that its offer names.
func shellOnTerminal(t *testing.T, p *pool, args ...string) {
	master, slave := pty(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args = append(append([]string{"-master", p.addr, "-cpus", "0.05", "-tty", "-interactive"}, args...), "--", "/bin/sh")
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, "msh"), args...)
	cmd.Env = append(os.Environ(), "POLDER_TOKEN="+p.token, "TERM=dumb")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var seen syncBuffer
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(&seen, master) // it ends with an error, as terminals do
	}()
	shown := func(text string) func() bool {
		return func() bool { return strings.Contains(seen.String(), text) }
	}
	defer func() {
		if t.Failed() {
			t.Logf("on the terminal:\n%s", seen.String())
		}
	}()
	await(t, "msh attaches to its task", shown("attaching for interactive session"))
	// What is typed is echoed as it is, so what is waited for must not be part of it.
	type line struct{ typed, shown string }
	for _, x := range []line{{"echo six$((6*7))\n", "six42"}, {`until [ "$(stty size)" = "33 99" ]; do sleep 0.1; done; echo size-$((1+1))` + "\n", "size-2"}, {"test -t 0 && echo a-$((1+1))-terminal\n", "a-2-terminal"}} {
		if _, err := io.WriteString(master, x.typed); err != nil {
			t.Fatal(err)
		}
		await(t, fmt.Sprintf("%q is answered %q", x.typed, x.shown), shown(x.shown))
	}
	if _, err := io.WriteString(master, "exit\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("msh ended with %v", err)
	}
	<-copied
	if !shown("TASK_FINISHED")() {
		t.Error("the task did not finish")
	}
}
