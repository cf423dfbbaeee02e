package server

import (
	"context"
	"errors"
	"slices"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// nodes serves NodeService.
type nodes struct{ *leader }

var nodeStates = []string{"", "ready", "cordoned", "draining", "unreachable"}

func (s nodes) List(_ context.Context, req *connect.Request[polderv1.NodeServiceListRequest]) (*connect.Response[polderv1.NodeServiceListResponse], error) {
	m := req.Msg
	if !slices.Contains(nodeStates, m.State) {
		return nil, invalid("state", "%q is none of ready, cordoned, draining, unreachable", clip(m.State, 40))
	}
	fits, err := matcherOf(m.Constraints)
	if err != nil {
		return nil, err
	}
	p := s.board.look()
	out, next, err := pageOf(m, p.nodes.After, func(n nodeRow) bool {
		return (m.State == "" || n.State == m.State) && (m.Pool == "" || n.Pool == m.Pool) && fits(n)
	}, nodeProto)
	return connect.NewResponse(&polderv1.NodeServiceListResponse{Nodes: out, NextPageToken: next, Revision: p.revision}), err
}

// matcherOf reads constraints on attributes.
func matcherOf(texts []string) (func(nodeRow) bool, error) {
	if len(texts) > maxList {
		return nil, invalid("constraints", "%d constraints, at most %d", len(texts), maxList)
	}
	var all []placement.Constraint
	for i, text := range texts {
		c, err := placement.ParseConstraint(text)
		if err != nil {
			return nil, invalid(role.JoinIndex("constraints", i), "%v", err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return func(nodeRow) bool { return true }, nil
	}
	index := placement.NewIndex(resource.NewKinds(), placement.Options{})
	index.Set(0, placement.Node{})
	shape, err := index.Compile(placement.Shape{Constraints: all})
	if err != nil {
		return nil, invalid("constraints", "%v", err)
	}
	return func(n nodeRow) bool {
		index.Set(0, placement.Node{Name: n.Name, Attributes: n.Attributes, Schedulable: true})
		ok, _ := index.Fits(shape, 0)
		return ok
	}, nil
}

func (s nodes) Get(_ context.Context, req *connect.Request[polderv1.NodeServiceGetRequest]) (*connect.Response[polderv1.Node], error) {
	return s.show(req.Msg.Name)
}

func (s nodes) show(name string) (*connect.Response[polderv1.Node], error) {
	row, ok := s.board.look().nodes.Get(name)
	if !ok {
		return nil, noNode(name)
	}
	return connect.NewResponse(nodeProto(row)), nil
}

func noNode(name string) error {
	return refused("NotFound", "list the nodes there are", "no node is called %q", clip(name, 200))
}

func (s nodes) Cordon(ctx context.Context, req *connect.Request[polderv1.CordonRequest]) (*connect.Response[polderv1.Node], error) {
	err := s.change(ctx, func(t *turn) error {
		_, err := t.step(cluster.Cordon{Node: req.Msg.Name, Cordoned: req.Msg.Cordoned})
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.show(req.Msg.Name)
}

func (s nodes) Drain(ctx context.Context, req *connect.Request[polderv1.DrainRequest]) (*connect.Response[polderv1.Node], error) {
	deadline, err := durationCore(req.Msg.Deadline, "deadline")
	if err != nil {
		return nil, err
	}
	event := cluster.Drain{Node: req.Msg.Name, Force: req.Msg.Force}
	if deadline != nil {
		event.Deadline = *deadline
	}
	if err := s.change(ctx, func(t *turn) error { _, err := t.step(event); return err }); err != nil {
		return nil, err
	}
	return s.show(req.Msg.Name)
}

// Remove forgets a node. One that is connected is not gone: removing it would start its tasks twice. One that has volumes or reservations is asked for
// twice.
func (s nodes) Remove(ctx context.Context, req *connect.Request[polderv1.NodeServiceRemoveRequest]) (*connect.Response[polderv1.NodeServiceRemoveResponse], error) {
	name := req.Msg.Name
	err := s.change(ctx, func(t *turn) error {
		if t.sessions[name] != nil {
			return refused("Connected", "drain it and stop its agent first", "node %s is connected", name)
		}
		if n, _ := t.cluster.Node(name); n.Volumes+n.Reservations > 0 && !req.Msg.LoseVolumes {
			return refused("HasVolumes", "bring it back and delete them, or say that they are lost: lose_volumes, or --lose-volumes of polder node remove",
				"node %s has %s", name, staysText(n.Volumes, n.Reservations))
		}
		delete(t.lostAt, name)
		delete(t.awaited, name)
		_, err := t.step(cluster.RemoveNode{Node: name, LoseVolumes: req.Msg.LoseVolumes})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.book.Forget(ctx, auth.Identity{Kind: auth.Agent, Name: name}); err != nil && !errors.Is(err, auth.ErrNotFound) {
		return nil, err
	}
	return connect.NewResponse(&polderv1.NodeServiceRemoveResponse{}), nil
}
