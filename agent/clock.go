package agent

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time in two ways: the wall's, for people and other machines, and the time since this machine booted,
// which nobody can set. Deadlines are kept in the second.
type Clock interface {
	Now() time.Time
	// Boot returns an id that changes with every boot and the time since it, suspension included.
	Boot() (id string, since time.Duration)
}

// systemClock is the machine's.
type systemClock struct{ bootID string }

func newSystemClock() systemClock {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		// Without the kernel's id no moment of an earlier run of the agent is trusted.
		return systemClock{"unknown-" + time.Now().Format(time.RFC3339Nano)}
	}
	return systemClock{strings.TrimSpace(string(id))}
}

func (systemClock) Now() time.Time { return time.Now() }

func (c systemClock) Boot() (string, time.Duration) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("agent: this kernel has no CLOCK_BOOTTIME: " + err.Error())
	}
	return c.bootID, time.Duration(ts.Nano())
}

// moment is an instant that setting the wall clock does not move. Wall is what the wall clock would show; it serves
// people, and a machine that has booted since.
type moment struct {
	BootID string        `json:"bootID"`
	Since  time.Duration `json:"since"`
	Wall   time.Time     `json:"wall"`
}

func after(c Clock, d time.Duration) moment {
	id, since := c.Boot()
	return moment{id, since + d, c.Now().Add(d).Round(0)}
}

// until is the time from now to m, negative when m is past.
func (m moment) until(c Clock) time.Duration {
	if id, since := c.Boot(); id == m.BootID {
		return m.Since - since
	}
	return m.Wall.Sub(c.Now())
}

// thisBoot reports whether m was made since the machine booted.
func (m moment) thisBoot(c Clock) bool {
	id, _ := c.Boot()
	return id == m.BootID
}

func (m moment) plus(d time.Duration) moment { return moment{m.BootID, m.Since + d, m.Wall.Add(d)} }
