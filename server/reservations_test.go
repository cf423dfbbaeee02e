package server

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// reserve makes a reservation and waits until it is ready.
func (w *world) reserve(c *client, m *polderv1.ReservationServiceCreateRequest) *polderv1.Reservation {
	w.t.Helper()
	call(w.t, c.reservation.Create, m)
	r := call(w.t, c.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: m.Name, UntilReady: true})
	if r.State != "ready" {
		w.t.Fatalf("the reservation is %v", r)
	}
	return r
}

// half is most of what role db is guaranteed, on n2.
func half(name string) *polderv1.ReservationServiceCreateRequest {
	return &polderv1.ReservationServiceCreateRequest{
		Name: name, Role: "db", Node: "n2", Resources: map[string]string{"cpu": "1", "memory": "512Mi", "disk": "8Gi"}, Labels: map[string]string{"app": "pg"},
	}
}

func carved(reservation, cpu string) *polderv1.AskSpec {
	a := process("db", 1, cpu)
	a.Task.Reservation = reservation
	return a
}

func (w *world) reserved(name string) *polderv1.Reservation {
	p := w.leader().board.look()
	r, ok := p.reservation(name)
	if !ok {
		w.t.Fatalf("there is no reservation %s", name)
	}
	return r.proto(p.carvings())
}

// TestReservation: from its making to its end, with tasks and a volume that are carved out of it.
func TestReservation(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	r := w.reserve(admin, half("pg.place"))
	if r.Node != "n2" || r.Role != "db" || r.Resources["disk"] != "8Gi" || r.Free["cpu"] != "1" || len(r.Carved) > 0 || r.Labels["app"] != "pg" || r.CreatedBy == "" || r.Created == nil {
		t.Errorf("the reservation is %v", r)
	}
	w.until("what the role holds", func(p *picture) bool { r, _ := p.roleView("db"); return r.Funded["disk"] == 8<<30 })
	first := w.submit(admin, carved("pg.place", "1"))
	if s := first.Spec.Task; s.CarvedFrom != r.Task || s.GetPreemptible() || s.Preemptible == nil {
		t.Errorf("the ask is for %v", s)
	}
	two.until("the task where its reservation is", func() bool { return two.tasks[first.Id+".0"] != nil })
	second := w.submit(admin, carved("pg.place", "0.5"))
	w.until("why the second waits", func(p *picture) bool { a, _ := p.asks.Get(second.Id); return a.AskView.Reason.Code == "Reserved" })
	v := w.newVolume(admin, &polderv1.VolumeServiceCreateRequest{Name: "pg", Role: "db", Size: "3Gi", Reservation: "pg.place"})
	if v.Node != "n2" || v.Reservation != "pg.place" {
		t.Errorf("the volume is %v", v)
	}
	if got := w.reserved("pg.place"); got.Free["cpu"] != "0" || got.Carved["disk"] != "3Gi" || got.Free["disk"] != "5Gi" || len(got.UsedBy) != 3 {
		t.Errorf("the reservation is %v", got)
	}
	if n := call(t, admin.node.Get, &polderv1.NodeServiceGetRequest{Name: "n2"}); n.Used["cpu"] != "1" || n.Used["disk"] != "8Gi" {
		t.Errorf("its node has %v booked", n.Used)
	}
	err := refusal(t, connect.CodeFailedPrecondition, admin.reservation.Delete, &polderv1.ReservationServiceDeleteRequest{Name: "pg.place"})
	if !strings.Contains(err.Error(), first.Id+".0") || !strings.Contains(err.Error(), second.Id) {
		t.Errorf("refused with %v", err)
	}
	call(t, admin.task.Kill, &polderv1.KillRequest{Ids: []string{first.Id + ".0"}})
	w.until("who waited", func(p *picture) bool { r, _ := p.tasks.Get(second.Id + ".0"); return r.State.String() == "running" })
	call(t, admin.task.Kill, &polderv1.KillRequest{Ids: []string{second.Id + ".0"}})
	call(t, admin.volume.Delete, &polderv1.VolumeServiceDeleteRequest{Name: "pg"})
	two.until("the order to delete the volume", func() bool { return two.stops[v.Task] == 1 })
	w.until("a whole reservation", func(p *picture) bool { return p.carvings()[r.Task] == nil })
	if got := call(t, admin.reservation.Resize, &polderv1.ReservationServiceResizeRequest{Name: "pg.place", Resources: map[string]string{"disk": "10Gi"}}); got.Free["disk"] != "10Gi" || got.Free["cpu"] != "1" {
		t.Errorf("after the resize it is %v", got)
	}
	refusal(t, connect.CodeFailedPrecondition, admin.reservation.Resize, &polderv1.ReservationServiceResizeRequest{Name: "pg.place", Resources: map[string]string{"disk": "21Gi"}})
	call(t, admin.reservation.Delete, &polderv1.ReservationServiceDeleteRequest{Name: "pg.place"})
	refusal(t, connect.CodeNotFound, admin.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: "pg.place"})
	w.until("no reservation", func(p *picture) bool {
		r, _ := p.roleView("db")
		return p.reservations.Len() == 0 && r.Funded["disk"] == 0
	})
	two.mu.Lock()
	defer two.mu.Unlock()
	if two.launches[r.Task] > 0 || two.stops[r.Task] > 0 {
		t.Error("the node heard of it")
	}
}

