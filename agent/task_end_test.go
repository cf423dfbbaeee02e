package agent

import (
	"testing"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"

	"polder.dev/polder/agent/runtime"
)

// TestOutcomeAroundAStopSignal checks what an end means that is heard of only after the stop signal of a notice was sent: it
// may have come before the signal, and belong to an earlier notice.
func TestOutcomeAroundAStopSignal(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
	}
	signalled := &moment{Wall: at(0)}
	cases := []struct {
		name      string
		signalled *moment
		state     string // of the newest notice
		code      int
		ended     time.Time
		want      polderv1.TaskState
	}{
		{"finished before the signal", signalled, noticeOpen, 0, at(-1), succeeded},
		{"finished too near to the signal to tell", signalled, noticeOpen, 0, at(-0.005), reclaimed},
		{"said good-bye at the signal", signalled, noticeOpen, 0, at(0.001), reclaimed},
		{"good-bye after the withdrawal", signalled, noticeWithdrawn, 0, at(1), reclaimed},
		{"finished, nobody knows when", signalled, noticeOpen, 0, time.Time{}, reclaimed},
		{"left before the signal", signalled, noticeOpen, 75, at(-1), reclaimed},
		{"failed before the signal, after its notice was withdrawn", nil, noticeWithdrawn, 75, at(70), failed},
		{"left as the notice was withdrawn", nil, noticeWithdrawn, 75, at(30), reclaimed},
		{"finished as the notice was withdrawn", nil, noticeWithdrawn, 0, at(30), succeeded},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := &notice{Wire: &polderv1.Notice{State: c.state, Claimant: "somebody"}, Deadline: moment{Wall: at(60)}}
			task := &task{rec: &record{Notice: n, Signalled: c.signalled}}
			if got, why := task.outcome(runtime.ExitOf(c.code, c.ended)); got != c.want {
				t.Errorf("outcome is %v (%v), want %v", got, why, c.want)
			}
		})
	}
}
