package server

import (
	"slices"
	"strings"
	"testing"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestRuntimeAway: while a runtime does not answer the node does not show it, a task for it is accepted and waits with that
// reason, and it is placed when the runtime is back. Tasks of the other runtime are placed all the time.
func TestRuntimeAway(t *testing.T) {
	w := newWorld(t, nil)
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	one.runtimes = []string{"process", "docker"}
	l := w.connect(one)
	c := w.as(w.admin)
	usable := func(want ...string) func(*picture) bool {
		return func(p *picture) bool {
			row, ok := p.nodes.Get("n1")
			return ok && slices.Equal(nodeProto(row).Runtimes, want)
		}
	}
	w.until("both runtimes", usable("process", "docker"))
	if err := l.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Runtimes{Runtimes: &polderv1.RuntimesAway{Away: []string{"docker", "unheard-of"}}}}); err != nil {
		t.Fatal(err)
	}
	w.until("process alone", usable("process"))
	node := call(t, c.node.Get, &polderv1.NodeServiceGetRequest{Name: "n1"})
	if len(node.Warnings) != 1 || !strings.Contains(node.Warnings[0], "the docker runtime does not answer") {
		t.Errorf("warnings %q", node.Warnings)
	}
	container := process("default", 1, "1")
	container.Task.Image = "busybox"
	waits := w.submit(c, container)
	runs := w.submit(c, process("default", 1, "1"))
	one.until("the process task", func() bool { return one.tasks[runs.Id+".0"] != nil })
	why := call(t, c.ask.Explain, &polderv1.ExplainRequest{Id: waits.Id})
	if why.Reason.Code != "Constraint" || !strings.Contains(why.Reason.Message, "on 1 the docker runtime does not answer") {
		t.Errorf("it waits because of %v", why.Reason)
	}
	if err := l.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Runtimes{Runtimes: &polderv1.RuntimesAway{}}}); err != nil {
		t.Fatal(err)
	}
	w.until("both runtimes again", usable("process", "docker"))
	one.until("the container", func() bool { return one.tasks[waits.Id+".0"] != nil })
}
