package server

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestReclaim: the offline role borrows all, the online role asks, the borrower is told, says that it is done and leaves.
func TestReclaim(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	plan := "cluster: {reclaimDelay: 0s}\nroles: {online: {guarantee: {cpu: 2, memory: 1Gi}}, offline: {reclaimGrace: 30s}}"
	warnings := call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: plan, BaseRevision: 1}).Warnings
	if len(warnings) != 2 || !strings.Contains(warnings[0].Message, "cpu=2") {
		t.Errorf("warnings are %v", warnings)
	}
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	link := w.connect(one)
	w.submit(c, process("offline", 4, "1"))
	w.until("four borrowers", func(p *picture) bool { r, _ := p.roleView("offline"); return r.Running == 4 })
	one.until("four tasks", func() bool { return len(one.tasks) == 4 })
	online := w.submit(c, process("online", 1, "2"))
	one.until("two notices", func() bool { return len(one.notices) == 2 })
	w.until("two notices to read", func(p *picture) bool { return p.notices.Len() == 2 }) // agents hear first
	open := call(t, c.notice.List, &polderv1.NoticeServiceListRequest{}).Notices
	if len(open) != 2 || !strings.Contains(open[0].Claimant, "online") || open[0].State != "open" || open[0].Amount["cpu"] != "1" {
		t.Fatalf("notices are %v", open)
	}
	for _, id := range sortedKeys(one.notices) {
		n := one.notices[id]
		if n.Grace.AsDuration() != 30*time.Second {
			t.Errorf("the grace is %v", n.Grace.AsDuration())
		}
		for _, m := range []*polderv1.NoticeReport{
			{Notice: n.Notice.Id, Task: id, Accepted: true, Deadline: n.Notice.Deadline}, {Notice: n.Notice.Id, Task: id, Done: true},
		} {
			if err := link.send(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Notice{Notice: m}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	one.until("the online task", func() bool { return one.tasks[online.Id+".0"] != nil })
	w.until("the online task to read", func(p *picture) bool { r, _ := p.roleView("online"); return r.Running == 1 })
	all := call(t, c.notice.List, &polderv1.NoticeServiceListRequest{All: true}).Notices
	if len(all) != 2 || all[0].State == "open" {
		t.Errorf("notices are %v", all)
	}
	w.until("the online role's funding", func(p *picture) bool {
		r, _ := p.roleView("online")
		return r.Funded["cpu"] == 2000
	})
	refusal(t, connect.CodeFailedPrecondition, c.notice.Answer, &polderv1.AnswerRequest{Task: online.Id + ".0", Done: true})
	refusal(t, connect.CodeFailedPrecondition, c.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {offline: {}}", BaseRevision: 2})
	why := call(t, c.ask.Explain, &polderv1.ExplainRequest{Id: online.Id + ".0"})
	if why.Reason == nil {
		t.Errorf("explanation is %v", why)
	}
}

func TestPlanProblems(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	res := call(t, c.plan.Validate, &polderv1.ValidateRequest{Plan: "roles:\n  a: {guarantee: {cpu: 1}}\n  a/b: {guarantee: {cpu: 2}}\n"})
	if len(res.Problems) != 1 || !res.Problems[0].Fatal || res.Problems[0].Line != 3 && res.Problems[0].Line != 2 {
		t.Errorf("problems are %v", res.Problems)
	}
	refusal(t, connect.CodeInvalidArgument, c.plan.Apply, &polderv1.ApplyRequest{Plan: "rolls: {}", BaseRevision: 1})
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(one)
	w.submit(c, process("default", 4, "1"))
	one.until("four tasks", func() bool { return len(one.tasks) == 4 })
	preview := call(t, c.plan.Preview, &polderv1.PreviewRequest{Plan: "roles: {default: {limit: {cpu: 2}}}"})
	if preview.BaseRevision != 1 || len(preview.Changes) == 0 {
		t.Errorf("preview is %v", preview)
	}
}

// TestPreviewAhead looks at an instant when a window is open, under the plan in force and under another one.
func TestPreviewAhead(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	plan := "roles: {default: {}}\nwindows: [{name: night, when: {from: 2099-01-01T20:00, to: 2099-01-02T06:00}, set: {default: {limit: {cpu: 2}}}}]"
	call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: plan, BaseRevision: 1})
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(one)
	w.submit(c, process("default", 4, "1"))
	one.until("four tasks", func() bool { return len(one.tasks) == 4 })
	at := timestamppb.New(time.Date(2099, 1, 1, 21, 0, 0, 0, time.UTC))
	for _, x := range []struct {
		name, plan string
		leave      int
		to         string
	}{{"in force", "", 2, "cpu=2"}, {"another", strings.Replace(plan, "cpu: 2", "cpu: 1", 1), 3, "cpu=1"}} {
		r := call(t, c.plan.Preview, &polderv1.PreviewRequest{Plan: x.plan, At: at})
		if len(r.Windows) != 1 || r.Windows[0] != "night" || len(r.Changes) != 1 || r.Changes[0].Path != "default" || r.Changes[0].Field != "limit" || r.Changes[0].To != x.to {
			t.Errorf("%s: windows %v, changes %v", x.name, r.Windows, r.Changes)
		}
		if len(r.Notices) != x.leave {
			t.Errorf("%s: %d tasks would leave, want %d", x.name, len(r.Notices), x.leave)
		}
		for _, n := range r.Notices {
			if !n.Deadline.AsTime().Equal(at.AsTime()) {
				t.Errorf("%s: %s would leave by %s", x.name, n.Task, n.Deadline.AsTime())
			}
		}
	}
	refusal(t, connect.CodeInvalidArgument, c.plan.Preview, &polderv1.PreviewRequest{At: &timestamppb.Timestamp{Nanos: -1}})
}

func TestSubmitTwice(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	req := &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{process("default", 1, "1"), process("nobody", 1, "1")}, IdempotencyKey: "k"}
	first := call(t, c.ask.Submit, req)
	if first.Results[0].Ask == nil || first.Results[1].Refused.GetCode() != "NotFound" {
		t.Fatalf("results are %v", first.Results)
	}
	again := call(t, c.ask.Submit, req)
	w.end()
	w.start()
	c = w.as(w.admin)
	later := call(t, c.ask.Submit, req)
	for _, res := range []*polderv1.SubmitResponse{again, later} {
		if len(res.Results) != 2 || res.Results[0].Ask.GetId() != first.Results[0].Ask.Id || res.Results[1].Refused == nil {
			t.Errorf("the same key is answered %v", res)
		}
	}
	refusal(t, connect.CodeInvalidArgument, c.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{process("default", 2, "1")}, IdempotencyKey: "k"})
	dry := call(t, c.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{process("default", 2, "1"), process("nobody", 1, "1")}, DryRun: true})
	if dry.Results[0].Ask == nil || dry.Results[1].Refused == nil {
		t.Errorf("the dry run says %v", dry)
	}
	if n := len(call(t, c.ask.List, &polderv1.AskServiceListRequest{}).Asks); n != 1 {
		t.Errorf("there are %d asks, want 1", n)
	}
}

