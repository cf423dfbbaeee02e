package server

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

const keepersPlan = "roles: {db: {guarantee: {disk: 20Gi, cpu: 1, memory: 1Gi}}, web: {guarantee: {disk: 5Gi, cpu: 1, memory: 1Gi}}}"

// keepers is a pool in which roles have disk of their own, on two nodes.
func keepers(t *testing.T, cfg ...func(*Config)) (w *world, admin *client, one, two *agent) {
	t.Helper()
	w = newWorld(t, func(c *Config) {
		for _, f := range cfg {
			f(c)
		}
	})
	admin = w.as(w.admin)
	call(t, admin.plan.Apply, &polderv1.ApplyRequest{Plan: keepersPlan, BaseRevision: 1})
	amounts := map[string]string{"cpu": "4", "memory": "8Gi", "disk": "30Gi"}
	return w, admin, w.newAgent("n1", amounts), w.newAgent("n2", amounts)
}

// newVolume makes a volume and waits until it is ready.
func (w *world) newVolume(c *client, m *polderv1.VolumeServiceCreateRequest) *polderv1.Volume {
	w.t.Helper()
	call(w.t, c.volume.Create, m)
	v := call(w.t, c.volume.Get, &polderv1.VolumeServiceGetRequest{Name: m.Name, UntilReady: true})
	if v.State != "ready" {
		w.t.Fatalf("the volume is %v", v)
	}
	return v
}

// keptVolume is a volume that a task mounts.
func (w *world) keptVolume(c *client, name, role string) *polderv1.Volume {
	w.t.Helper()
	v := w.newVolume(c, &polderv1.VolumeServiceCreateRequest{Name: name, Role: role, Size: "1Gi"})
	w.submit(c, mounting(role, name))
	return v
}

func mounting(role, volume string) *polderv1.AskSpec {
	a := process(role, 1, "1")
	a.Task.Mounts = []*polderv1.Mount{{Volume: volume, Target: "/data"}}
	return a
}

// TestVolume: from its making to its deletion, with a task that uses it.
func TestVolume(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	v := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "pg.data", Role: "db", Size: "10Gi", Node: "n2", Labels: map[string]string{"app": "pg"}})
	if v.Node != "n2" || v.Size != "10Gi" || v.Role != "db" || v.Path != "/agent/volumes/"+v.Task+"/data" || v.Labels["app"] != "pg" || v.CreatedBy == "" || v.Created == nil {
		t.Errorf("the volume is %v", v)
	}
	w.until("disk that is the role's", func(p *picture) bool { r, _ := p.roleView("db"); return r.Funded["disk"] == 10<<30 })
	if all := call(t, admin.volume.List, &polderv1.VolumeServiceListRequest{Role: "db"}).Volumes; len(all) != 1 || all[0].Name != "pg.data" {
		t.Errorf("the list has %v", all)
	}
	ask := w.submit(admin, mounting("db", "pg.data"))
	if got := ask.Spec.Task.Constraints; len(got) != 1 || got[0] != "node==n2" {
		t.Errorf("the ask's constraints are %v", got)
	}
	task := ask.Id + ".0"
	two.until("the task where its volume is", func() bool { return two.tasks[task] != nil })
	w.until("who uses it", func(p *picture) bool { return len(p.mounters()["pg.data"]) == 1 })
	if got := call(t, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "pg.data"}).UsedBy; len(got) != 1 || got[0] != task {
		t.Errorf("it is used by %v", got)
	}
	if err := refusal(t, connect.CodeFailedPrecondition, admin.volume.Delete, &polderv1.VolumeServiceDeleteRequest{Name: "pg.data"}); !strings.Contains(err.Error(), task) {
		t.Errorf("refused with %v", err)
	}
	call(t, admin.task.Kill, &polderv1.KillRequest{Ids: []string{task}})
	w.until("the task's end", func(p *picture) bool { r, _ := p.tasks.Get(task); return r.State.Terminal() })
	if got := call(t, admin.volume.Resize, &polderv1.VolumeServiceResizeRequest{Name: "pg.data", Size: "12Gi"}); got.Size != "12Gi" {
		t.Errorf("after the resize it is %v", got)
	}
	refusal(t, connect.CodeFailedPrecondition, admin.volume.Resize, &polderv1.VolumeServiceResizeRequest{Name: "pg.data", Size: "25Gi"})
	call(t, admin.volume.Delete, &polderv1.VolumeServiceDeleteRequest{Name: "pg.data"})
	two.until("the order to delete it", func() bool { return two.stops[v.Task] == 1 })
	w.until("no volume", func(p *picture) bool { _, ok := p.volume("pg.data"); return !ok && p.volumes.Len() == 0 })
	refusal(t, connect.CodeNotFound, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "pg.data"})
}