// TestReservationIsMadeOnce: the same request again is answered with what is there; another one under the name, and nonsense, are refused.
func TestReservationIsMadeOnce(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	first := w.reserve(admin, half("place"))
	if again := call(t, admin.reservation.Create, half("place")); again.Task != first.Task {
		t.Errorf("made again: %v", again)
	}
	for what, change := range map[string]func(*polderv1.ReservationServiceCreateRequest){
		"of another role":   func(m *polderv1.ReservationServiceCreateRequest) { m.Role = "web" },
		"not cpu=1,disk=8":  func(m *polderv1.ReservationServiceCreateRequest) { delete(m.Resources, "memory") },
		"on node n2, not n": func(m *polderv1.ReservationServiceCreateRequest) { m.Node = "n1" },
	} {
		m := half("place")
		change(m)
		if err := refusal(t, connect.CodeAlreadyExists, admin.reservation.Create, m); !strings.Contains(err.Error(), what) {
			t.Errorf("%v is refused with %v", m, err)
		}
	}
	for code, changes := range map[connect.Code][]func(*polderv1.ReservationServiceCreateRequest){
		connect.CodeInvalidArgument: {
			func(m *polderv1.ReservationServiceCreateRequest) { m.Name = "" }, func(m *polderv1.ReservationServiceCreateRequest) { m.Name = "a/b" },
			func(m *polderv1.ReservationServiceCreateRequest) { m.Resources = nil }, func(m *polderv1.ReservationServiceCreateRequest) { m.Resources["cpu"] = "0" },
			func(m *polderv1.ReservationServiceCreateRequest) { m.Resources["gpu/cpu"] = "1" }, func(m *polderv1.ReservationServiceCreateRequest) { m.Constraints = []string{"=="} },
		},
		connect.CodeNotFound: {
			func(m *polderv1.ReservationServiceCreateRequest) { m.Node = "n9" }, func(m *polderv1.ReservationServiceCreateRequest) { m.Role = "nobody" },
		},
		connect.CodeFailedPrecondition: {func(m *polderv1.ReservationServiceCreateRequest) { m.Node, m.Resources["cpu"] = "", "3" }},
	} {
		for _, change := range changes {
			m := half("other")
			change(m)
			refusal(t, code, admin.reservation.Create, m)
		}
	}
}

