package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// fate is what a test knows must be true of one task.
type fate struct {
	id       string
	noticed  time.Time // zero without an open notice
	grace    time.Duration
	answered bool
	stopped  bool
	killedAt time.Time
}

// step is one thing that happens to a machine.
type step struct {
	what  string
	task  int
	grace time.Duration
}

func drawSteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what: rapid.SampledFrom([]string{"launch", "notice", "notice", "notice", "again", "withdraw", "done", "stop", "wait",
				"wait", "restart", "restart", "hang up", "clock", "engine"}).Draw(t, "what"),
			task:  rapid.IntRange(0, 3).Draw(t, "task"),
			grace: time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond,
		}
	}), 1, 30).Draw(t, "steps")
}

// TestNoEarlyKillNoLossNoDouble lets anything happen to tasks that only SIGKILL ends: restarts of the agent, lost sessions,
// clocks that are set, engines that go away. Nothing is killed before its notice is over, at the end everything under
// notice is gone, and everything else runs, started once.
func TestNoEarlyKillNoLossNoDouble(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		var trouble string
		synctest.Test(t, func(t *testing.T) { trouble = play(t, steps) })
		if trouble != "" {
			rt.Fatal(trouble)
		}
	})
}

func play(t *testing.T, steps []step) string {
	fates := map[string]*fate{}
	script := func(s runtime.Spec) fake.Script {
		return fake.Script{Ignore: []runtime.Signal{15}, OnSignal: func(id string, sig runtime.Signal) {
			if f := fates[id]; sig == 9 && f.killedAt.IsZero() {
				f.killedAt = time.Now()
			}
		}}
	}
	m := newMachine(t, script)
	for i := range 4 {
		m.play(step{what: "launch"}, fmt.Sprint("t", i), fates)
	}
	for _, s := range steps {
		id := fmt.Sprint("t", s.task)
		m.play(s, id, fates)
	}
	m.runtime.SetDown(false)
	m.restart()
	pass(3 * time.Minute)
	for _, f := range fates {
		if trouble := m.judge(f); trouble != "" {
			return fmt.Sprintf("%s: %s after %v", f.id, trouble, steps)
		}
	}
	return ""
}

func (m *machine) play(s step, id string, fates map[string]*fate) {
	f := fates[id]
	switch s.what {
	case "launch":
		if f == nil {
			f = &fate{id: id}
			fates[id] = f
		}
		m.server.launch(assignment(id))
	case "notice":
		if f != nil && f.noticed.IsZero() && !f.stopped {
			f.noticed, f.grace = time.Now(), s.grace
			m.server.notice(id, s.grace)
		}
	case "again":
		if f != nil && !f.noticed.IsZero() {
			m.server.notice(id, time.Millisecond)
		}
	case "withdraw":
		if f != nil && m.server.last(id).State == leaving && !f.answered && !f.stopped {
			m.server.withdraw(id)
			f.noticed = time.Time{}
			f.stopped = true // one notice a task is enough for this test; the withdrawn one may not come back
			f.grace = -1
		}
	case "done":
		if f != nil && m.server.last(id).State == leaving {
			f.answered = true
			m.write(id, answerFile, `{"done":true}`)
			pass(2 * time.Second)
		}
	case "stop":
		if f != nil && f.grace >= 0 {
			f.stopped = true
			m.server.stop(&polderv1.StopTask{Task: id})
		}
	case "wait":
		pass(s.grace)
	case "restart":
		m.restart()
	case "hang up":
		m.server.hangUp(false)
		pass(time.Second)
	case "clock":
		m.clock.jump(s.grace * 1000 * time.Duration(1-s.task))
	case "engine":
		m.runtime.SetDown(s.task%2 == 0)
		if s.task%2 == 1 {
			pass(time.Minute)
		}
	}
}

// judge says what is wrong with a task at the end, when every deadline is past and the engine is back.
func (m *machine) judge(f *fate) string {
	r := m.server.last(f.id)
	if n := m.runtime.Starts(f.id); n > 1 {
		return fmt.Sprintf("started %d times", n)
	}
	if r.State == lost {
		return "lost: " + r.Reason.GetMessage()
	}
	gone := terminal(r.State)
	switch {
	case f.grace < 0: // withdrawn
		if gone {
			return "withdrawn and ended as " + r.State.String()
		}
	case !f.noticed.IsZero() && !f.answered && !f.stopped:
		if !gone {
			return "still there after its deadline: " + r.State.String()
		}
		if early := f.noticed.Add(f.grace).Sub(f.killedAt); !f.killedAt.IsZero() && early > 0 {
			return fmt.Sprintf("killed %v early", early)
		}
	case f.stopped || f.answered:
		if !gone {
			return "told to stop and still there: " + r.State.String()
		}
	case r.State != running:
		return "nobody stopped it and it is " + r.State.String()
	}
	return ""
}