// TestVolumeIsMadeOnce: the same request again is answered with what is there; another one under the name is refused.
func TestVolumeIsMadeOnce(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	first := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "data", Role: "db", Size: "2Gi", Node: "n1"})
	for _, m := range []*polderv1.VolumeServiceCreateRequest{{Name: "data", Role: "db", Size: "2Gi"}, {Name: "data", Role: "db", Size: "2048Mi", Node: "n1"}} {
		if again := call(t, admin.volume.Create, m); again.Task != first.Task {
			t.Errorf("%v made %v", m, again)
		}
	}
	for what, m := range map[string]*polderv1.VolumeServiceCreateRequest{
		"another role": {Name: "data", Role: "web", Size: "2Gi"}, "2Gi of disk, not 3Gi": {Name: "data", Role: "db", Size: "3Gi"}, "on node n1, not n2": {Name: "data", Role: "db", Size: "2Gi", Node: "n2"},
	} {
		if err := refusal(t, connect.CodeAlreadyExists, admin.volume.Create, m); !strings.Contains(err.Error(), what) {
			t.Errorf("%v is refused with %v", m, err)
		}
	}
	for name, code := range map[string]connect.Code{"": connect.CodeInvalidArgument, ".x": connect.CodeInvalidArgument, "a/b": connect.CodeInvalidArgument} {
		refusal(t, code, admin.volume.Create, &polderv1.VolumeServiceCreateRequest{Name: name, Role: "db", Size: "1Gi"})
	}
	refusal(t, connect.CodeInvalidArgument, admin.volume.Create, &polderv1.VolumeServiceCreateRequest{Name: "x", Role: "db", Size: "0"})
	refusal(t, connect.CodeNotFound, admin.volume.Create, &polderv1.VolumeServiceCreateRequest{Name: "x", Role: "db", Size: "1Gi", Node: "n9"})
	refusal(t, connect.CodeNotFound, admin.volume.Create, &polderv1.VolumeServiceCreateRequest{Name: "x", Role: "nobody", Size: "1Gi"})
	refusal(t, connect.CodeFailedPrecondition, admin.volume.Create, &polderv1.VolumeServiceCreateRequest{Name: "x", Role: "web", Size: "6Gi"})
}

// TestVolumeWaits: one without room waits, cannot be mounted, says why, and goes without a trace.
func TestVolumeWaits(t *testing.T) {
	w, admin, one, _ := keepers(t)
	one.runtimes = []string{"process"} // the agent is older than volumes
	w.connect(one)
	three := w.newAgent("n3", map[string]string{"cpu": "4", "memory": "8Gi", "disk": "10Gi"})
	w.connect(three)
	w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "first", Role: "db", Size: "8Gi"})
	v := call(t, admin.volume.Create, &polderv1.VolumeServiceCreateRequest{Name: "second", Role: "db", Size: "4Gi"})
	if v.State != "waiting" || v.Node != "" || v.Path != "" {
		t.Fatalf("the volume is %v", v)
	}
	w.until("why it waits", func(p *picture) bool { v, _ := p.volume("second"); return v.reason() != nil })
	res := call(t, admin.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{mounting("db", "second")}}).Results[0]
	if r := res.Refused; r.GetCode() != "VolumeWaiting" || !strings.Contains(r.Message, "still waits for room: ") {
		t.Errorf("the ask is %v", res)
	}
	refusal(t, connect.CodeAborted, admin.volume.Create, &polderv1.VolumeServiceCreateRequest{Name: "third", Role: "db", Size: "4Gi", Node: "n3"})
	if n := len(call(t, admin.volume.List, &polderv1.VolumeServiceListRequest{}).Volumes); n != 2 {
		t.Errorf("there are %d volumes", n)
	}
	call(t, admin.volume.Delete, &polderv1.VolumeServiceDeleteRequest{Name: "second"})
	refusal(t, connect.CodeNotFound, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "second"})
}

