package server

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/resource"
)

// engines serves EngineService.
type engines struct{ *leader }

// List shows the nodes with an engine. Those where the needs are free come first, and among them the emptiest.
func (s engines) List(_ context.Context, req *connect.Request[polderv1.EngineServiceListRequest]) (*connect.Response[polderv1.EngineServiceListResponse], error) {
	need, err := kindAmounts(req.Msg.Resources, "resources")
	if err != nil {
		return nil, err
	}
	fits, err := matcherOf(append(slices.Clone(req.Msg.Constraints), runtimeAttribute+"docker exists"))
	if err != nil {
		return nil, err
	}
	type choice struct {
		node *polderv1.EngineNode
		left float64
	}
	var found []choice
	for _, n := range s.board.look().nodes.All() {
		if n.Pool != req.Msg.Pool || !fits(n) {
			continue
		}
		left := leftOver(n, need)
		found = append(found, choice{&polderv1.EngineNode{
			Name: n.Name, State: n.State, Fits: n.State == "ready" && left >= 0, Attributes: n.Attributes,
			Capacity: amountsProto(n.Total), Ports: n.Ports.String(),
		}, left})
	}
	slices.SortStableFunc(found, func(a, b choice) int {
		if a.node.Fits != b.node.Fits {
			return map[bool]int{true: -1, false: 1}[a.node.Fits]
		}
		return cmp.Compare(b.left, a.left)
	})
	out := &polderv1.EngineServiceListResponse{}
	for _, c := range found {
		out.Nodes = append(out.Nodes, c.node)
	}
	return connect.NewResponse(out), nil
}

// leftOver is the smallest share of a needed kind that stays free on a node, negative when the need does not fit.
func leftOver(n nodeRow, need resource.Resources) float64 {
	left := math.Inf(1)
	for name, amount := range need {
		full := resource.JoinName(n.Pool, name)
		have := n.Total[full]
		if have <= 0 {
			return -1
		}
		left = min(left, float64(n.Available[full]-amount)/float64(have))
	}
	return left
}

// Create makes a container on a node.
func (s engines) Create(ctx context.Context, req *connect.Request[polderv1.EngineServiceCreateRequest]) (*connect.Response[polderv1.EngineServiceCreateResponse], error) {
	out := &polderv1.EngineServiceCreateResponse{}
	c := proto.CloneOf(req.Msg.Container)
	c.Role = req.Msg.Role
	err := s.join(ctx, req.Msg.Node, &polderv1.OpenRelay{Create: c}, func(x *relay) error {
		return x.output(ctx, s.leader, func(m *polderv1.RelayUp) error {
			out.Status = max(out.Status, m.Status)
			out.Body = append(out.Body, m.Data...)
			return nil
		})
	})
	if err == nil && out.Status == 0 {
		err = refused("Relay", "", "node %s did not say what became of the container", req.Msg.Node)
	}
	return connect.NewResponse(out), err
}

// Dial joins the caller with the engine of a node.
func (s engines) Dial(ctx context.Context, stream *connect.BidiStream[polderv1.EngineServiceDialRequest, polderv1.EngineServiceDialResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	callerOf(ctx).patient = true
	return s.join(ctx, first.Start.Node, &polderv1.OpenRelay{Engine: &polderv1.EngineOpen{}}, func(x *relay) error {
		return s.pipe(ctx, x, stream)
	})
}

func (s engines) pipe(ctx context.Context, x *relay, stream *connect.BidiStream[polderv1.EngineServiceDialRequest, polderv1.EngineServiceDialResponse]) error {
	var input sync.WaitGroup
	over := make(chan struct{})
	defer input.Wait()
	defer callerOf(ctx).unread()
	defer close(over)
	input.Go(func() {
		x.input(over, func() (*polderv1.RelayDown, error) {
			m, err := stream.Receive()
			if err != nil {
				return nil, err
			}
			return &polderv1.RelayDown{Stdin: m.Data, CloseStdin: m.CloseWrite}, nil
		})
	})
	return x.output(ctx, s.leader, func(m *polderv1.RelayUp) error {
		if len(m.Data) == 0 {
			return nil
		}
		return stream.Send(&polderv1.EngineServiceDialResponse{Data: m.Data})
	})
}

// Who makes leases of pods: the Kubernetes door, and who else may run work everywhere.
const (
	podRuntime = "kube"
	everywhere = "?" // is no role's path: only a rule for all roles covers it
)

// mayStart refuses what the spec of a task asks for beyond running it. A pod's lease names the pod in a label, and on the node the pod's
// logs, commands in it and its end are those of the lease, whoever the pod belongs to.
func mayStart(l *leader, c *caller, s *polderv1.TaskSpec, role string) error {
	if s.GetRuntime() == podRuntime && l.book.Policy().Check(c.id, auth.Run, everywhere) != nil {
		return fmt.Errorf("%w: %s may not make the lease of a pod: that takes the verb run on all roles, a rule for **, as the Kubernetes door has; make a pod", auth.ErrDenied, c.id)
	}
	return mayContain(l, c, s.GetContainer(), role)
}

// mayContain refuses a container in a task spec that no door has checked, or that reaches further than the caller may.
func mayContain(l *leader, c *caller, container *polderv1.Container, role string) error {
	if container == nil {
		return nil
	}
	if c.door == "" {
		return fmt.Errorf("%w: only a door inside the server may say which container runs a task", auth.ErrDenied)
	}
	policy := l.book.Policy()
	if err := policy.Check(c.id, auth.Run, role); err != nil || !container.Host {
		return err
	}
	return policy.Check(c.id, auth.Host, role)
}

// engineCreator permits the container that the request makes.
func engineCreator(l *leader, c *caller, m proto.Message) error {
	req := m.(*polderv1.EngineServiceCreateRequest)
	if req.Container == nil {
		return invalid("container", "say what to make")
	}
	if _, err := workRole(req.Role); err != nil {
		return err
	}
	return mayContain(l, c, req.Container, req.Role)
}

// engineDialler permits what the start of a dial says it is for.
func engineDialler(l *leader, c *caller, m proto.Message) error {
	start := m.(*polderv1.EngineServiceDialRequest).Start
	if start == nil {
		return invalid("start", "the first message must say which node and what for")
	}
	switch verb := auth.Verb(start.Verb); {
	case !slices.Contains([]auth.Verb{auth.View, auth.Logs, auth.Run, auth.Exec, auth.Host, auth.Node}, verb):
		return invalid("start.verb", "%q is none of view, logs, run, exec, host, node", clip(start.Verb, 40))
	case start.Role == "" && verb == auth.View:
		return viewsAny(l, c, m)
	default:
		return l.book.Policy().Check(c.id, verb, start.Role)
	}
}

func dialChanges(m proto.Message) bool {
	start := m.(*polderv1.EngineServiceDialRequest).Start
	return start.GetVerb() != string(auth.View) && start.GetVerb() != string(auth.Logs)
}

func dialObject(m proto.Message) string {
	start := m.(*polderv1.EngineServiceDialRequest).Start
	return clip(strings.Join([]string{"engine/" + start.GetNode(), start.GetRole(), start.GetAction()}, " "), 300)
}

func createObject(m proto.Message) string {
	req := m.(*polderv1.EngineServiceCreateRequest)
	return clip(strings.Join([]string{"engine/" + req.GetNode(), req.GetRole(), "create container " + req.GetContainer().GetName()}, " "), 300)
}
