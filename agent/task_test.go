package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
)

func TestLaunchReportStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.want("t1", running, "")
		m.server.stop(&polderv1.StopTask{Task: "t1"})
		m.want("t1", killed, "Killed")
		if r := m.server.last("t1"); r.GetExitCode() != 143 || r.Started == nil || r.Ended == nil {
			t.Errorf("report of the end: %v", r)
		}
	})
}

func TestTaskEndsByItself(t *testing.T) {
	for code, want := range map[int]polderv1.TaskState{0: succeeded, 3: failed} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAfter: time.Minute, ExitCode: code} })
			m.server.launch(assignment("t1"))
			pass(time.Minute)
			if r := m.server.last("t1"); r.State != want || int(r.GetExitCode()) != code {
				t.Errorf("exit %d was reported as %v", code, r)
			}
		})
	}
}
