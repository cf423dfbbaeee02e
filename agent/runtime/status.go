package runtime

import (
	"fmt"
	"syscall"
	"time"
)

// State is where a task stands in its runtime.
type State string

// A task is starting between the runtime's first record of it and its first instruction, then running, then exited.
const (
	Starting State = "starting"
	Running  State = "running"
	Exited   State = "exited"
)

// Status is what a runtime knows of a task.
type Status struct {
	TaskID    string
	Role      string
	Node      string
	Funded    string // as launched: [Guaranteed] or [Borrowed]
	Labels    map[string]string
	State     State
	PID       int       // of the main process on the machine; 0 when unknown or ended
	StartedAt time.Time // zero before Running
	Exit      *Exit     // set exactly when State is Exited
	Isolation string    // what separates it from the machine: "pid,mnt,ipc", "container", "none"
}

// Exit is how a task ended.
type Exit struct {
	Code       int            // as a shell reports it: 128 + number for a signal; -1 when Lost
	Signal     syscall.Signal // the signal that ended it, 0 if none is known
	OOM        bool           // the kernel killed a process of the task over its memory limit
	Lost       bool           // it is over, but nobody saw how: reboot, supervisor killed, container removed
	Reason     string         // one sentence for people, empty for a plain exit
	FinishedAt time.Time      // zero when Lost and unknown
}

// Success reports whether the task ended by itself with code 0.
func (e Exit) Success() bool { return !e.Lost && e.Code == 0 }

// String is a short sentence for people.
func (e Exit) String() string {
	switch {
	case e.Lost:
		return "lost: " + e.Reason
	case e.OOM:
		return "out of memory"
	case e.Signal != 0:
		return fmt.Sprintf("signal %s", SignalName(e.Signal))
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// ExitOf builds an Exit from a shell-style code: above 128 it names the signal.
func ExitOf(code int, at time.Time) Exit {
	e := Exit{Code: code, FinishedAt: at}
	if code > 128 && code <= 128+64 {
		e.Signal = syscall.Signal(code - 128)
	}
	return e
}

// LostExit is the exit of a task whose end nobody saw.
func LostExit(reason string) Exit { return Exit{Code: -1, Lost: true, Reason: reason} }

// Usage is what a task consumes. CPUSeconds only grows; the others are of the moment.
type Usage struct {
	CPUSeconds  float64
	MemoryBytes int64
	Pids        int64
	At          time.Time
}
