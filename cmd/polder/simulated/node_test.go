package simulated

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestNoticeWhileStarting: a task that is asked to leave before it has started runs all the same, and ends when its sleep is
// over if it may stay.
func TestNoticeWhileStarting(t *testing.T) {
	for name, c := range map[string]struct {
		withdrawn bool
		wait      time.Duration
		want      polderv1.TaskState
	}{
		"it leaves":              {false, time.Minute, polderv1.TaskState_TASK_STATE_RECLAIMED},
		"it may stay":            {true, 2 * time.Second, polderv1.TaskState_TASK_STATE_RUNNING},
		"it may stay to the end": {true, 91 * time.Second, polderv1.TaskState_TASK_STATE_SUCCEEDED},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(1)
				n.send = func(*polderv1.AgentMessage) error { return nil }
				n.launch(&polderv1.Assignment{Task: "job.0.1", Spec: &polderv1.TaskSpec{Command: []string{"sleep", "90"}}})
				n.obey(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Notice{Notice: &polderv1.NoticeTask{
					Notice: &polderv1.Notice{Id: "notice", Task: "job.0.1"}, Grace: durationpb.New(time.Minute),
				}}})
				if c.withdrawn {
					n.obey(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Withdraw{Withdraw: &polderv1.WithdrawNotice{Task: "job.0.1", Notice: "notice"}}})
				}
				for range c.wait / time.Second {
					time.Sleep(time.Second)
					n.goOn()
				}
				if got := n.tasks["job.0.1"].report.State; got != c.want {
					t.Errorf("after %v the task is %v, want %v", c.wait, got, c.want)
				}
			})
		})
	}
}
