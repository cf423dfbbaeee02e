package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

// TestStrangers: so many refusals a second, and the number of the others at its end.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &strangers{most: 10}
		var summaries []int
		for range 3 {
			admitted := 0
			for range 100 {
				if s.admit(func(more int) { summaries = append(summaries, more) }) {
					admitted++
				}
			}
			if admitted != 10 {
				t.Errorf("%d are written", admitted)
			}
			<-time.After(time.Second + time.Nanosecond)
			synctest.Wait()
		}
		if len(summaries) != 3 || summaries[0] != 90 || summaries[2] != 90 {
			t.Errorf("the others are summed up as %v", summaries)
		}
	})
}

// TestAnonymousTrail: callers whom nobody knows write little, and never that they were allowed.
func TestAnonymousTrail(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.denials = 5 })
	c, before := w.as(""), w.audit.len()
	for range 20 {
		refusal(t, connect.CodeUnauthenticated, c.access.WhoAmI, &polderv1.WhoAmIRequest{})
		refusal(t, connect.CodeUnauthenticated, c.agent.Join, &polderv1.JoinRequest{Node: strings.Repeat("x", 100_000), Token: "x"})
	}
	entries := w.audit.since(before)
	if len(entries) > 30 { // 5 a second; 40 requests take no 5 seconds
		t.Errorf("40 requests wrote %d lines", len(entries))
	}
	for _, e := range entries {
		if e.Outcome != auth.Denied || len(e.Object) > 300 {
			t.Errorf("written: %.500v", e)
		}
	}
}

// TestValidateNeedsView: a token without any permission cannot make the server think about plans.
func TestValidateNeedsView(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	nobody := w.as(call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "nobody"}).Secret)
	req := &polderv1.ValidateRequest{Plan: "roles: {a: {}}"}
	refusal(t, connect.CodePermissionDenied, nobody.plan.Validate, req)
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:nobody", Verbs: []string{"view"}, Role: "default"},
	}})
	call(t, nobody.plan.Validate, req)
}