// TestRefusedSpecs: every message names the path of the field.
func TestRefusedSpecs(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {default: {reclaimGrace: 30s}}", BaseRevision: 1})
	for want, change := range map[string]func(*polderv1.AskSpec){
		"asks[0].name":                        func(a *polderv1.AskSpec) { a.Name = "Not.Good" },
		"asks[0].count":                       func(a *polderv1.AskSpec) { a.Count = 100_001 },
		"asks[0].task: say what":              func(a *polderv1.AskSpec) { a.Task = nil },
		"asks[0].task.runtime":                func(a *polderv1.AskSpec) { a.Task.Runtime = "vm" },
		"asks[0].task.image":                  func(a *polderv1.AskSpec) { a.Task.Runtime = "docker" },
		"asks[0].task.command":                func(a *polderv1.AskSpec) { a.Task.Command = nil },
		"asks[0].task.resources.cpu":          func(a *polderv1.AskSpec) { a.Task.Resources["cpu"] = "-1" },
		`asks[0].task.resources["p/cpu"]`:     func(a *polderv1.AskSpec) { a.Task.Resources["p/cpu"] = "1" },
		"asks[0].task.resources.memory":       func(a *polderv1.AskSpec) { a.Task.Resources["memory"] = "unlimited" },
		"asks[0].task.constraints[0]":         func(a *polderv1.AskSpec) { a.Task.Constraints = []string{"zone ~ a"} },
		"asks[0].task.mounts[0].source":       func(a *polderv1.AskSpec) { a.Task.Mounts = []*polderv1.Mount{{Source: "etc", Target: "/etc"}} },
		"asks[0].task.mounts[0].target":       func(a *polderv1.AskSpec) { a.Task.Mounts = []*polderv1.Mount{{Source: "/a", Target: "/a/../b"}} },
		"asks[0].task.ports[1].name":          func(a *polderv1.AskSpec) { a.Task.Ports = []*polderv1.Port{{Name: "http"}, {Name: "http"}} },
		"asks[0].task.ports[0].host_port":     func(a *polderv1.AskSpec) { a.Task.Ports = []*polderv1.Port{{Name: "http", HostPort: 70000}} },
		"asks[0].task.notice.http":            func(a *polderv1.AskSpec) { a.Task.Notice = &polderv1.NoticeDelivery{Http: "http://x:{port:web}"} },
		"asks[0].task.notice.signal":          func(a *polderv1.AskSpec) { a.Task.Notice = &polderv1.NoticeDelivery{Signal: "SIGNOT"} },
		"asks[0].task.health: set exactly":    func(a *polderv1.AskSpec) { a.Task.Health = &polderv1.HealthCheck{} },
		"asks[0].task.restart.policy":         func(a *polderv1.AskSpec) { a.Task.Restart = &polderv1.RestartPolicy{Policy: "often"} },
		"asks[0].task.max_run_time":           func(a *polderv1.AskSpec) { a.Task.MaxRunTime = durationOf(-time.Second) },
		"asks[0].task.env[\"A B\"]":           func(a *polderv1.AskSpec) { a.Task.Env = map[string]string{"A B": ""} },
		"1m0s is longer than the 30s of role": func(a *polderv1.AskSpec) { a.Task.ReclaimGrace = durationOf(time.Minute) },
		"no role":                             func(a *polderv1.AskSpec) { a.Role = "nobody" },
	} {
		a := process("default", 1, "1")
		change(a)
		r := call(t, c.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{a}}).Results[0]
		if r.Ask != nil || !strings.Contains(r.Refused.GetMessage(), want) {
			t.Errorf("refused with %v, want %q", r, want)
		}
	}
	refusal(t, connect.CodeInvalidArgument, c.ask.Submit, &polderv1.SubmitRequest{})
	refusal(t, connect.CodeInvalidArgument, c.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{process("../x", 1, "1")}})
}