// TestForgedVolumes: nobody makes or ends the lease of a volume in another way.
func TestForgedVolumes(t *testing.T) {
	w, admin, one, _ := keepers(t)
	w.connect(one)
	forged := []*polderv1.TaskSpec{
		{Runtime: "volume", Volume: &polderv1.VolumeLease{Name: "x"}, Resources: map[string]string{"disk": "1Gi"}},
		{Volume: &polderv1.VolumeLease{Name: "x"}, Command: []string{"true"}, Resources: map[string]string{"cpu": "1"}},
		{Runtime: "volume", Resources: map[string]string{"disk": "1Gi"}},
	}
	for _, spec := range forged {
		res := call(t, admin.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{{Role: "db", Task: spec}}}).Results[0]
		if !strings.Contains(res.Refused.GetMessage(), "VolumeService") {
			t.Errorf("%v is answered %v", spec, res)
		}
		err := refusal(t, connect.CodeInvalidArgument, admin.claim.Commit, &polderv1.CommitRequest{Tasks: []*polderv1.ClaimTask{{Role: "db", Node: "n1", Task: spec}}})
		if !strings.Contains(err.Error(), "VolumeService") {
			t.Errorf("%v is answered %v", spec, err)
		}
	}
	v := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "data", Role: "db", Size: "1Gi"})
	refusal(t, connect.CodeFailedPrecondition, admin.task.Kill, &polderv1.KillRequest{Ids: []string{v.Task}})
	refusal(t, connect.CodeFailedPrecondition, admin.task.Resize, &polderv1.ResizeRequest{Task: v.Task, Resources: map[string]string{"disk": "2Gi"}})
	refusal(t, connect.CodeFailedPrecondition, admin.task.ListFiles, &polderv1.ListFilesRequest{Task: v.Task})
	ask, _, _ := strings.Cut(v.Task, ".")
	refusal(t, connect.CodeFailedPrecondition, admin.ask.Cancel, &polderv1.CancelRequest{Ids: []string{ask}})
	exec := admin.task.Exec(t.Context())
	_ = exec.Send(&polderv1.ExecRequest{Start: &polderv1.ExecStart{Task: v.Task, Command: []string{"ls"}}})
	if _, err := exec.Receive(); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("exec: %v", err)
	}
	_ = exec.CloseRequest()
	_ = exec.CloseResponse()
	if n := len(call(t, admin.task.List, &polderv1.TaskServiceListRequest{}).Tasks); n != 0 {
		t.Errorf("the list has %d tasks", n)
	}
	if n := len(call(t, admin.task.List, &polderv1.TaskServiceListRequest{Volumes: true}).Tasks); n != 1 {
		t.Errorf("with volumes the list has %d tasks", n)
	}
	if n := len(call(t, admin.ask.List, &polderv1.AskServiceListRequest{}).Asks); n != 0 {
		t.Errorf("the list has %d asks", n)
	}
}

