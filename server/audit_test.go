package server

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// TestAuditIsRead: whoever holds admin on a role reads what concerns that role and what is below it, and nothing else.
func TestAuditIsRead(t *testing.T) {
	file, err := auth.OpenAudit(filepath.Join(t.TempDir(), "audit.jsonl"), auth.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) { c.Audit = file })
	admin := w.as(w.admin)
	call(t, admin.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {own: {}, own/sub: {}, ownother: {}}", BaseRevision: 1})
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:chief", Verbs: []string{"admin"}, Role: "own/**"}, {Subject: "user:bob", Verbs: []string{"view", "run"}, Role: "own/**"}}})
	now := time.Now()
	entry := func(i int, who, role string, outcome auth.Outcome, object string) {
		if err := file.Record(t.Context(), auth.Entry{Time: now.Add(time.Duration(i) * time.Minute), Who: who, Role: role, Outcome: outcome, Object: object}); err != nil {
			t.Fatal(err)
		}
	}
	entry(1, "user:bob", "own", auth.Allowed, "task/1")
	entry(2, "user:bob", "own/sub", auth.Denied, "task/2")
	entry(3, "user:eve", "own,ownother", auth.Allowed, "asks")
	entry(4, "user:eve", "ownother", auth.Failed, "task/3")
	entry(5, "user:bob", "own/sub,own", auth.Allowed, "Asks")

	list := func(token string, req *polderv1.AuditServiceListRequest) ([]string, error) {
		c := api.NewAuditServiceClient(w.as(token).http, baseURL)
		var out []string
		for {
			res, err := c.List(t.Context(), connect.NewRequest(req))
			if err != nil {
				return out, err
			}
			for _, e := range res.Msg.Entries {
				out = append(out, e.Object)
			}
			if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
				return out, nil
			}
		}
	}
	user := func(name string) string {
		return call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: name}).Secret
	}
	chief, bob := user("chief"), user("bob")
	for _, c := range []struct {
		what, token string
		req         *polderv1.AuditServiceListRequest
		want        []string
		code        connect.Code
	}{
		{"below a role", chief, &polderv1.AuditServiceListRequest{Role: "own", PageSize: 1}, []string{"Asks", "task/2", "task/1"}, 0},
		{"one outcome", chief, &polderv1.AuditServiceListRequest{Role: "own", Outcome: "denied"}, []string{"task/2"}, 0},
		{"one caller", w.admin, &polderv1.AuditServiceListRequest{Who: "user:eve"}, []string{"task/3", "asks"}, 0},
		{"a word", w.admin, &polderv1.AuditServiceListRequest{Find: "ASKS"}, []string{"Asks", "asks"}, 0},
		{"since", w.admin, &polderv1.AuditServiceListRequest{Since: timestamppb.New(now.Add(210 * time.Second)), PageSize: 1}, []string{"Asks", "task/3"}, 0},
		{"everything, without the right", chief, &polderv1.AuditServiceListRequest{}, nil, connect.CodePermissionDenied},
		{"a role without admin", bob, &polderv1.AuditServiceListRequest{Role: "own"}, nil, connect.CodePermissionDenied},
		{"no outcome", w.admin, &polderv1.AuditServiceListRequest{Outcome: "perhaps"}, nil, connect.CodeInvalidArgument},
		{"no place", w.admin, &polderv1.AuditServiceListRequest{PageToken: pageToken("elsewhere")}, nil, connect.CodeInvalidArgument},
	} {
		// Tokens, the calls of this test and its denials are in the trail too, with later times than now.
		got, err := list(c.token, c.req)
		got = slices.DeleteFunc(got, func(o string) bool {
			return o == "plan" || o == "permissions" || o == "token/chief" || o == "token/bob" || o == ""
		})
		if !slices.Equal(got, c.want) || c.code == 0 && err != nil || c.code != 0 && connect.CodeOf(err) != c.code {
			t.Errorf("%s: %q, %v", c.what, got, err)
		}
	}
}
