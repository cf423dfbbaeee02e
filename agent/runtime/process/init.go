package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

const initArg = "task-init"

var initialised atomic.Bool

// MaybeInit turns this process into a task's, and does not return, when it was started for that: with the first
// argument "task-init". Otherwise it returns at once. A program that calls [New] calls it first thing in main, before
// flags, threads and files; a test does so in TestMain.
func MaybeInit() {
	initialised.Store(true)
	if len(os.Args) < 3 || os.Args[1] != initArg {
		return
	}
	goruntime.LockOSThread()
	stopIgnoring()
	switch os.Args[2] {
	case "probe":
		probeMain()
	case "run":
		runMain(os.Args[3])
	case "enter":
		enterMain()
	case "exec":
		execMain()
	case "console":
		consoleMain(os.Args[3])
	}
	fmt.Fprintf(os.Stderr, "%s %s: not a stage of a task\n", initArg, os.Args[2])
	os.Exit(exitSetup)
}

// Exit codes as shells and container engines have them.
const (
	exitSetup    = 125
	exitDenied   = 126
	exitNotFound = 127
)

// handshakeFD is inherited from the agent: one line says that the command begins, or why it cannot.
const handshakeFD = 4

// supervisor is the script of the process that stays: it joins its cgroup, runs the second stage, which becomes the
// command, and records how that ended. Descriptors: 3 lock, 4 handshake, 5 and 6 the command's output. The code is
// written over reserved bytes, so a full disk cannot lose it.
const supervisor = joinGroups + `"$exe" ` + initArg + ` run "$dir" 3>&- >&5 2>&6 5>&- 6>&-
code=$?
` + recordExit

// attended is the same for an interactive task: a console runs beside the command, and ends after it, with everything a
// terminal showed written down. Descriptors beside those above: 7 the command's end of its input or terminal (5 and 6 are
// that too, for a terminal), 8 the end that the console holds, 9 the frames for it. Keys are for the command: the supervisor
// leads the terminal's session, and must not be ended or stopped by them; what it catches is back to normal in its children.
const attended = joinGroups + `trap : HUP INT QUIT TSTP
"$exe" ` + initArg + ` console $$ <&9 >&8 2>&5 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
console=$!
exec 8>&- 9>&-
if [ -t 7 ]; then
	"$exe" ` + initArg + ` run "$dir" 3>&- <&7 >&7 2>&7 5>&- 6>&- 7>&-
else
	"$exe" ` + initArg + ` run "$dir" 3>&- <&7 >&5 2>&6 5>&- 6>&- 7>&-
fi
code=$?
exec 7>&-
kill $console
wait $console
` + recordExit

const joinGroups = `exe=$1 dir=$2
shift 2
for f in "$@"; do echo 0 >"$f"; done
`

const recordExit = `echo $code 1<>"$dir/exit.new" && mv -f "$dir/exit.new" "$dir/exit"
exit $code`

// stopIgnoring undoes the two ignored signals a Go program may inherit (from nohup, say) and would hand on: what is
// caught resets with exec. The others have their defaults after exec anyway.
func stopIgnoring() {
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// probeMain answers whether a task's namespaces can be set up on this machine.
func probeMain() {
	if mounts(runtime.Spec{}) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// runMain is the second stage. It ends as the command, or with the reason in the error file and on the handshake.
func runMain(dir string) {
	unix.CloseOnExec(handshakeFD)
	handshake := os.NewFile(handshakeFD, "handshake")
	reason, err := os.OpenFile(errorFile(dir), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		err = begin(dir, func() { fmt.Fprintln(handshake, "ok") })
	}
	fmt.Fprintln(reason, err)
	fmt.Fprintln(handshake, strings.ReplaceAll(err.Error(), "\n", " "))
	os.Exit(failureCode(err))
}

func failureCode(err error) int {
	if errors.Is(err, os.ErrPermission) {
		return exitDenied
	}
	return exitNotFound
}

// begin sets this process up as the record says and becomes the command; it returns only with an error. It joins the
// cgroups late, so that hardly anything of this program counts against the task's limits.
func begin(dir string, ready func()) error {
	rec, err := readRecord(dir)
	if err != nil {
		return err
	}
	if err := recordProcesses(dir); err != nil {
		return fmt.Errorf("record process: %w", err)
	}
	if rec.Namespaces {
		if err := mounts(rec.Spec); err != nil {
			return err
		}
	}
	if err := join(rec.Joins); err != nil {
		return err
	}
	if err := rec.Cred.become(); err != nil {
		return err
	}
	workDir := rec.Spec.WorkDir
	if workDir == "" {
		workDir = rec.Spec.Sandbox
	}
	return become(rec.Spec.Command, rec.Env, workDir, ready)
}

func join(files []string) error {
	for _, f := range files {
		if err := os.WriteFile(f, []byte("0"), 0); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// recordProcesses writes the pid file with pids as the machine numbers them: /proc is still the machine's, and
// /proc/self names the reader in the numbering of the mount.
func recordProcesses(dir string) error {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return err
	}
	var p processes
	if p.command.pid, err = strconv.Atoi(self); err != nil {
		return err
	}
	if p.supervisor.pid, p.command.start, err = stat(p.command.pid); err != nil {
		return err
	}
	if _, p.supervisor.start, err = stat(p.supervisor.pid); err != nil {
		return err
	}
	return p.write(dir)
}

// mounts makes the task's view of the machine: its own /proc, and its binds, in order.
func mounts(spec runtime.Spec) error {
	for _, m := range spec.Mounts {
		m.Target = m.At(spec.Sandbox)
		if err := unix.Mount(m.Source, m.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s to %s: %w (both must exist on this machine)", m.Source, m.Target, err)
		}
		if !m.ReadOnly {
			continue
		}
		if err := unix.MountSetattr(unix.AT_FDCWD, m.Target, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("mount %s to %s read-only: %w", m.Source, m.Target, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// become replaces this process by the command.
func become(command, env []string, workDir string, ready func()) error {
	if err := os.Chdir(workDir); err != nil {
		return err
	}
	path, err := lookPath(command[0], env)
	if err != nil {
		return err
	}
	defaultSignals()
	ready()
	return fmt.Errorf("exec %s: %w", path, syscall.Exec(path, command, env))
}

// defaultSignals gives the signals that end a command their plain effect, past the Go runtime. Its handlers run on any
// thread, and exec ends all threads but its own: a key pressed right then would be taken by a thread that never gets to act
// on it.
func defaultSignals() {
	var plain struct{ handler, flags, restorer, mask uint64 } // the kernel's sigaction; all zero is SIG_DFL
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM} {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&plain)), 0, 8, 0, 0)
	}
}

// lookPath finds the command as a shell would with the task's own PATH.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return exec.LookPath(name)
	}
	search := ""
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	for _, dir := range filepath.SplitList(search) {
		if path, err := exec.LookPath(filepath.Join("/", dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("command %q: not found in PATH=%s", name, search)
}