// TestMountsAreChecked: a task mounts what is there, of roles its owner may run work in, on one node.
func TestMountsAreChecked(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:ann", Verbs: []string{"view", "run"}, Role: "web"}, {Subject: "user:ann", Verbs: []string{"view"}, Role: "db"},
	}})
	ann := w.as(call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "ann"}).Secret)
	w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "theirs", Role: "db", Size: "1Gi", Node: "n1"})
	w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "there", Role: "db", Size: "1Gi", Node: "n2"})
	w.newVolume(ann, &polderv1.VolumeServiceCreateRequest{Name: "hers", Role: "web", Size: "1Gi", Node: "n2"})
	if v := call(t, ann.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "theirs"}); v.Path != "" {
		t.Errorf("who may only view it sees %s", v.Path)
	}
	submit := func(a *polderv1.AskSpec) *polderv1.SubmitRequest {
		return &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{a}}
	}
	commit := func(a *polderv1.AskSpec, node string) *polderv1.CommitRequest {
		return &polderv1.CommitRequest{Tasks: []*polderv1.ClaimTask{{Role: a.Role, Node: node, Task: a.Task}}}
	}
	refusal(t, connect.CodePermissionDenied, ann.ask.Submit, submit(mounting("web", "theirs")))
	refusal(t, connect.CodePermissionDenied, ann.claim.Commit, commit(mounting("web", "theirs"), "n1"))
	refusal(t, connect.CodePermissionDenied, ann.volume.Delete, &polderv1.VolumeServiceDeleteRequest{Name: "theirs"})
	refusal(t, connect.CodeNotFound, admin.ask.Submit, submit(mounting("web", "none")))
	if r := call(t, ann.claim.Commit, commit(mounting("web", "hers"), "n1")).Results[0]; r.Conflict == nil {
		t.Errorf("a task was committed where its volume is not: %v", r)
	}
	if r := call(t, ann.claim.Commit, commit(mounting("web", "hers"), "n2")).Results[0]; r.Task == "" {
		t.Errorf("a task was not committed where its volume is: %v", r)
	}
	both := mounting("db", "theirs")
	both.Task.Mounts = append(both.Task.Mounts, &polderv1.Mount{Volume: "there", Target: "/more"})
	if r := call(t, admin.ask.Submit, submit(both)).Results[0].Refused; !strings.Contains(r.GetMessage(), "no task can mount both") {
		t.Errorf("volumes on two nodes: %v", r)
	}
	either := mounting("db", "theirs")
	either.Task.Mounts[0].Source = "/srv"
	if r := call(t, admin.ask.Submit, submit(either)).Results[0].Refused; !strings.Contains(r.GetMessage(), "not both") {
		t.Errorf("a volume and a directory: %v", r)
	}
}

// TestVolumeOutlastsTheLeader: the next leader has it, with who uses it, and its node keeps it all the time.
func TestVolumeOutlastsTheLeader(t *testing.T) {
	w, admin, one, two := keepers(t)
	first, second := w.connect(one), w.connect(two)
	v := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "data", Role: "db", Size: "3Gi", Node: "n1"})
	away := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "away", Role: "db", Size: "3Gi", Node: "n2"})
	call(t, admin.volume.Resize, &polderv1.VolumeServiceResizeRequest{Name: "data", Size: "5Gi"})
	ask := w.submit(admin, mounting("db", "data"))
	one.until("the task", func() bool { return one.tasks[ask.Id+".0"] != nil })
	w.end()
	first.close()
	second.close()
	w.start()
	admin = w.as(w.admin)
	w.connect(one)
	w.until("the volume", func(p *picture) bool { v, ok := p.volume("data"); return ok && v.state() == keptReady })
	got := call(t, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "data"})
	if got.Task != v.Task || got.Size != "5Gi" || got.Path != v.Path || len(got.UsedBy) != 1 || got.CreatedBy != v.CreatedBy {
		t.Errorf("the volume is %v, was %v", got, v)
	}
	if s := call(t, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "away"}).State; s != "unreachable" && s != "ready" {
		t.Errorf("a volume of a node that is not back is %s", s)
	}
	w.connect(two)
	w.until("the other volume", func(p *picture) bool { v, ok := p.volume("away"); return ok && v.state() == keptReady })
	for _, a := range []*agent{one, two} {
		a.mu.Lock()
		if len(a.stops) > 0 || a.launches[v.Task] > 1 || a.launches[away.Task] > 1 {
			t.Errorf("%s was told to stop %v and to start %v", a.name, a.stops, a.launches)
		}
		a.mu.Unlock()
	}
}

