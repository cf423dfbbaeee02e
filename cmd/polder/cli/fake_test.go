package cli

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
)

// noon is the time in all tests.
var noon = time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(-d)) }

const secret = "polder-abc-secret"

// fake is a server with a little of everything. Tests change its fields before they call.
type fake struct {
	url, ca string

	mu        sync.Mutex // guards what follows
	nodes     []*polderv1.Node
	roles     []*polderv1.RoleStatus
	tasks     []*polderv1.Task
	asks      []*polderv1.Ask
	notices   []*polderv1.Notice
	events    []*polderv1.Event
	volumes   []*polderv1.Volume
	reserved  []*polderv1.Reservation
	revision  int64
	refuse    *polderv1.Reason
	submitted []*polderv1.SubmitRequest
	tty       bool // every task has a terminal
	follows   bool // it does not lead
	calls     map[string]int
	// onCall runs before each call, with its procedure and how often it was called.
	onCall func(procedure string, n int) error
}

func newFake(t *testing.T) *fake {
	f := &fake{calls: map[string]int{}, revision: 7}
	f.fill()
	mux := http.NewServeMux()
	opt := connect.WithInterceptors(gate{f})
	mux.Handle(polderv1connect.NewNodeServiceHandler(fakeNode{fake: f}, opt))
	mux.Handle(polderv1connect.NewRoleServiceHandler(fakeRole{fake: f}, opt))
	mux.Handle(polderv1connect.NewTaskServiceHandler(fakeTask{fake: f}, opt))
	mux.Handle(polderv1connect.NewAskServiceHandler(fakeAsk{fake: f}, opt))
	mux.Handle(polderv1connect.NewPlanServiceHandler(fakePlan{fake: f}, opt))
	mux.Handle(polderv1connect.NewLeaseServiceHandler(fakeLease{fake: f}, opt))
	mux.Handle(polderv1connect.NewNoticeServiceHandler(fakeNotice{fake: f}, opt))
	mux.Handle(polderv1connect.NewEventServiceHandler(fakeEvent{fake: f}, opt))
	mux.Handle(polderv1connect.NewVolumeServiceHandler(fakeVolume{fake: f}, opt))
	mux.Handle(polderv1connect.NewReservationServiceHandler(fakeReservation{fake: f}, opt))
	mux.Handle(polderv1connect.NewAuditServiceHandler(fakeAudit{fake: f}, opt))
	mux.Handle(polderv1connect.NewDoorServiceHandler(fakeDoor{fake: f}, opt))
	mux.Handle(polderv1connect.NewAccessServiceHandler(fakeAccess{fake: f}, opt))
	mux.HandleFunc("GET "+leaderPath, func(w http.ResponseWriter, _ *http.Request) {
		if f.follows {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	srv := httptest.NewUnstartedServer(mux)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are part of some tests
	srv.StartTLS()
	t.Cleanup(srv.Close)
	f.url = strings.TrimPrefix(srv.URL, "https://")
	f.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	return f
}

// fill puts two teams on two nodes: offline borrows what online lends, and is asked to give some back.
func (f *fake) fill() {
	amounts := func(s ...string) map[string]string {
		m, err := keyValues("test", s)
		if err != nil {
			panic(err)
		}
		return m
	}
	f.nodes = []*polderv1.Node{
		{Name: "node-1", State: "ready", Capacity: amounts("cpu=4", "memory=8Gi"), Used: amounts("cpu=3", "memory=3Gi"), Available: amounts("cpu=1", "memory=5Gi"), Tasks: 2, LastSeen: ago(2 * time.Second), Attributes: amounts("zone=a"), Runtimes: []string{"docker", "process"}, Version: "1.0"},
		{Name: "node-2", State: "draining", Pool: "gpu", Capacity: amounts("gpu/cpu=4", "gpu/gpu=2", "gpu/licence=1"), Tasks: 3, LastSeen: ago(90 * time.Minute), Warnings: []string{"disk is 91 % full"}, Volumes: 1, Reservations: 1},
		{Name: "node-3", State: "unreachable", Capacity: amounts("cpu=2"), LastSeen: ago(3 * 24 * time.Hour)},
	}
	role := func(path string, guarantee, used, funded, borrowed, lent map[string]string, running, pending int32) *polderv1.RoleStatus {
		return &polderv1.RoleStatus{
			Effective: &polderv1.EffectiveRole{Path: path, Guarantee: guarantee, Weight: 1, ReclaimGrace: durationpb.New(30 * time.Second), LendGrace: durationpb.New(2 * time.Minute), ReclaimBound: durationpb.New(125 * time.Second)},
			Usage:     used, Funded: funded, Borrowed: borrowed, Lent: lent, Demand: used, Running: running, Pending: pending,
		}
	}
	f.roles = []*polderv1.RoleStatus{
		role("", amounts("cpu=10", "memory=16Gi"), amounts("cpu=5", "memory=3Gi"), amounts("cpu=5", "memory=3Gi"), nil, nil, 3, 1),
		role("corp", amounts("cpu=8", "memory=16Gi"), amounts("cpu=5", "memory=3Gi"), amounts("cpu=5", "memory=3Gi"), nil, nil, 3, 1),
		role("corp/offline", amounts("cpu=2"), amounts("cpu=4", "memory=3Gi"), amounts("cpu=2"), amounts("cpu=2", "memory=3Gi"), nil, 2, 0),
		role("corp/offline/night", nil, amounts("cpu=1"), nil, amounts("cpu=1"), nil, 1, 0),
		role("corp/online", amounts("cpu=6"), amounts("cpu=1"), amounts("cpu=1"), nil, amounts("cpu=2", "memory=1687467386"), 1, 1),
		role("play", nil, nil, nil, nil, nil, 0, 0),
	}
	notice := &polderv1.Notice{Id: "n1", Task: "count-2.0", Role: "corp/offline", Node: "node-1", Claimant: "corp/online: web-1", Amount: amounts("cpu=2"), Issued: ago(10 * time.Second), Deadline: timestamppb.New(noon.Add(20 * time.Second)), State: "open", Funding: "borrowed"}
	f.notices = []*polderv1.Notice{notice}
	zero := int32(0)
	task := func(id, ask, role, node, funding string, state polderv1.TaskState) *polderv1.Task {
		return &polderv1.Task{Id: id, Ask: ask, Role: role, Node: node, Funding: funding, State: state, Resources: amounts("memory=1Gi", "cpu=1"), Created: ago(5 * time.Minute), ReclaimGrace: durationpb.New(30 * time.Second), Hold: durationpb.New(90 * time.Second), Preemptible: true, Runtime: "docker"}
	}
	f.tasks = []*polderv1.Task{
		task("count-1.0", "count-1", "corp/offline", "node-1", "corp/offline", polderv1.TaskState_TASK_STATE_RUNNING),
		task("count-2.0", "count-2", "corp/offline", "node-1", "borrowed", polderv1.TaskState_TASK_STATE_LEAVING),
		task("web-1.0", "web-1", "corp/online", "", "", polderv1.TaskState_TASK_STATE_PENDING),
		task("old-1.0", "old-1", "corp/offline", "node-2", "borrowed", polderv1.TaskState_TASK_STATE_SUCCEEDED),
	}
	f.tasks[1].Notice = notice
	f.tasks[3].ExitCode = &zero
	waits := &polderv1.Reason{Code: "WaitsForReclaim", Message: "2 cpu of corp/online come back from corp/offline", UnblockedBy: "count-2.0 leaving node-1", Expected: timestamppb.New(noon.Add(20 * time.Second))}
	f.asks = []*polderv1.Ask{
		{Id: "count-1", State: "open", Running: 1, Spec: &polderv1.AskSpec{Role: "corp/offline", Count: 1, Task: &polderv1.TaskSpec{Resources: amounts("cpu=1"), Command: []string{"count"}}}, Submitted: ago(time.Hour), SubmittedBy: "user:bob"},
		{Id: "web-1", State: "open", Pending: 1, Reason: waits, Spec: &polderv1.AskSpec{Role: "corp/online", Count: 1, Task: &polderv1.TaskSpec{Resources: amounts("cpu=2")}}, Submitted: ago(time.Minute), SubmittedBy: "user:eve"},
	}
	f.volumes = []*polderv1.Volume{
		{Name: "pg-data", Role: "corp/online", Node: "node-2", Size: "10Gi", State: "ready", Task: "volume-a.0", UsedBy: []string{"pg-1.0"}, Created: ago(26 * time.Hour), CreatedBy: "user:eve", Labels: amounts("app=pg"), Path: "/var/lib/polder/volumes/volume-a.0/data"},
		{Name: "models", Role: "corp/offline", Size: "1Ti", State: "waiting", Task: "volume-b.0", Created: ago(time.Minute), Reason: &polderv1.Reason{Code: "Resources", Message: "3 of 3 nodes have too little disk left", UnblockedBy: "a node that fits joins"}},
	}
	f.reserved = []*polderv1.Reservation{
		{Name: "pg", Role: "corp/online", Node: "node-2", Pool: "gpu", State: "ready", Task: "pg-a.0", Resources: amounts("cpu=2", "disk=50Gi"), Carved: amounts("cpu=1"), Free: amounts("cpu=1", "disk=50Gi"), UsedBy: []string{"pg-1.0"}, Created: ago(26 * time.Hour), CreatedBy: "user:eve", Labels: amounts("app=pg")},
		{Name: "cache", Role: "corp/offline", State: "waiting", Task: "cache-b.0", Resources: amounts("memory=1Ti"), Free: amounts("memory=1Ti"), Created: ago(time.Minute), Reason: &polderv1.Reason{Code: "Resources", Message: "3 of 3 nodes have too little memory left", UnblockedBy: "a node that fits joins"}},
	}
	f.events = []*polderv1.Event{
		{Revision: 5, Time: ago(11 * time.Second), Kind: "AskSubmitted", Subject: "web-1", Role: "corp/online", Message: "1 task of cpu=2"},
		{Revision: 6, Time: ago(10 * time.Second), Kind: "NoticeSent", Subject: "count-2.0", Role: "corp/offline", Node: "node-1", Message: "give back cpu=2 in 30s\x1b[31m"},
	}
}

// gate checks the token and lets tests interfere with calls.
type gate struct{ *fake }

func (g gate) enter(procedure string, h http.Header) error {
	if h.Get("Authorization") != "Bearer "+secret {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("not authenticated: unknown token"))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	name := procedure[strings.LastIndex(procedure, "v1.")+3:]
	g.calls[name]++
	if g.onCall != nil {
		return g.onCall(name, g.calls[name])
	}
	return nil
}

func (g gate) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := g.enter(req.Spec().Procedure, req.Header()); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

func (g gate) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (g gate) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := g.enter(conn.Spec().Procedure, conn.RequestHeader()); err != nil {
			return err
		}
		return next(ctx, conn)
	}
}

// cut returns the page of two that starts at the token.
func cut[T any](all []T, token string) (items []T, next string) {
	from, _ := strconv.Atoi(token)
	to := min(from+2, len(all))
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return all[from:to], next
}

// get finds one item by name.
func get[T any](what string, all []*T, name string, of func(*T) string) (*connect.Response[T], error) {
	for _, it := range all {
		if of(it) == name {
			return connect.NewResponse(it), nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("%s %q does not exist", what, name))
}

type fakeNode struct {
	polderv1connect.UnimplementedNodeServiceHandler
	*fake
}

func (f fakeNode) List(_ context.Context, r *connect.Request[polderv1.NodeServiceListRequest]) (*connect.Response[polderv1.NodeServiceListResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var match []*polderv1.Node
	for _, n := range f.nodes {
		if r.Msg.State == "" || n.State == r.Msg.State {
			match = append(match, n)
		}
	}
	items, next := cut(match, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.NodeServiceListResponse{Nodes: items, NextPageToken: next}), nil
}

func (f fakeNode) Get(_ context.Context, r *connect.Request[polderv1.NodeServiceGetRequest]) (*connect.Response[polderv1.Node], error) {
	return get("node", f.nodes, r.Msg.Name, (*polderv1.Node).GetName)
}

func (f fakeNode) Cordon(_ context.Context, r *connect.Request[polderv1.CordonRequest]) (*connect.Response[polderv1.Node], error) {
	n, err := get("node", f.nodes, r.Msg.Name, (*polderv1.Node).GetName)
	if err == nil {
		n.Msg.State = map[bool]string{true: "cordoned", false: "ready"}[r.Msg.Cordoned]
	}
	return n, err
}

func (f fakeNode) Drain(_ context.Context, r *connect.Request[polderv1.DrainRequest]) (*connect.Response[polderv1.Node], error) {
	n, err := get("node", f.nodes, r.Msg.Name, (*polderv1.Node).GetName)
	if err == nil {
		n.Msg.State = "draining"
	}
	return n, err
}

func (f fakeNode) Remove(_ context.Context, r *connect.Request[polderv1.NodeServiceRemoveRequest]) (*connect.Response[polderv1.NodeServiceRemoveResponse], error) {
	f.nodes = slices.DeleteFunc(f.nodes, func(n *polderv1.Node) bool { return n.Name == r.Msg.Name })
	return connect.NewResponse(&polderv1.NodeServiceRemoveResponse{}), nil
}

type fakeReservation struct {
	polderv1connect.UnimplementedReservationServiceHandler
	*fake
}

func (f fakeReservation) List(_ context.Context, r *connect.Request[polderv1.ReservationServiceListRequest]) (*connect.Response[polderv1.ReservationServiceListResponse], error) {
	items, next := cut(f.reserved, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.ReservationServiceListResponse{Reservations: items, NextPageToken: next}), nil
}

// Get makes a reservation ready that somebody waits for, at the second look.
func (f fakeReservation) Get(_ context.Context, r *connect.Request[polderv1.ReservationServiceGetRequest]) (*connect.Response[polderv1.Reservation], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := get("reservation", f.reserved, r.Msg.Name, (*polderv1.Reservation).GetName)
	if err == nil && r.Msg.UntilReady && f.calls["ReservationService/Get"] == 2 {
		v.Msg.State, v.Msg.Node, v.Msg.Reason = "ready", "node-1", nil
	}
	return v, err
}

func (f fakeReservation) Create(_ context.Context, r *connect.Request[polderv1.ReservationServiceCreateRequest]) (*connect.Response[polderv1.Reservation], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := &polderv1.Reservation{Name: r.Msg.Name, Role: r.Msg.Role, Resources: r.Msg.Resources, Free: r.Msg.Resources, Labels: r.Msg.Labels, State: "waiting", Reason: &polderv1.Reason{Message: "it is looked at"}}
	if r.Msg.Node != "" {
		v.Node, v.State, v.Reason = r.Msg.Node, "ready", nil
	}
	f.reserved = append(f.reserved, v)
	return connect.NewResponse(v), nil
}

func (f fakeReservation) Resize(_ context.Context, r *connect.Request[polderv1.ReservationServiceResizeRequest]) (*connect.Response[polderv1.Reservation], error) {
	v, err := get("reservation", f.reserved, r.Msg.Name, (*polderv1.Reservation).GetName)
	for kind, x := range r.Msg.Resources {
		v.Msg.Resources[kind] = x
	}
	return v, err
}

func (f fakeReservation) Delete(_ context.Context, r *connect.Request[polderv1.ReservationServiceDeleteRequest]) (*connect.Response[polderv1.ReservationServiceDeleteResponse], error) {
	f.reserved = slices.DeleteFunc(f.reserved, func(v *polderv1.Reservation) bool { return v.Name == r.Msg.Name })
	return connect.NewResponse(&polderv1.ReservationServiceDeleteResponse{}), nil
}

type fakeVolume struct {
	polderv1connect.UnimplementedVolumeServiceHandler
	*fake
}

func (f fakeVolume) List(_ context.Context, r *connect.Request[polderv1.VolumeServiceListRequest]) (*connect.Response[polderv1.VolumeServiceListResponse], error) {
	items, next := cut(f.volumes, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.VolumeServiceListResponse{Volumes: items, NextPageToken: next}), nil
}

// Get makes a volume ready that somebody waits for, at the second look.
func (f fakeVolume) Get(_ context.Context, r *connect.Request[polderv1.VolumeServiceGetRequest]) (*connect.Response[polderv1.Volume], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := get("volume", f.volumes, r.Msg.Name, (*polderv1.Volume).GetName)
	if err == nil && r.Msg.UntilReady && f.calls["VolumeService/Get"] == 2 {
		v.Msg.State, v.Msg.Node, v.Msg.Reason = "ready", "node-1", nil
	}
	return v, err
}

func (f fakeVolume) Create(_ context.Context, r *connect.Request[polderv1.VolumeServiceCreateRequest]) (*connect.Response[polderv1.Volume], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := &polderv1.Volume{Name: r.Msg.Name, Role: r.Msg.Role, Size: r.Msg.Size, Labels: r.Msg.Labels, State: "waiting", Reason: &polderv1.Reason{Message: "it is looked at"}}
	if r.Msg.Node != "" {
		v.Node, v.State, v.Reason = r.Msg.Node, "ready", nil
	}
	f.volumes = append(f.volumes, v)
	return connect.NewResponse(v), nil
}

func (f fakeVolume) Resize(_ context.Context, r *connect.Request[polderv1.VolumeServiceResizeRequest]) (*connect.Response[polderv1.Volume], error) {
	v, err := get("volume", f.volumes, r.Msg.Name, (*polderv1.Volume).GetName)
	if err == nil {
		v.Msg.Size = r.Msg.Size
	}
	return v, err
}

func (f fakeVolume) Delete(_ context.Context, r *connect.Request[polderv1.VolumeServiceDeleteRequest]) (*connect.Response[polderv1.VolumeServiceDeleteResponse], error) {
	f.volumes = slices.DeleteFunc(f.volumes, func(v *polderv1.Volume) bool { return v.Name == r.Msg.Name })
	return connect.NewResponse(&polderv1.VolumeServiceDeleteResponse{}), nil
}

type fakeRole struct {
	polderv1connect.UnimplementedRoleServiceHandler
	*fake
}

func (f fakeRole) List(_ context.Context, r *connect.Request[polderv1.RoleServiceListRequest]) (*connect.Response[polderv1.RoleServiceListResponse], error) {
	var match []*polderv1.RoleStatus
	for _, s := range f.roles {
		if strings.HasPrefix(s.Effective.Path, r.Msg.Under) {
			match = append(match, s)
		}
	}
	items, next := cut(match, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.RoleServiceListResponse{Roles: items, NextPageToken: next}), nil
}

func (f fakeRole) Get(_ context.Context, r *connect.Request[polderv1.RoleServiceGetRequest]) (*connect.Response[polderv1.RoleStatus], error) {
	return get("role", f.roles, r.Msg.Path, func(s *polderv1.RoleStatus) string { return s.Effective.Path })
}

func (f fakeRole) Waste(_ context.Context, r *connect.Request[polderv1.WasteRequest]) (*connect.Response[polderv1.WasteResponse], error) {
	to := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	from := to.Add(-time.Hour)
	if last := r.Msg.Last.AsDuration(); last > 0 {
		from = to.Add(-last)
	}
	s := to.Sub(from).Seconds()
	q := func(units float64) string { return strconv.FormatFloat(units*s, 'f', -1, 64) }
	return connect.NewResponse(&polderv1.WasteResponse{From: timestamppb.New(from), To: timestamppb.New(to),
		Summary: []string{"10.2 % of 48 cpu idled in the last 1h: 6.1 % no demand, 4.1 % not lent"},
		Rows: []*polderv1.WasteRow{
			{Role: r.Msg.Role, Resource: "cpu", Guarantee: q(48), Borrowed: "0", Used: q(43.104), Lent: "0", Idle: map[string]string{"NoDemand": q(2.928), "NotLent": q(1.968)}},
			{Role: r.Msg.Role, Resource: "memory", Guarantee: q(64 << 30), Borrowed: "0", Used: q(64 << 30), Lent: "0"},
			{Role: "corp/offline", Resource: "cpu", Guarantee: q(2), Borrowed: q(2.5), Used: q(4), Lent: "0", Idle: map[string]string{"Starting": q(0.5)}},
		}}), nil
}

type fakeTask struct {
	polderv1connect.UnimplementedTaskServiceHandler
	*fake
}

func (f fakeTask) List(_ context.Context, r *connect.Request[polderv1.TaskServiceListRequest]) (*connect.Response[polderv1.TaskServiceListResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var match []*polderv1.Task
	for _, t := range f.tasks {
		if (r.Msg.All || !ended(t.State)) && (r.Msg.Ask == "" || t.Ask == r.Msg.Ask) && (len(r.Msg.States) == 0 || slices.Contains(r.Msg.States, t.State)) {
			match = append(match, t)
		}
	}
	items, next := cut(match, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.TaskServiceListResponse{Tasks: items, NextPageToken: next}), nil
}

func (f fakeTask) Get(_ context.Context, r *connect.Request[polderv1.TaskServiceGetRequest]) (*connect.Response[polderv1.TaskServiceGetResponse], error) {
	t, err := get("task", f.tasks, r.Msg.Id, (*polderv1.Task).GetId)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&polderv1.TaskServiceGetResponse{Task: t.Msg, Spec: &polderv1.TaskSpec{Image: "counter:1", Command: []string{"count", "--fast"}, Tty: f.tty}}), nil
}

func (f fakeTask) Kill(_ context.Context, r *connect.Request[polderv1.KillRequest]) (*connect.Response[polderv1.KillResponse], error) {
	out := &polderv1.KillResponse{}
	for _, id := range r.Msg.Ids {
		out.Tasks = append(out.Tasks, &polderv1.Task{Id: id, State: polderv1.TaskState_TASK_STATE_STOPPING})
	}
	return connect.NewResponse(out), nil
}

func (f fakeTask) Logs(_ context.Context, r *connect.Request[polderv1.LogsRequest], s *connect.ServerStream[polderv1.LogsResponse]) error {
	if err := s.Send(&polderv1.LogsResponse{Data: []byte("out of " + r.Msg.Task + "\n")}); err != nil {
		return err
	}
	return s.Send(&polderv1.LogsResponse{Data: []byte("a warning\n"), Stderr: true})
}

// Exec answers every input in capitals and ends with code 7 when the input ends, or with the terminal's size when told.
func (f fakeTask) Exec(_ context.Context, s *connect.BidiStream[polderv1.ExecRequest, polderv1.ExecResponse]) error {
	first, err := s.Receive()
	if err != nil {
		return err
	}
	if err := s.Send(&polderv1.ExecResponse{Data: fmt.Appendf(nil, "%q in %s\n", first.Start.Command, first.Start.Task)}); err != nil {
		return err
	}
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		code := int32(7)
		switch {
		case m.CloseStdin:
			return s.Send(&polderv1.ExecResponse{Data: []byte("bye\n"), Stderr: true, ExitCode: &code})
		case m.Resize != nil:
			err = s.Send(&polderv1.ExecResponse{Data: fmt.Appendf(nil, "%dx%d\n", m.Resize.Columns, m.Resize.Rows)})
		case bytes.Contains(m.Stdin, []byte{4}):
			code = 0
			return s.Send(&polderv1.ExecResponse{ExitCode: &code})
		default:
			err = s.Send(&polderv1.ExecResponse{Data: bytes.ToUpper(m.Stdin)})
		}
		if err != nil {
			return err
		}
	}
}

type fakeAsk struct {
	polderv1connect.UnimplementedAskServiceHandler
	*fake
}

func (f fakeAsk) Submit(_ context.Context, r *connect.Request[polderv1.SubmitRequest]) (*connect.Response[polderv1.SubmitResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.submitted = append(f.submitted, r.Msg)
	out := &polderv1.SubmitResponse{}
	for i, spec := range r.Msg.Asks {
		res := &polderv1.SubmitResult{Ask: &polderv1.Ask{Id: fmt.Sprintf("%s-%d", first(spec.Name, "ask"), i+1), Spec: spec, State: "open", Pending: spec.Count}}
		if f.refuse != nil && i == len(r.Msg.Asks)-1 {
			res = &polderv1.SubmitResult{Refused: f.refuse}
		} else if !r.Msg.DryRun {
			f.asks = append(f.asks, res.Ask)
		}
		out.Results = append(out.Results, res)
	}
	return connect.NewResponse(out), nil
}

func (f fakeAsk) Cancel(_ context.Context, r *connect.Request[polderv1.CancelRequest]) (*connect.Response[polderv1.CancelResponse], error) {
	return connect.NewResponse(&polderv1.CancelResponse{Withdrawn: uint32(len(r.Msg.Ids)), Stopping: 1}), nil
}

func (f fakeAsk) List(_ context.Context, r *connect.Request[polderv1.AskServiceListRequest]) (*connect.Response[polderv1.AskServiceListResponse], error) {
	items, next := cut(f.asks, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.AskServiceListResponse{Asks: items, NextPageToken: next}), nil
}

func (f fakeAsk) Get(_ context.Context, r *connect.Request[polderv1.AskServiceGetRequest]) (*connect.Response[polderv1.Ask], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return get("ask", f.asks, r.Msg.Id, (*polderv1.Ask).GetId)
}

func (f fakeAsk) Explain(_ context.Context, r *connect.Request[polderv1.ExplainRequest]) (*connect.Response[polderv1.ExplainResponse], error) {
	k, err := get("ask", f.asks, r.Msg.Id, (*polderv1.Ask).GetId)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&polderv1.ExplainResponse{Reason: k.Msg.Reason, Details: []string{"corp/online: guarantee cpu=6, uses cpu=1", "first in its queue"}}), nil
}

type fakePlan struct {
	polderv1connect.UnimplementedPlanServiceHandler
	*fake
}

func (f fakePlan) Get(_ context.Context, r *connect.Request[polderv1.PlanServiceGetRequest]) (*connect.Response[polderv1.PlanServiceGetResponse], error) {
	return connect.NewResponse(&polderv1.PlanServiceGetResponse{Revision: &polderv1.PlanRevision{Revision: f.revision}, Yaml: fmt.Sprintf("roles:\n  corp: {weight: %d}\n  play: {}\n", r.Msg.Revision)}), nil
}

func problemsIn(plan string) []*polderv1.PlanProblem {
	if strings.Contains(plan, "bad") {
		return []*polderv1.PlanProblem{
			{Path: `roles["corp"].guarantee.cpu`, Line: 3, Message: "children have 9, corp has 8", Fatal: true},
			{Path: `roles["play"].weight`, Message: "has no effect alone"},
		}
	}
	return nil
}

func (f fakePlan) Validate(_ context.Context, r *connect.Request[polderv1.ValidateRequest]) (*connect.Response[polderv1.ValidateResponse], error) {
	return connect.NewResponse(&polderv1.ValidateResponse{Problems: problemsIn(r.Msg.Plan)}), nil
}

func windowsAt(at *timestamppb.Timestamp) []string {
	if at == nil {
		return nil
	}
	return []string{"night"}
}

func (f fakePlan) Preview(_ context.Context, r *connect.Request[polderv1.PreviewRequest]) (*connect.Response[polderv1.PreviewResponse], error) {
	return connect.NewResponse(&polderv1.PreviewResponse{
		BaseRevision: f.revision, Problems: problemsIn(r.Msg.Plan), Notices: f.notices, Windows: windowsAt(r.Msg.At),
		Changes: []*polderv1.PlanChange{{Path: "corp/online", Field: "guarantee", From: "cpu=4", To: "cpu=6"}},
	}), nil
}

func (f fakePlan) Apply(_ context.Context, r *connect.Request[polderv1.ApplyRequest]) (*connect.Response[polderv1.ApplyResponse], error) {
	if r.Msg.BaseRevision != f.revision {
		return nil, connect.NewError(connect.CodeAborted, fmt.Errorf("the plan is at revision %d", f.revision))
	}
	f.revision++
	return connect.NewResponse(&polderv1.ApplyResponse{Revision: &polderv1.PlanRevision{Revision: f.revision}}), nil
}

func (f fakePlan) History(_ context.Context, r *connect.Request[polderv1.HistoryRequest]) (*connect.Response[polderv1.HistoryResponse], error) {
	all := []*polderv1.PlanRevision{{Revision: 7, Applied: ago(time.Hour), AppliedBy: "user:eve", Comment: "more for online"}, {Revision: 6, Applied: ago(2 * time.Hour), AppliedBy: "user:bob"}, {Revision: 1}}
	items, next := cut(all, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.HistoryResponse{Revisions: items, NextPageToken: next}), nil
}

func (f fakePlan) Show(_ context.Context, r *connect.Request[polderv1.ShowRequest]) (*connect.Response[polderv1.ShowResponse], error) {
	out := &polderv1.ShowResponse{At: r.Msg.At, Windows: []string{"night"}, NextChange: timestamppb.New(noon.Add(time.Hour))}
	for _, s := range f.roles {
		out.Roles = append(out.Roles, s.Effective)
	}
	return connect.NewResponse(out), nil
}

type fakeLease struct {
	polderv1connect.UnimplementedLeaseServiceHandler
	*fake
}

func (f fakeLease) List(_ context.Context, r *connect.Request[polderv1.LeaseServiceListRequest]) (*connect.Response[polderv1.LeaseServiceListResponse], error) {
	out := &polderv1.LeaseServiceListResponse{}
	for _, t := range f.tasks {
		if t.Node != "" && (!r.Msg.Borrowed || t.Funding == "borrowed") {
			out.Leases = append(out.Leases, &polderv1.Lease{Task: t.Id, Role: t.Role, Node: t.Node, Resources: t.Resources, Funding: t.Funding, ReclaimGrace: t.ReclaimGrace, Hold: t.Hold, Since: t.Created, LeavesBy: t.GetNotice().GetDeadline()})
		}
	}
	return connect.NewResponse(out), nil
}

type fakeNotice struct {
	polderv1connect.UnimplementedNoticeServiceHandler
	*fake
}

func (f fakeNotice) List(context.Context, *connect.Request[polderv1.NoticeServiceListRequest]) (*connect.Response[polderv1.NoticeServiceListResponse], error) {
	return connect.NewResponse(&polderv1.NoticeServiceListResponse{Notices: f.notices}), nil
}

// Watch breaks off after the first notice, then goes on where the caller says it was.
func (f fakeNotice) Watch(ctx context.Context, r *connect.Request[polderv1.NoticeServiceWatchRequest], s *connect.ServerStream[polderv1.NoticeServiceWatchResponse]) error {
	n := f.notices[0]
	if r.Msg.FromRevision == 0 {
		if err := s.Send(&polderv1.NoticeServiceWatchResponse{Revision: 11, Notice: n}); err != nil {
			return err
		}
		return connect.NewError(connect.CodeUnavailable, errors.New("the leader changed"))
	}
	if r.Msg.FromRevision != 11 {
		return connect.NewError(connect.CodeInternal, fmt.Errorf("resumed from %d", r.Msg.FromRevision))
	}
	left := &polderv1.Notice{Id: n.Id, Task: n.Task, Role: n.Role, Node: n.Node, Claimant: n.Claimant, Amount: n.Amount, Deadline: n.Deadline, State: "left"}
	if err := s.Send(&polderv1.NoticeServiceWatchResponse{Revision: 12, Notice: left}); err != nil {
		return err
	}
	return connect.NewError(connect.CodePermissionDenied, errors.New("enough seen"))
}

func (f fakeNotice) Answer(_ context.Context, r *connect.Request[polderv1.AnswerRequest]) (*connect.Response[polderv1.AnswerResponse], error) {
	n := &polderv1.Notice{Task: r.Msg.Task, State: "open", Amount: r.Msg.Released, Claimant: "corp/online: web-1"}
	if r.Msg.Done {
		n.State = "done"
	}
	return connect.NewResponse(&polderv1.AnswerResponse{Notice: n}), nil
}

type fakeEvent struct {
	polderv1connect.UnimplementedEventServiceHandler
	*fake
}

func (f fakeEvent) List(context.Context, *connect.Request[polderv1.EventServiceListRequest]) (*connect.Response[polderv1.EventServiceListResponse], error) {
	return connect.NewResponse(&polderv1.EventServiceListResponse{Events: f.events, Revision: 6}), nil
}

func (f fakeEvent) Watch(_ context.Context, r *connect.Request[polderv1.EventServiceWatchRequest], s *connect.ServerStream[polderv1.Event]) error {
	if err := s.Send(&polderv1.Event{Revision: r.Msg.FromRevision + 1, Time: ago(0), Kind: "TaskStarted", Subject: "web-1.0", Message: "on node-1"}); err != nil {
		return err
	}
	return connect.NewError(connect.CodePermissionDenied, errors.New("enough seen"))
}

type fakeAccess struct {
	polderv1connect.UnimplementedAccessServiceHandler
	*fake
}

func (f fakeAccess) WhoAmI(context.Context, *connect.Request[polderv1.WhoAmIRequest]) (*connect.Response[polderv1.WhoAmIResponse], error) {
	return connect.NewResponse(&polderv1.WhoAmIResponse{Kind: "user", Name: "eve", Cluster: "c1", Version: "1.0"}), nil
}

func (f fakeAccess) CanI(_ context.Context, r *connect.Request[polderv1.CanIRequest]) (*connect.Response[polderv1.CanIResponse], error) {
	return connect.NewResponse(&polderv1.CanIResponse{Allowed: r.Msg.Verb == "view", Reason: "user:eve may not " + r.Msg.Verb + " on role " + r.Msg.Role}), nil
}

func (f fakeAccess) CreateToken(_ context.Context, r *connect.Request[polderv1.CreateTokenRequest]) (*connect.Response[polderv1.CreateTokenResponse], error) {
	return connect.NewResponse(&polderv1.CreateTokenResponse{Token: &polderv1.Token{Id: "tok1", Kind: r.Msg.Kind, Name: r.Msg.Name}, Secret: "polder-" + r.Msg.Kind + "-s3cret"}), nil
}

func (f fakeAccess) ListTokens(context.Context, *connect.Request[polderv1.ListTokensRequest]) (*connect.Response[polderv1.ListTokensResponse], error) {
	return connect.NewResponse(&polderv1.ListTokensResponse{Tokens: []*polderv1.Token{
		{Id: "tok1", Kind: "user", Name: "eve", Created: ago(time.Hour)}, {Id: "tic2", Kind: "join", Name: "rack", Created: ago(time.Hour), Expires: timestamppb.New(noon.Add(time.Hour)), Revoked: true},
	}}), nil
}

func (f fakeAccess) RevokeToken(context.Context, *connect.Request[polderv1.RevokeTokenRequest]) (*connect.Response[polderv1.RevokeTokenResponse], error) {
	return connect.NewResponse(&polderv1.RevokeTokenResponse{}), nil
}

func (f fakeAccess) GetPermissions(context.Context, *connect.Request[polderv1.GetPermissionsRequest]) (*connect.Response[polderv1.GetPermissionsResponse], error) {
	return connect.NewResponse(&polderv1.GetPermissionsResponse{Revision: f.revision, Permissions: []*polderv1.Permission{{Subject: "user:eve", Verbs: []string{"view", "run"}, Role: "corp/**"}}}), nil
}

func (f fakeAccess) SetPermissions(_ context.Context, r *connect.Request[polderv1.SetPermissionsRequest]) (*connect.Response[polderv1.SetPermissionsResponse], error) {
	if r.Msg.BaseRevision != f.revision {
		return nil, connect.NewError(connect.CodeAborted, errors.New("changed by somebody else"))
	}
	return connect.NewResponse(&polderv1.SetPermissionsResponse{Revision: f.revision + 1}), nil
}

type fakeAudit struct {
	polderv1connect.UnimplementedAuditServiceHandler
	*fake
}

func (f fakeAudit) List(_ context.Context, r *connect.Request[polderv1.AuditServiceListRequest]) (*connect.Response[polderv1.AuditServiceListResponse], error) {
	var match []*polderv1.AuditEntry
	for i, outcome := range []string{"allowed", "denied", "allowed", "failed"} {
		if r.Msg.Outcome == "" || r.Msg.Outcome == outcome {
			match = append(match, &polderv1.AuditEntry{Time: ago(time.Duration(i) * time.Minute), Who: "user:eve", Verb: "run", Object: fmt.Sprintf("task/web-%d", i),
				Role: "corp/online", Outcome: outcome, Reason: "because\x1b[31m", Request: "r1", Remote: "10.0.0.1:1"})
		}
	}
	items, next := cut(match, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.AuditServiceListResponse{Entries: items[:min(len(items), int(r.Msg.PageSize))], NextPageToken: next}), nil
}

type fakeDoor struct {
	polderv1connect.UnimplementedDoorServiceHandler
	*fake
}

func (f fakeDoor) List(context.Context, *connect.Request[polderv1.DoorServiceListRequest]) (*connect.Response[polderv1.DoorServiceListResponse], error) {
	return connect.NewResponse(&polderv1.DoorServiceListResponse{Doors: []*polderv1.Door{
		{Name: "native", State: "on", Requests: 1234, Refused: 2, Rate: 3.25, Refusals: []*polderv1.RefusedCall{{Call: "polder.v1.NodeService/Get", Status: "not_found", Count: 2, Last: ago(time.Minute)}}},
		{Name: "mesos", State: "on", Address: "127.0.0.1:5050"},
		{Name: "kubernetes", State: "off", Off: "Nobody opened it."},
	}}), nil
}

func (f fakeDoor) Frameworks(context.Context, *connect.Request[polderv1.DoorServiceFrameworksRequest]) (*connect.Response[polderv1.DoorServiceFrameworksResponse], error) {
	return connect.NewResponse(&polderv1.DoorServiceFrameworksResponse{Frameworks: []*polderv1.Framework{
		{Id: "f-1", Name: "marathon", Door: "mesos", Principal: "eve", Connected: true, Tasks: 2, Roles: []*polderv1.FrameworkRole{
			{Role: "corp/online", Held: map[string]string{"cpu": "2"}, Offered: map[string]string{"cpu": "1", "memory": "1Gi"}},
			{Role: "play", Suppressed: true, RefusedNodes: 3, RefusedUntil: timestamppb.New(noon.Add(5 * time.Second))},
		}},
		{Id: "f-2", Name: "spark", Door: "mesos", AwaySince: ago(90 * time.Second), Roles: []*polderv1.FrameworkRole{{Role: "play"}}},
	}}), nil
}
