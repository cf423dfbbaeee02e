package swarm

import (
	"fmt"
	"testing"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// TestNews: that a task has started says that it runs, if that is next and nobody checks its health; at everything else that is not known
// somebody looks.
func TestNews(t *testing.T) {
	tests := []struct {
		kind    string
		state   orchestrator.State
		checked bool
		want    string // "runs", "look", or nothing to know
	}{
		{kind: "TaskStarting", state: orchestrator.Pending, want: "look"},
		{kind: "TaskStarting", state: orchestrator.Starting},
		{kind: "TaskStarted", state: orchestrator.Starting, want: "runs"},
		{kind: "TaskStarted", state: orchestrator.Starting, checked: true, want: "look"},
		{kind: "TaskStarted", state: orchestrator.Pending, want: "look"},
		{kind: "TaskStarted", state: orchestrator.Running, want: "look"},
		{kind: "TaskFailed", state: orchestrator.Starting, want: "look"},
		{kind: "NoticeSent", state: orchestrator.Running, want: "look"},
	}
	for _, test := range tests {
		x := New(Options{})
		x.m.Load([]orchestrator.Service{{ID: "s"}}, []orchestrator.Task{{ID: "t", Service: "s", State: test.state, Pool: "a"}})
		x.asks.own("a", whose{"t", test.checked})
		begun, look := x.news([]*polderv1.Event{
			{Kind: test.kind, Subject: "a.0", Node: "n"}, {Kind: test.kind, Subject: "stranger.0"}, {Kind: "NodeLost", Subject: "a"},
		})
		var want orchestrator.Batch
		if test.want == "runs" {
			want = orchestrator.Batch{orchestrator.Report{Task: "t", Pool: "a", Node: "n", State: orchestrator.Running}}
		}
		if fmt.Sprint(begun) != fmt.Sprint(want) || (test.want == "look") != (fmt.Sprint(look) == "[a.0]") {
			t.Errorf("%s of a task that is %v, checked %v: %v has begun, and a look at %v", test.kind, test.state, test.checked, begun, look)
		}
	}
}
