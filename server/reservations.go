package server

import (
	"context"
	"maps"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// reservationRuntime is the runtime of the leases of reservations. No node has it, and none needs to.
const reservationRuntime = "reservation"

// reservations serves ReservationService.
type reservations struct{ *leader }

// Create asks for a reservation, or commits it to the node that is wanted, and answers when that is durable.
func (s reservations) Create(ctx context.Context, req *connect.Request[polderv1.ReservationServiceCreateRequest]) (*connect.Response[polderv1.Reservation], error) {
	m, c := req.Msg, callerOf(ctx)
	if !validVolumeName(m.Name) {
		return nil, invalid("name", "%q: use up to 120 letters, digits, '_', '.' and '-', a letter or digit first", clip(m.Name, 200))
	}
	wanted, err := reservedAmounts(m.Resources)
	if err != nil {
		return nil, err
	}
	spec := &polderv1.TaskSpec{
		Runtime: reservationRuntime, Reserves: &polderv1.ReservationLease{Name: m.Name}, Resources: amountsProto(wanted),
		Pool: m.Pool, Constraints: m.Constraints, Labels: m.Labels, Preemptible: proto.Bool(false), Requeue: proto.Bool(false),
	}
	if _, err := shapeOf(spec, ""); err != nil {
		return nil, err
	}
	err = s.change(ctx, func(t *turn) error {
		if r, ok := t.reservation(m.Name); ok {
			return r.differs(m, wanted)
		}
		prefix := reservationRuntime
		if validAskName(m.Name) {
			prefix = m.Name // so that sentences about its lease name it
		}
		ask, err := t.keep(prefix, m.Role, m.Node, spec, c.id.String())
		if err == nil {
			t.working.reservations.Set(m.Name, ask)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.show(m.Name)
}

// reservedAmounts reads what is to be reserved. Some of each kind that is named must be.
func reservedAmounts(m map[string]string) (resource.Resources, error) {
	out, err := kindAmounts(m, "resources")
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, invalid("resources", "say what to reserve, as in cpu: 2")
	}
	for _, kind := range out.Names() {
		if out[kind] <= 0 {
			return nil, invalid(role.JoinKey("resources", kind), "%s is nothing to reserve", m[kind])
		}
	}
	return out, nil
}

// differs refuses a reservation that is to be made and is there already as another one.
func (r reservationRow) differs(m *polderv1.ReservationServiceCreateRequest, wanted resource.Resources) error {
	var what string
	switch whole := r.whole(); {
	case r.role() != m.Role:
		what = "of another role"
	case !maps.Equal(whole, wanted):
		what = "of " + whole.String() + ", not " + wanted.String()
	case m.Node != "" && r.node() == "":
		what = "and waits for room on any node"
	case m.Node != "" && r.node() != m.Node:
		what = "on node " + r.node() + ", not " + m.Node
	default:
		return nil
	}
	return refused("AlreadyExists", "choose another name, or delete that one first", "there is a reservation %s already, %s", m.Name, what)
}

// Get returns a reservation; if the caller wants that, once it waits no longer.
func (s reservations) Get(ctx context.Context, req *connect.Request[polderv1.ReservationServiceGetRequest]) (*connect.Response[polderv1.Reservation], error) {
	name := req.Msg.Name
	if req.Msg.UntilReady {
		err := s.until(ctx, func(p *picture) (keptRow, bool) { r, ok := p.reservation(name); return r.keptRow, ok }, func(p *picture, ask string) error {
			return refused("ReservationEnded", "create it again", "there is no reservation %s any more: %s", name, p.endedWhy(ask))
		})
		if err != nil {
			return nil, err
		}
	}
	return s.show(name)
}

func (s reservations) show(name string) (*connect.Response[polderv1.Reservation], error) {
	p := s.board.look()
	r, ok := p.reservation(name)
	if !ok {
		return nil, noReservation(name)
	}
	return connect.NewResponse(r.proto(p.carvings())), nil
}

// List lists the reservations that the caller may view.
func (s reservations) List(ctx context.Context, req *connect.Request[polderv1.ReservationServiceListRequest]) (*connect.Response[polderv1.ReservationServiceListResponse], error) {
	m, p := req.Msg, s.board.look()
	viewer, used := s.viewer(callerOf(ctx)), p.carvings()
	find := func(ask string) reservationRow { return reservationRow{p.keptOf(ask)} }
	out, next, err := pageOf(m, p.reservations.After, func(ask string) bool {
		r := find(ask)
		return (m.Node == "" || r.node() == m.Node) && under(r.role(), m.Role) && viewer.mayView(r.role())
	}, func(ask string) *polderv1.Reservation { return find(ask).proto(used) })
	return connect.NewResponse(&polderv1.ReservationServiceListResponse{Reservations: out, NextPageToken: next, Revision: p.revision}), err
}

// Resize makes a reservation larger or smaller.
func (s reservations) Resize(ctx context.Context, req *connect.Request[polderv1.ReservationServiceResizeRequest]) (*connect.Response[polderv1.Reservation], error) {
	name := req.Msg.Name
	wanted, err := kindAmounts(req.Msg.Resources, "resources")
	if err != nil {
		return nil, err
	}
	if len(wanted) == 0 {
		return nil, invalid("resources", "say what it is to hold")
	}
	err = s.change(ctx, func(t *turn) error {
		r, ok := t.reservation(name)
		switch {
		case !ok:
			return noReservation(name)
		case r.lease == nil:
			return refused("ReservationWaiting", "delete it and create it with what it needs", "reservation %s waits for room", name)
		}
		_, err := t.step(cluster.Resize{Task: r.lease.Task, Resources: wanted})
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.show(name)
}

// Delete ends a reservation nothing is carved out of.
func (s reservations) Delete(ctx context.Context, req *connect.Request[polderv1.ReservationServiceDeleteRequest]) (*connect.Response[polderv1.ReservationServiceDeleteResponse], error) {
	name := req.Msg.Name
	err := s.change(ctx, func(t *turn) error {
		r, ok := t.reservation(name)
		if !ok {
			return noReservation(name)
		}
		if users := t.working.usersOf(r); len(users) > 0 {
			return refused("ReservationInUse", "end them first", "reservation %s is used by %s", name, some(users))
		}
		if r.lease == nil {
			_, err := t.step(cluster.Cancel{Ask: r.ask})
			return err
		}
		_, err := t.step(cluster.Kill{Task: r.lease.Task})
		return err
	})
	return connect.NewResponse(&polderv1.ReservationServiceDeleteResponse{}), err
}