// TestNodeWithVolumes: a drain leaves them, and a node is only forgotten with them if somebody says so.
func TestNodeWithVolumes(t *testing.T) {
	w, admin, one, _ := keepers(t)
	link := w.connect(one)
	v := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "data", Role: "db", Size: "3Gi"})
	call(t, admin.node.Drain, &polderv1.DrainRequest{Name: "n1"})
	if n := call(t, admin.node.Get, &polderv1.NodeServiceGetRequest{Name: "n1"}); n.Volumes != 1 || n.Tasks != 1 || n.State != "draining" {
		t.Errorf("the node is %v", n)
	}
	one.mu.Lock()
	if len(one.notices) > 0 {
		t.Errorf("the volume has notice: %v", one.notices)
	}
	one.mu.Unlock()
	link.close()
	w.until("a node that is away", func(p *picture) bool { n, _ := p.nodes.Get("n1"); return n.State == "unreachable" })
	if err := refusal(t, connect.CodeFailedPrecondition, admin.node.Remove, &polderv1.NodeServiceRemoveRequest{Name: "n1"}); !strings.Contains(err.Error(), "1 volume") {
		t.Errorf("refused with %v", err)
	}
	if got := call(t, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "data"}); got.State != "unreachable" || got.Task != v.Task {
		t.Errorf("the volume is %v", got)
	}
	call(t, admin.node.Remove, &polderv1.NodeServiceRemoveRequest{Name: "n1", LoseVolumes: true})
	refusal(t, connect.CodeNotFound, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "data"})
}

// TestLostNodeKeepsVolumes: its tasks are lost, its volumes wait for it, and are what they were when it is back.
func TestLostNodeKeepsVolumes(t *testing.T) {
	w, admin, one, _ := keepers(t, func(c *Config) { c.NodeLostAfter = time.Millisecond })
	link := w.connect(one)
	v := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "data", Role: "db", Size: "3Gi"})
	ask := w.submit(admin, mounting("db", "data"))
	w.until("a task", func(p *picture) bool { r, _ := p.tasks.Get(ask.Id + ".0"); return r.State.String() == "running" })
	link.close()
	w.until("the task's loss", func(p *picture) bool { r, _ := p.tasks.Get(ask.Id + ".0"); return r.State.String() == "lost" })
	if got := call(t, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "data"}); got.State != "unreachable" || got.Task != v.Task {
		t.Errorf("the volume is %v", got)
	}
	res := call(t, admin.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{mounting("db", "data")}}).Results[0]
	if r := res.Refused; r.GetCode() != "VolumeUnreachable" {
		t.Errorf("another task that mounts it: %v", res)
	}
	one.mu.Lock()
	delete(one.tasks, ask.Id+".0") // the machine was started again
	one.mu.Unlock()
	w.connect(one)
	one.until("the task once more", func() bool { return one.tasks[ask.Id+".0.1"] != nil })
	w.until("the volume", func(p *picture) bool { v, ok := p.volume("data"); return ok && v.state() == keptReady })
	if got := call(t, admin.volume.Get, &polderv1.VolumeServiceGetRequest{Name: "data", UntilReady: true}); got.State != "ready" || got.Task != v.Task || got.Path != v.Path {
		t.Errorf("the volume is %v, was %v", got, v)
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.launches[v.Task] != 1 || one.stops[v.Task] != 0 {
		t.Errorf("the volume was made %d times and stopped %d times", one.launches[v.Task], one.stops[v.Task])
	}
}
