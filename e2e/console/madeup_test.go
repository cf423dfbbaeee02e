//go:build scale

package console

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

const (
	madeNodes   = 10_000
	madeTasks   = 100_000
	madeRoles   = 200
	madeAsks    = 500
	madeNotices = 1000
	perSecond   = 50
)

// madeUp serves a pool that is computed from numbers and the time, so that it costs next to nothing.
type madeUp struct{ began time.Time }

func (m *madeUp) register(mux *http.ServeMux) {
	mux.Handle(api.NewAccessServiceHandler(madeAccess{}))
	mux.Handle(api.NewRoleServiceHandler(madeRole{m: m}))
	mux.Handle(api.NewNodeServiceHandler(madeNode{m: m}))
	mux.Handle(api.NewClaimServiceHandler(madeClaim{m: m}))
	mux.Handle(api.NewTaskServiceHandler(madeTask{m: m}))
	mux.Handle(api.NewAskServiceHandler(madeAsk{m: m}))
	mux.Handle(api.NewNoticeServiceHandler(madeNotice{m: m}))
	mux.Handle(api.NewEventServiceHandler(madeEvent{m: m}))
	mux.Handle(api.NewPlanServiceHandler(api.UnimplementedPlanServiceHandler{}))
	mux.Handle(api.NewLeaseServiceHandler(api.UnimplementedLeaseServiceHandler{}))
}

// now counts the changes since the beginning.
func (m *madeUp) now() int64 { return int64(time.Since(m.began).Seconds() * perSecond) }

// every calls f for each change until ctx ends.
func (m *madeUp) every(ctx context.Context, f func(n int64) error) error {
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	for n := m.now(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for ; n < m.now(); n++ {
			if err := f(n); err != nil {
				return err
			}
		}
	}
}

func cpu(n int64) map[string]string {
	return map[string]string{"cpu": fmt.Sprint(n), "memory": fmt.Sprintf("%dGi", 4*n)}
}

type madeAccess struct {
	api.UnimplementedAccessServiceHandler
}

func (madeAccess) WhoAmI(context.Context, *connect.Request[polderv1.WhoAmIRequest]) (*connect.Response[polderv1.WhoAmIResponse], error) {
	return connect.NewResponse(&polderv1.WhoAmIResponse{Kind: "user", Name: "ann", Cluster: "made-up"}), nil
}

type madeRole struct {
	api.UnimplementedRoleServiceHandler
	m *madeUp
}

func (r madeRole) role(i int) *polderv1.RoleStatus {
	path, g := fmt.Sprintf("dep-%d", i/10), int64(6400)
	if i%10 > 0 {
		path, g = fmt.Sprintf("dep-%d/team-%d", i/10, i%10), 640
	}
	used := g/2 + (r.m.now()/perSecond*7+int64(i)*13)%g
	return &polderv1.RoleStatus{
		Effective: &polderv1.EffectiveRole{Path: path, Guarantee: cpu(g), Weight: 1, ReclaimGrace: durationpb.New(30 * time.Second), LendGrace: durationpb.New(time.Minute), ReclaimBound: durationpb.New(65 * time.Second)},
		Usage:     cpu(used), Funded: cpu(min(used, g)), Borrowed: cpu(max(0, used-g)), Lent: cpu(max(0, g-used) / 2), Demand: cpu(used), Entitlement: cpu(used), Running: 500, Pending: 3,
	}
}

func (r madeRole) List(_ context.Context, q *connect.Request[polderv1.RoleServiceListRequest]) (*connect.Response[polderv1.RoleServiceListResponse], error) {
	out := &polderv1.RoleServiceListResponse{Revision: r.m.now()}
	from, to, next := pageOf(q.Msg.PageSize, q.Msg.PageToken, madeRoles)
	for i := from; i < to; i++ {
		out.Roles = append(out.Roles, r.role(i))
	}
	out.NextPageToken = next
	return connect.NewResponse(out), nil
}

type madeNode struct {
	api.UnimplementedNodeServiceHandler
	m *madeUp
}

func (m *madeUp) node(i, n int64) *polderv1.Node {
	used := (i*7 + n) % 17
	state := "ready"
	if i%97 == 0 {
		state = "cordoned"
	}
	return &polderv1.Node{Name: fmt.Sprintf("sim-%d", i+1), State: state, Capacity: cpu(16), Used: cpu(used), Available: cpu(16 - used), Tasks: int32(used),
		Attributes: map[string]string{"zone": string(rune('a' + i%3)), "rack": fmt.Sprint("r", i/40)}, LastSeen: timestamppb.Now(), Runtimes: []string{"process"}}
}

func (r madeNode) List(_ context.Context, q *connect.Request[polderv1.NodeServiceListRequest]) (*connect.Response[polderv1.NodeServiceListResponse], error) {
	out := &polderv1.NodeServiceListResponse{Revision: r.m.now()}
	from, to, next := pageOf(q.Msg.PageSize, q.Msg.PageToken, madeNodes)
	for i := from; i < to; i++ {
		out.Nodes = append(out.Nodes, r.m.node(int64(i), 0))
	}
	out.NextPageToken = next
	return connect.NewResponse(out), nil
}

type madeClaim struct {
	api.UnimplementedClaimServiceHandler
	m *madeUp
}

func (r madeClaim) Watch(ctx context.Context, _ *connect.Request[polderv1.ClaimServiceWatchRequest], s *connect.ServerStream[polderv1.ClaimServiceWatchResponse]) error {
	return r.m.every(ctx, func(n int64) error {
		return s.Send(&polderv1.ClaimServiceWatchResponse{Revision: n, Nodes: []*polderv1.Node{r.m.node(n*31%madeNodes, n)}})
	})
}