// TestForgedReservations: nobody makes, ends or names the lease of a reservation in another way, and what is carved is of its role and no gang.
func TestForgedReservations(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	r := w.reserve(admin, half("place"))
	forged := map[string]func(*polderv1.AskSpec){
		"ReservationService":       func(a *polderv1.AskSpec) { a.Task.Reserves = &polderv1.ReservationLease{Name: "x"} },
		"polder reservation":       func(a *polderv1.AskSpec) { a.Task.Runtime = "reservation" },
		"the server sets it":       func(a *polderv1.AskSpec) { a.Task.Reservation, a.Task.CarvedFrom = "", r.Task },
		"of another role":          func(a *polderv1.AskSpec) { a.Role = "web" },
		"is not preemptible":       func(a *polderv1.AskSpec) { a.Task.Preemptible = new(bool); *a.Task.Preemptible = true },
		"in pool \"\", not":        func(a *polderv1.AskSpec) { a.Task.Pool = "gpu" },
		"no gang":                  func(a *polderv1.AskSpec) { a.Count, a.Gang = 2, true },
		"no reservation is called": func(a *polderv1.AskSpec) { a.Task.Reservation = "none" },
		"is of cpu=1":              func(a *polderv1.AskSpec) { a.Task.Resources["cpu"] = "2" },
	}
	for what, change := range forged {
		a := carved("place", "1")
		change(a)
		res := call(t, admin.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{a}}).Results[0]
		if text := res.Refused.GetMessage(); !strings.Contains(text, what) {
			t.Errorf("%v is answered %v", a, res)
		}
	}
	refusal(t, connect.CodeFailedPrecondition, admin.task.Kill, &polderv1.KillRequest{Ids: []string{r.Task}})
	ask, _, _ := strings.Cut(r.Task, ".")
	refusal(t, connect.CodeFailedPrecondition, admin.ask.Cancel, &polderv1.CancelRequest{Ids: []string{ask}})
	refusal(t, connect.CodeFailedPrecondition, admin.task.Resize, &polderv1.ResizeRequest{Task: r.Task, Resources: map[string]string{"cpu": "1"}})
	if n := len(call(t, admin.task.List, &polderv1.TaskServiceListRequest{}).Tasks); n != 0 {
		t.Errorf("the list has %d tasks", n)
	}
	if n := len(call(t, admin.ask.List, &polderv1.AskServiceListRequest{}).Asks); n != 0 {
		t.Errorf("the list has %d asks", n)
	}
}

// TestReservationWaits: one without room waits, nothing is carved out of it, and it goes without a trace.
func TestReservationWaits(t *testing.T) {
	_, admin, _, _ := keepers(t) // no node is connected
	m := half("place")
	m.Node = ""
	if r := call(t, admin.reservation.Create, m); r.State != "waiting" || r.Node != "" || r.Resources["cpu"] != "1" {
		t.Fatalf("the reservation is %v", r)
	}
	res := call(t, admin.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{carved("place", "1")}}).Results[0]
	if r := res.Refused; r.GetCode() != "ReservationWaiting" || !strings.Contains(r.Message, "still waits for room") {
		t.Errorf("the ask is %v", res)
	}
	refusal(t, connect.CodeFailedPrecondition, admin.reservation.Resize, &polderv1.ReservationServiceResizeRequest{Name: "place", Resources: map[string]string{"cpu": "1"}})
	call(t, admin.reservation.Delete, &polderv1.ReservationServiceDeleteRequest{Name: "place"})
	refusal(t, connect.CodeNotFound, admin.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: "place"})
}

// TestReservationsAreTheirRoles: who may not run work in the role changes nothing, and who may not view it sees none.
func TestReservationsAreTheirRoles(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{
		{Subject: "user:ann", Verbs: []string{"view", "run"}, Role: "web"}, {Subject: "user:bob", Verbs: []string{"view"}, Role: "db"},
	}})
	ann := w.as(call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "ann"}).Secret)
	bob := w.as(call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "bob"}).Secret)
	w.reserve(admin, half("place"))
	refusal(t, connect.CodePermissionDenied, ann.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: "place"})
	if n := len(call(t, ann.reservation.List, &polderv1.ReservationServiceListRequest{}).Reservations); n != 0 {
		t.Errorf("somebody else sees %d reservations", n)
	}
	if n := len(call(t, bob.reservation.List, &polderv1.ReservationServiceListRequest{Role: "db", Node: "n2"}).Reservations); n != 1 {
		t.Errorf("who may view the role sees %d reservations", n)
	}
	refusal(t, connect.CodePermissionDenied, bob.reservation.Create, half("more"))
	refusal(t, connect.CodePermissionDenied, bob.reservation.Resize, &polderv1.ReservationServiceResizeRequest{Name: "place", Resources: map[string]string{"cpu": "1"}})
	refusal(t, connect.CodePermissionDenied, bob.reservation.Delete, &polderv1.ReservationServiceDeleteRequest{Name: "place"})
	refusal(t, connect.CodePermissionDenied, bob.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{carved("place", "1")}})
}

