package server

import (
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestOnlyTheDoorLeasesPods: the lease of a pod is as good as the pod on its node, so who may run in one role only makes none, for whatever
// pod it would be. Who may run everywhere does, as the Kubernetes door.
func TestOnlyTheDoorLeasesPods(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	call(t, admin.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {a: {}, b: {}}", BaseRevision: 1})
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:eve", Verbs: []string{"admin"}, Role: "a/**"}, {Subject: "user:eve", Verbs: []string{"admin"}, Role: "/"},
		{Subject: "user:kube", Verbs: []string{"view", "run"}, Role: "**"},
	}})
	as := func(name string) *client {
		return w.as(call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: name}).Secret)
	}
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	a.runtimes = []string{"process", "kube"}
	w.connect(a)
	pod := &polderv1.TaskSpec{Runtime: "kube", Resources: map[string]string{"cpu": "1"}, Labels: map[string]string{"kube.polder.dev/uid": "of a pod of role b"}}
	ask := &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{{Role: "a", Count: 1, Task: pod}}}
	claim := &polderv1.CommitRequest{Tasks: []*polderv1.ClaimTask{{Role: "a", Node: "n1", Task: pod}}}
	eve, door := as("eve"), as("kube")
	refusal(t, connect.CodePermissionDenied, eve.ask.Submit, ask)
	refusal(t, connect.CodePermissionDenied, eve.claim.Commit, claim)
	if r := call(t, door.ask.Submit, ask).Results[0]; r.Ask == nil {
		t.Errorf("the door's ask: %v", r.Refused)
	}
	if r := call(t, door.claim.Commit, claim).Results[0]; r.Task == "" {
		t.Errorf("the door's claim: %v", r.Conflict)
	}
	w.submit(eve, process("a", 1, "1"))
}