type madeTask struct {
	api.UnimplementedTaskServiceHandler
	m *madeUp
}

func (r madeTask) List(_ context.Context, q *connect.Request[polderv1.TaskServiceListRequest]) (*connect.Response[polderv1.TaskServiceListResponse], error) {
	out := &polderv1.TaskServiceListResponse{Revision: r.m.now()}
	from, to, next := pageOf(q.Msg.PageSize, q.Msg.PageToken, madeTasks)
	for i := from; i < to; i++ {
		out.Tasks = append(out.Tasks, &polderv1.Task{Id: fmt.Sprintf("job-%d.%d", i/100, i%100), Ask: fmt.Sprint("job-", i/100), Role: fmt.Sprintf("dep-%d/team-%d", i%20, 1+i%9), Node: fmt.Sprintf("sim-%d", i/10+1),
			State: polderv1.TaskState_TASK_STATE_RUNNING, Resources: cpu(1), Funding: "borrowed", Created: timestamppb.New(r.m.began), Started: timestamppb.New(r.m.began), Runtime: "process"})
	}
	out.NextPageToken = next
	return connect.NewResponse(out), nil
}

type madeAsk struct {
	api.UnimplementedAskServiceHandler
	m *madeUp
}

func (r madeAsk) List(_ context.Context, q *connect.Request[polderv1.AskServiceListRequest]) (*connect.Response[polderv1.AskServiceListResponse], error) {
	out := &polderv1.AskServiceListResponse{Revision: r.m.now()}
	from, to, next := pageOf(q.Msg.PageSize, q.Msg.PageToken, madeAsks)
	for i := from; i < to; i++ {
		out.Asks = append(out.Asks, &polderv1.Ask{Id: fmt.Sprint("job-", i), State: "open", Pending: 3, Running: 97, Submitted: timestamppb.New(r.m.began),
			Spec:   &polderv1.AskSpec{Role: fmt.Sprintf("dep-%d/team-%d", i%20, 1+i%9), Count: 100, Task: &polderv1.TaskSpec{Resources: cpu(4)}},
			Reason: &polderv1.Reason{Code: "NoNode", Message: "0 of 10,000 nodes fit: 9,896 lack cpu", UnblockedBy: "a task ends or a node that fits joins"}})
	}
	out.NextPageToken = next
	return connect.NewResponse(out), nil
}

type madeNotice struct {
	api.UnimplementedNoticeServiceHandler
	m *madeUp
}

func (m *madeUp) notice(n int64) *polderv1.Notice {
	i := n % madeNotices
	return &polderv1.Notice{Id: fmt.Sprint("n-", i), Task: fmt.Sprintf("job-%d.%d", i, n%100), Role: fmt.Sprint("dep-", i%20), Node: fmt.Sprintf("sim-%d", i+1), Claimant: "dep-1/team-1: web-1",
		Amount: cpu(4), Issued: timestamppb.New(m.began.Add(time.Duration(n) * time.Second / perSecond)), Deadline: timestamppb.New(time.Now().Add(time.Minute)), State: "open", Kind: "claim", Funding: "borrowed"}
}

func (r madeNotice) List(_ context.Context, q *connect.Request[polderv1.NoticeServiceListRequest]) (*connect.Response[polderv1.NoticeServiceListResponse], error) {
	out := &polderv1.NoticeServiceListResponse{Revision: r.m.now()}
	from, to, next := pageOf(q.Msg.PageSize, q.Msg.PageToken, madeNotices)
	for i := from; i < to; i++ {
		out.Notices = append(out.Notices, r.m.notice(int64(i)))
	}
	out.NextPageToken = next
	return connect.NewResponse(out), nil
}

func (r madeNotice) Watch(ctx context.Context, _ *connect.Request[polderv1.NoticeServiceWatchRequest], s *connect.ServerStream[polderv1.NoticeServiceWatchResponse]) error {
	return r.m.every(ctx, func(n int64) error {
		return s.Send(&polderv1.NoticeServiceWatchResponse{Revision: n, Notice: r.m.notice(n)})
	})
}

type madeEvent struct {
	api.UnimplementedEventServiceHandler
	m *madeUp
}

func (m *madeUp) event(n int64) *polderv1.Event {
	id := fmt.Sprintf("job-%d.%d", n%1000, n%100)
	return &polderv1.Event{Revision: n + 1, Time: timestamppb.Now(), Kind: "TaskStarted", Subject: id, Role: fmt.Sprint("dep-", n%20), Node: fmt.Sprintf("sim-%d", n%madeNodes+1), Message: id + " runs on a node"}
}

func (r madeEvent) List(context.Context, *connect.Request[polderv1.EventServiceListRequest]) (*connect.Response[polderv1.EventServiceListResponse], error) {
	out := &polderv1.EventServiceListResponse{Revision: r.m.now()}
	for n := max(0, r.m.now()-1000); n < r.m.now(); n++ {
		out.Events = append(out.Events, r.m.event(n))
	}
	return connect.NewResponse(out), nil
}

func (r madeEvent) Watch(ctx context.Context, _ *connect.Request[polderv1.EventServiceWatchRequest], s *connect.ServerStream[polderv1.Event]) error {
	return r.m.every(ctx, func(n int64) error { return s.Send(r.m.event(n)) })
}