// TestReservationOutlastsTheLeader: the next leader has it as it was made larger, and what is carved out of it, before its node is back.
func TestReservationOutlastsTheLeader(t *testing.T) {
	w, admin, one, two := keepers(t)
	first, second := w.connect(one), w.connect(two)
	r := w.reserve(admin, half("place"))
	call(t, admin.reservation.Resize, &polderv1.ReservationServiceResizeRequest{Name: "place", Resources: map[string]string{"disk": "9Gi"}})
	ask := w.submit(admin, carved("place", "1"))
	two.until("the task", func() bool { return two.tasks[ask.Id+".0"] != nil })
	w.end()
	first.close()
	second.close()
	w.start()
	admin = w.as(w.admin)
	w.connect(one)
	w.connect(two)
	w.until("the reservation", func(p *picture) bool { r, ok := p.reservation("place"); return ok && r.state() == keptReady })
	w.until("the task", func(p *picture) bool { t, ok := p.tasks.Get(ask.Id + ".0"); return ok && t.State.String() == "running" })
	got := call(t, admin.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: "place"})
	if got.Task != r.Task || got.Resources["disk"] != "9Gi" || got.Free["cpu"] != "0" || len(got.UsedBy) != 1 || got.CreatedBy != r.CreatedBy {
		t.Errorf("the reservation is %v, was %v", got, r)
	}
	waits := w.submit(admin, carved("place", "1"))
	w.until("why another waits", func(p *picture) bool { a, _ := p.asks.Get(waits.Id); return a.AskView.Reason.Code == "Reserved" })
	if n := call(t, admin.node.Get, &polderv1.NodeServiceGetRequest{Name: "n2"}); n.Used["cpu"] != "1" || n.Used["disk"] != "9Gi" {
		t.Errorf("its node has %v booked", n.Used)
	}
	two.mu.Lock()
	defer two.mu.Unlock()
	if len(two.stops) > 0 || two.launches[ask.Id+".0"] != 1 {
		t.Errorf("the node was told to stop %v and to start %v", two.stops, two.launches)
	}
}

// TestNodeWithReservation: a drain leaves it, and a node is only forgotten with it, and with what waits for it, if somebody says so.
func TestNodeWithReservation(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	link := w.connect(two)
	w.reserve(admin, half("place"))
	first, waits := w.submit(admin, carved("place", "1")), carved("place", "1")
	waits.Count = 2
	second := w.submit(admin, waits)
	w.until("a task", func(p *picture) bool { r, _ := p.tasks.Get(first.Id + ".0"); return r.State.String() == "running" })
	if n := call(t, admin.node.Get, &polderv1.NodeServiceGetRequest{Name: "n2"}); n.Reservations != 1 || n.Volumes != 0 || n.Tasks != 2 {
		t.Errorf("the node is %v", n)
	}
	link.close()
	w.until("a node that is away", func(p *picture) bool { r, ok := p.reservation("place"); return ok && r.state() == keptUnreachable })
	if err := refusal(t, connect.CodeFailedPrecondition, admin.node.Remove, &polderv1.NodeServiceRemoveRequest{Name: "n2"}); !strings.Contains(err.Error(), "1 reservation") {
		t.Errorf("refused with %v", err)
	}
	refusal(t, connect.CodeFailedPrecondition, admin.reservation.Resize, &polderv1.ReservationServiceResizeRequest{Name: "place", Resources: map[string]string{"disk": "9Gi"}})
	call(t, admin.node.Remove, &polderv1.NodeServiceRemoveRequest{Name: "n2", LoseVolumes: true})
	refusal(t, connect.CodeNotFound, admin.reservation.Get, &polderv1.ReservationServiceGetRequest{Name: "place"})
	w.until("nothing that waits for it", func(p *picture) bool {
		a, _ := p.asks.Get(first.Id)
		b, _ := p.asks.Get(second.Id)
		return a.State == "cancelled" && b.State == "cancelled"
	})
}

// TestCommitIntoReservation: who chooses nodes itself commits to the reservation's, and is told when that is another, or full.
func TestCommitIntoReservation(t *testing.T) {
	w, admin, one, two := keepers(t)
	w.connect(one)
	w.connect(two)
	w.reserve(admin, half("place"))
	commit := func(node string) *polderv1.CommitResult {
		a := carved("place", "1")
		return call(t, admin.claim.Commit, &polderv1.CommitRequest{Tasks: []*polderv1.ClaimTask{{Role: a.Role, Node: node, Task: a.Task}}}).Results[0]
	}
	if r := commit("n1"); !strings.Contains(r.Conflict.GetMessage(), "is on node n2") {
		t.Errorf("on another node: %v", r)
	}
	if r := commit("n2"); r.Task == "" {
		t.Errorf("on its node: %v", r)
	}
	if r := commit("n2"); !strings.Contains(r.Conflict.GetMessage(), "left: needs cpu=1") {
		t.Errorf("when it is full: %v", r)
	}
}
