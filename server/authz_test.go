package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// raw calls a procedure with a JSON message and returns the error code, "" for none. A stream counts as permitted once it
// sends something or stays silent.
func raw(t *testing.T, h *http.Client, procedure string, stream bool, body string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	kind, data := "application/json", []byte(body)
	if stream {
		kind = "application/connect+json"
		data = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	req, err := http.NewRequestWithContext(ctx, "POST", baseURL+procedure, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	res, err := h.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", procedure, err)
	}
	defer res.Body.Close()
	if !stream {
		return codeIn(t, res.StatusCode, res.Body)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, head); err != nil {
		t.Fatalf("%s: %v (status %d)", procedure, err, res.StatusCode)
	}
	if head[0]&2 == 0 {
		return ""
	}
	var end struct{ Error struct{ Code string } }
	if err := json.NewDecoder(res.Body).Decode(&end); err != nil {
		t.Fatal(err)
	}
	return end.Error.Code
}

func codeIn(t *testing.T, status int, body io.Reader) string {
	t.Helper()
	if status == http.StatusOK {
		return ""
	}
	var e struct{ Code string }
	if err := json.NewDecoder(body).Decode(&e); err != nil {
		t.Fatalf("status %d: %v", status, err)
	}
	return e.Code
}

// bodies is a request for every procedure, about a task and an ask of role "own".
func bodies(task, ask, token string, plan int64) map[string]string {
	spec := `{"command":["true"],"resources":{"cpu":"1"}}`
	return map[string]string{
		api.PlanServiceGetProcedure:           `{}`,
		api.PlanServiceValidateProcedure:      `{"plan":"roles: {}"}`,
		api.PlanServicePreviewProcedure:       `{"plan":"roles: {own: {}, other: {}}"}`,
		api.PlanServiceApplyProcedure:         fmt.Sprintf(`{"plan":"roles: {own: {guarantee: {disk: 10Gi}, weight: %d}, other: {}}","baseRevision":"%d"}`, plan+1, plan),
		api.PlanServiceHistoryProcedure:       `{}`,
		api.PlanServiceShowProcedure:          `{}`,
		api.RoleServiceListProcedure:          `{}`,
		api.RoleServiceGetProcedure:           `{"path":"own"}`,
		api.RoleServiceWasteProcedure:         `{"role":"own"}`,
		api.RoleServiceHistoryProcedure:       `{"path":"own"}`,
		api.NodeServiceListProcedure:          `{}`,
		api.NodeServiceGetProcedure:           `{"name":"n1"}`,
		api.NodeServiceCordonProcedure:        `{"name":"n1"}`,
		api.NodeServiceDrainProcedure:         `{"name":"none"}`,
		api.NodeServiceRemoveProcedure:        `{"name":"none"}`,
		api.AskServiceSubmitProcedure:         `{"asks":[{"role":"own","task":` + spec + `}],"dryRun":true}`,
		api.AskServiceCancelProcedure:         `{"ids":["` + ask + `"],"keepRunning":true}`,
		api.AskServiceListProcedure:           `{}`,
		api.AskServiceGetProcedure:            `{"id":"` + ask + `"}`,
		api.AskServiceExplainProcedure:        `{"id":"` + task + `"}`,
		api.ClaimServiceWatchProcedure:        `{}`,
		api.ClaimServiceCommitProcedure:       `{"tasks":[{"role":"own","node":"none","task":` + spec + `}]}`,
		api.TaskServiceListProcedure:          `{}`,
		api.TaskServiceGetProcedure:           `{"id":"` + task + `"}`,
		api.TaskServiceKillProcedure:          `{"ids":["` + task + `"]}`,
		api.TaskServiceSetCostsProcedure:      `{"costs":{"` + task + `":{"amount":"1"}}}`,
		api.TaskServiceResizeProcedure:        `{"task":"` + task + `","resources":{"cpu":"1"}}`,
		api.TaskServiceLogsProcedure:          `{"task":"` + task + `"}`,
		api.TaskServiceListFilesProcedure:     `{"task":"` + task + `"}`,
		api.TaskServiceReadFileProcedure:      `{"task":"` + task + `","path":"x"}`,
		api.TaskServiceExecProcedure:          `{"start":{"task":"` + task + `","command":["ls"]}}`,
		api.TaskServiceAttachProcedure:        `{"start":{"task":"` + task + `"}}`,
		api.LeaseServiceListProcedure:         `{}`,
		api.NoticeServiceListProcedure:        `{}`,
		api.VolumeServiceCreateProcedure:      `{"name":"data","role":"own","size":"1Gi"}`,
		api.VolumeServiceGetProcedure:         `{"name":"data"}`,
		api.VolumeServiceListProcedure:        `{}`,
		api.VolumeServiceResizeProcedure:      `{"name":"data","size":"1Gi"}`,
		api.VolumeServiceDeleteProcedure:      `{"name":"data"}`,
		api.ReservationServiceCreateProcedure: `{"name":"place","role":"own","resources":{"disk":"2Gi"}}`,
		api.ReservationServiceGetProcedure:    `{"name":"place"}`,
		api.ReservationServiceListProcedure:   `{}`,
		api.ReservationServiceResizeProcedure: `{"name":"place","resources":{"disk":"2Gi"}}`,
		api.ReservationServiceDeleteProcedure: `{"name":"place"}`,
		// A stale revision is refused after the permission is checked, so that the stream ends by itself.
		api.NoticeServiceWatchProcedure:            `{"fromRevision":"999999999999"}`,
		api.NoticeServiceAnswerProcedure:           `{"task":"` + task + `","done":true}`,
		api.EventServiceListProcedure:              `{}`,
		api.EventServiceWatchProcedure:             `{"fromRevision":"999999999999"}`,
		api.AccessServiceWhoAmIProcedure:           `{}`,
		api.AccessServiceCanIProcedure:             `{"verb":"view"}`,
		api.AccessServiceCreateTokenProcedure:      `{"kind":"user","name":"somebody"}`,
		api.AccessServiceListTokensProcedure:       `{}`,
		api.AccessServiceRevokeTokenProcedure:      `{"id":"` + token + `"}`,
		api.AccessServiceGetPermissionsProcedure:   `{}`,
		api.AccessServiceSetPermissionsProcedure:   `{"baseRevision":"-1"}`,
		api.AuditServiceListProcedure:              `{"role":"own"}`,
		api.DoorServiceListProcedure:               `{}`,
		api.DoorServiceReportProcedure:             `{"door":{"name":"kubernetes"}}`,
		api.DoorServiceFrameworksProcedure:         `{}`,
		api.AgentServiceJoinProcedure:              `{"token":"polder-join-x","node":"n9"}`,
		api.AgentServiceRenewProcedure:             `{}`,
		api.AgentServiceSessionProcedure:           `{"hello":{"node":"n2"}}`,
		api.AgentServiceRelayProcedure:             `{"id":"x"}`,
		api.EngineServiceListProcedure:             `{}`,
		api.EngineServiceCreateProcedure:           `{"role":"own","node":"n1","container":{"id":"x"}}`,
		api.EngineServiceDialProcedure:             `{"start":{"node":"n1","verb":"view"}}`,
		api.AccessServiceIssueCertificateProcedure: `{}`,
	}
}

var streams = map[string]bool{
	api.ClaimServiceWatchProcedure: true, api.TaskServiceLogsProcedure: true, api.TaskServiceReadFileProcedure: true, api.TaskServiceExecProcedure: true, api.TaskServiceAttachProcedure: true,
	api.NoticeServiceWatchProcedure: true, api.EventServiceWatchProcedure: true,
	api.EngineServiceDialProcedure: true, api.AgentServiceSessionProcedure: true, api.AgentServiceRelayProcedure: true,
}

func TestWhoMayDoWhat(t *testing.T) {
	var ahead atomic.Int64
	w := newWorld(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c.RelayWait, c.denials = 100*time.Millisecond, 1000
	})
	admin := w.as(w.admin)
	call(t, admin.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {own: {guarantee: {disk: 10Gi}}, other: {}}", BaseRevision: 1})
	tenant := []string{"view", "logs", "run", "exec", "plan"}
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:own", Verbs: tenant, Role: "own/**"}, {Subject: "user:other", Verbs: tenant, Role: "other/**"},
	}})
	token := func(name string, valid time.Duration) *polderv1.CreateTokenResponse {
		req := &polderv1.CreateTokenRequest{Kind: "user", Name: name}
		if valid > 0 {
			req.ValidFor = durationOf(valid)
		}
		return call(t, admin.access.CreateToken, req)
	}
	own, other, revoked, expired := token("own", 0), token("other", 0), token("own", 0), token("own", time.Hour)
	call(t, admin.access.RevokeToken, &polderv1.RevokeTokenRequest{Id: revoked.Token.Id})
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi", "disk": "100Gi"})
	w.connect(a)
	second := w.agentClient(w.newAgent("n2", nil))
	ask := w.submit(w.as(own.Secret), process("own", 2, "1"))
	w.keptVolume(admin, "data", "own") // it is in use: no caller really deletes it
	w.reserve(admin, &polderv1.ReservationServiceCreateRequest{Name: "place", Role: "own", Resources: map[string]string{"disk": "2Gi"}})
	w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "more", Role: "own", Size: "1Gi", Reservation: "place"}) // so it is in use, too
	a.until("tasks", func() bool { return len(a.tasks) == 5 })
	w.until("a running task", func(p *picture) bool { r, _ := p.tasks.Get(ask.Id + ".0"); return r.State.String() == "running" })
	ahead.Store(int64(2 * time.Hour))

	for _, who := range []struct {
		name     string
		http     *http.Client
		expected func(route) string
	}{
		{"anonymous", w.as("").http, func(route) string { return "unauthenticated" }},
		{"revoked", w.as(revoked.Secret).http, func(route) string { return "unauthenticated" }},
		{"expired", w.as(expired.Secret).http, func(route) string { return "unauthenticated" }},
		{"other tenant", w.as(other.Secret).http, func(r route) string { return permitted(r.filtered && !r.door) }},
		{"agent", second.http, func(r route) string { return permitted(r.agent) }},
		{"own tenant", w.as(own.Secret).http, func(r route) string {
			return permitted(!r.door && r.verb != auth.Admin && (r.filtered || r.roles != nil))
		}},
		{"admin", w.as(w.admin).http, func(r route) string { return permitted(!r.agent && !r.door) }},
	} {
		for _, p := range procedures() {
			requests := bodies(ask.Id+".0", ask.Id, revoked.Token.Id, w.leader().board.look().plan.Revision)
			body, ok := requests[p]
			if !ok {
				t.Fatalf("no request for %s: add one", p)
			}
			r := routes[p]
			want := who.expected(r)
			if r.anonymous {
				want = "unauthenticated" // its token proves nothing
			}
			before := w.audit.len()
			got := raw(t, who.http, p, streams[p], body)
			if got != "unauthenticated" && got != "permission_denied" {
				got = ""
			}
			if got != want {
				t.Errorf("%s: %s answers %q, want %q", who.name, p, got, want)
			}
			checkTrail(t, who.name+": "+p, w.audit.since(before), r, got)
		}
	}
}

func permitted(ok bool) string {
	if ok {
		return ""
	}
	return "permission_denied"
}

// checkTrail checks that a denial and a permitted change are written down, and nothing else.
func checkTrail(t *testing.T, what string, entries []auth.Entry, r route, got string) {
	t.Helper()
	var text []string
	for _, e := range entries {
		text = append(text, string(e.Outcome))
	}
	outcomes := strings.Join(text, " ")
	want := fmt.Sprint(auth.Denied)
	switch {
	case got == "" && r.change:
		want = "allowed"
		outcomes = strings.TrimSuffix(outcomes, " failed")
	case got == "":
		want = ""
	}
	if outcomes != want {
		t.Errorf("%s: the audit trail has %q, want %q", what, outcomes, want)
	}
}

func TestNoChangeWithoutAudit(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	w.audit.fail(errBroken)
	refusal(t, codeUnavailable, c.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{process("default", 1, "1")}})
	refusal(t, codeUnavailable, c.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "x"})
	if n := len(call(t, c.ask.List, &polderv1.AskServiceListRequest{}).Asks); n != 0 {
		t.Errorf("%d asks were taken without an audit line", n)
	}
}

func TestListsShowOnlyWhatMayBeSeen(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	call(t, admin.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {a: {}, a/x: {}, b: {}}", BaseRevision: 1})
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:alice", Verbs: []string{"view"}, Role: "a/**"},
	}})
	a := w.newAgent("n1", map[string]string{"cpu": "8", "memory": "8Gi"})
	w.connect(a)
	for _, role := range []string{"a", "a/x", "b"} {
		w.submit(admin, process(role, 1, "1"))
	}
	a.until("tasks", func() bool { return len(a.tasks) == 3 })
	alice := w.as(call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "alice"}).Secret)
	if n := len(call(t, alice.ask.List, &polderv1.AskServiceListRequest{}).Asks); n != 2 {
		t.Errorf("alice sees %d asks, want 2", n)
	}
	if n := len(call(t, alice.task.List, &polderv1.TaskServiceListRequest{All: true}).Tasks); n != 2 {
		t.Errorf("alice sees %d tasks, want 2", n)
	}
	if n := len(call(t, alice.lease.List, &polderv1.LeaseServiceListRequest{}).Leases); n != 2 {
		t.Errorf("alice sees %d leases, want 2", n)
	}
	if n := len(call(t, alice.plan.Show, &polderv1.ShowRequest{}).Roles); n != 2 {
		t.Errorf("alice sees %d roles of the plan, want 2", n)
	}
	for _, r := range call(t, alice.role.List, &polderv1.RoleServiceListRequest{}).Roles {
		if !under(r.Effective.Path, "a") {
			t.Errorf("alice sees role %s", r.Effective.Path)
		}
	}
	for _, e := range call(t, alice.event.List, &polderv1.EventServiceListRequest{}).Events {
		if !under(e.Role, "a") {
			t.Errorf("alice sees event %v", e)
		}
	}
	// The role "a" is not the subtree "ab".
	if under("ab", "a") || !under("a/x", "a") || !under("b", "") {
		t.Error("under is wrong")
	}
}

// TestPlanNeedsEveryRoleItChanges: who may plan one role changes nothing else with it, windows included.
func TestPlanNeedsEveryRoleItChanges(t *testing.T) {
	const base = `
roles: {a: {weight: 1}, b: {}}
windows: [{name: w1, when: {daily: "01:00-02:00"}, set: {a: {weight: 3}}}, {name: w2, when: {daily: "03:00-04:00"}, set: {b: {weight: 3}}}]
`
	for _, c := range []struct{ from, to, want string }{
		{"weight: 1}", "weight: 2}", "[a]"},
		{"b: {}", "b: {}, c: {}", "[c]"},
		{", b: {}", ", b: {}, a/y: {}", "[a/y]"},
		{"set: {a: {weight: 3}}", "set: {a: {weight: 4}}", "[a]"},
		{"01:00-02:00", "01:00-05:00", "[ a b]"},
		{"name: w1", "name: w9", "[ a b]"},
		{"roles:", "cluster: {reclaimDelay: 1s}\nroles:", "[]"},
	} {
		from, to := parse(t, base), parse(t, strings.Replace(base, c.from, c.to, 1))
		if got := fmt.Sprint(rolesChanged(from, to)); got != c.want {
			t.Errorf("%s → %s changes %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

// TestEveryProcedureHasItsLine: without one the server does not start.
func TestEveryProcedureHasItsLine(t *testing.T) {
	if len(procedures()) < 40 {
		t.Fatalf("only %d procedures were found", len(procedures()))
	}
	for _, p := range procedures() {
		less := maps.Clone(routes)
		delete(less, p)
		if err := checkRoutes(less); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("without %s: %v", p, err)
		}
	}
	more := maps.Clone(routes)
	more["/polder.v1.NoService/Do"] = route{filtered: true}
	if checkRoutes(more) == nil {
		t.Error("a line for no procedure is accepted")
	}
	more = maps.Clone(routes)
	more[api.PlanServiceGetProcedure] = route{}
	if checkRoutes(more) == nil {
		t.Error("a line that permits in no way is accepted")
	}
}

// TestForeignCertificate: an agent of another cluster is refused, and that is written down.
func TestForeignCertificate(t *testing.T) {
	w, there := newWorld(t, nil), newWorld(t, nil)
	stranger := there.newAgent("n1", nil)
	config, err := stranger.creds.TLS()
	if err != nil {
		t.Fatal(err)
	}
	here, err := auth.ClientTLS(w.ca.RootPEM())
	if err != nil {
		t.Fatal(err)
	}
	here.GetClientCertificate = config.GetClientCertificate
	if code := raw(t, w.http(here, ""), api.AgentServiceSessionProcedure, true, `{"hello":{"node":"n1"}}`); code != "unauthenticated" {
		t.Errorf("the stranger is answered %q", code)
	}
	last := w.audit.since(w.audit.len() - 1)[0]
	if last.Outcome != auth.Denied || !strings.Contains(last.Reason, "certificate") {
		t.Errorf("the audit trail ends with %v", last)
	}
}

// TestHealthIsOpen: it says that the server is there and whether it leads, to anybody, and nothing else.
func TestHealthIsOpen(t *testing.T) {
	w := newWorld(t, nil)
	for path, want := range map[string]int{"/healthz": 200, "/leader": 200, "/": 404, "/metrics": 401, "/metrics/nodes/n1": 401, "/polder.v1.AccessService/WhoAmI": 401} {
		res, err := w.as("").http.Post(baseURL+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, res.StatusCode, want)
		}
	}
}
