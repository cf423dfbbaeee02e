package server

import (
	"testing"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestEnvIsNotForViewers: who may only view a role sees the names of its tasks' variables; who may run work in it sees what is in them.
func TestEnvIsNotForViewers(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	call(t, c.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:viewer", Verbs: []string{"view", "logs"}, Role: "**"}, {Subject: "user:runner", Verbs: []string{"view", "run"}, Role: "default"},
	}})
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(one)
	spec := process("default", 1, "1")
	spec.Task.Env = map[string]string{"TOKEN": "secret"}
	ask := w.submit(c, spec)
	w.until("the task", func(p *picture) bool { return p.tasks.Len() == 1 })
	for name, want := range map[string]string{"viewer": "", "runner": "secret"} {
		token := call(t, c.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: name}).Secret
		as := w.as(token)
		for what, got := range map[string]*polderv1.TaskSpec{
			"task": call(t, as.task.Get, &polderv1.TaskServiceGetRequest{Id: ask.Id + ".0"}).Spec,
			"ask":  call(t, as.ask.Get, &polderv1.AskServiceGetRequest{Id: ask.Id}).Spec.Task,
			"list": call(t, as.ask.List, &polderv1.AskServiceListRequest{}).Asks[0].Spec.Task,
		} {
			if value, named := got.Env["TOKEN"]; value != want || !named {
				t.Errorf("the %s sees %q in the %s", name, value, what)
			}
		}
	}
}
