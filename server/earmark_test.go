package server

import (
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestEarmark: an ask that only earmarks survives a restart, and a commit takes its places; whoever may not use the ask's role may not
// give them up.
func TestEarmark(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	plan := "cluster: {reclaimDelay: 0s}\nroles: {own: {guarantee: {cpu: 2, memory: 2Gi}}, other: {}}"
	call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: plan, BaseRevision: 1})
	spec := process("own", 2, "1")
	spec.Earmark = true
	kept := func(id string) func(*picture) bool {
		return func(p *picture) bool { a, ok := p.asks.Get(id); return ok && a.Kept["n1"] == 2 }
	}
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(one)
	ask := w.submit(c, spec)
	w.until("two places are kept", kept(ask.Id))
	w.end()
	w.start()
	c = w.as(w.admin)
	w.connect(one)
	w.until("two places are kept again", kept(ask.Id))
	if got := call(t, c.ask.Get, &polderv1.AskServiceGetRequest{Id: ask.Id}); len(got.Kept) != 1 || got.Kept[0].Count != 2 || !got.Spec.Earmark {
		t.Errorf("the ask is %v", got)
	}
	give := []*polderv1.GiveUp{{Ask: ask.Id, Node: "n1"}}
	whole := process("own", 1, "2")
	take := &polderv1.CommitRequest{GiveUp: give, Tasks: []*polderv1.ClaimTask{{Name: "x", Role: "own", Node: "n1", Task: whole.Task}}}
	call(t, c.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:guest", Verbs: []string{"run"}, Role: "other"},
	}})
	secret := call(t, c.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "guest", ValidFor: durationOf(time.Hour)}).Secret
	guest := w.as(secret)
	refusal(t, connect.CodePermissionDenied, guest.claim.Commit, &polderv1.CommitRequest{GiveUp: give})
	refusal(t, connect.CodeInvalidArgument, c.claim.Commit, &polderv1.CommitRequest{})
	if r := call(t, c.claim.Commit, take).Results[0]; r.Conflict != nil || r.Task == "" {
		t.Fatalf("the commit is answered %v", r)
	}
	one.until("the task", func() bool { return len(one.tasks) == 1 })
	w.until("the ask is served", func(p *picture) bool { a, _ := p.asks.Get(ask.Id); return a.State == "finished" && len(a.Kept) == 0 })
}
