package server

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// reservationRow is a reservation.
type reservationRow struct{ keptRow }

// reservationName is the name of the reservation whose lease has this payload; others have none.
func reservationName(payload any) string { return specOf(payload).GetReserves().GetName() }

// reservation finds a reservation in the picture.
func (p *picture) reservation(name string) (reservationRow, bool) {
	ask, ok := p.reservations.Get(name)
	if !ok {
		return reservationRow{}, false
	}
	r := reservationRow{p.keptOf(ask)}
	return r, r.known()
}

// reservation finds a reservation as the requests before in this turn have left it.
func (t *turn) reservation(name string) (reservationRow, bool) {
	ask, ok := t.working.reservations.Get(name)
	if !ok {
		return reservationRow{}, false
	}
	r := reservationRow{t.keptOf(ask)}
	return r, r.known()
}

func noReservation(name string) error {
	return refused("NotFound", "list the reservations there are, or create it", "no reservation is called %q", clip(name, 200))
}

// whole is all of it, by kind.
func (r reservationRow) whole() resource.Resources {
	if r.lease == nil {
		return r.asked.Shape.Resources
	}
	out := byKind(r.lease.Resources)
	maps.DeleteFunc(out, func(_ string, x resource.Amount) bool { return x == 0 })
	return out
}

func (r reservationRow) pool() string { return r.spec().Pool }

// carving is what is carved out of one reservation.
type carving struct {
	held resource.Resources // by kind
	by   []string           // tasks, and asks of which something waits
}

// carvings adds up what is carved out of reservations, by their leases.
func (p *picture) carvings() map[string]*carving {
	if p.reservations.Len() == 0 {
		return nil
	}
	out := map[string]*carving{}
	of := func(from string) *carving {
		if out[from] == nil {
			out[from] = &carving{held: resource.Resources{}}
		}
		return out[from]
	}
	for id, row := range p.tasks.All() {
		if row.Shape.From == "" || row.State.Terminal() {
			continue
		}
		c := of(row.Shape.From)
		c.by = append(c.by, id)
		for kind, x := range byKind(row.Resources) {
			c.held[kind] += x
		}
	}
	for id, row := range p.asks.All() {
		if row.Shape.From != "" && row.State == "open" && row.Pending > 0 {
			c := of(row.Shape.From)
			c.by = append(c.by, id)
		}
	}
	return out
}

// proto is a reservation as somebody may see it.
func (r reservationRow) proto(used map[string]*carving) *polderv1.Reservation {
	spec, whole, left := r.spec(), r.whole(), resource.Resources{}
	out := &polderv1.Reservation{
		Name: spec.Reserves.Name, Role: r.role(), Node: r.node(), Pool: r.pool(), State: r.state(), Task: leaseOf(r.ask), Labels: spec.Labels,
		Resources: amountsProto(whole), Carved: map[string]string{},
	}
	c := used[out.Task]
	if c != nil {
		out.Carved, out.UsedBy = amountsProto(c.held), c.by
	}
	for kind, x := range whole {
		if c != nil {
			x -= c.held[kind]
		}
		left[kind] = x
	}
	out.Free = amountsProto(left)
	if r.asked != nil {
		out.Created, out.CreatedBy = timeProto(r.asked.Submitted), r.asked.By
	}
	if r.lease == nil {
		out.Reason = reasonProto(r.asked.AskView.Reason)
	}
	return out
}

// carve has a task carved out of the reservation it names: on that one's lease, in its pool, and not preemptible.
func (p *picture) carve(s *polderv1.TaskSpec, path, at string) error {
	if s.Reservation == "" {
		if s.CarvedFrom != "" {
			return invalid(role.JoinKey(at, "carved_from"), "the server sets it: name the reservation in the field reservation")
		}
		return nil
	}
	r, ok := p.reservation(s.Reservation)
	field := role.JoinKey(at, "reservation")
	switch {
	case !ok:
		return noReservation(s.Reservation)
	case r.role() != path:
		return invalid(field, "reservation %s is of another role", s.Reservation)
	case s.Pool != "" && s.Pool != r.pool():
		return invalid(field, "reservation %s is in pool %q, not in %q", s.Reservation, r.pool(), s.Pool)
	case s.GetPreemptible():
		return invalid(field, "what is carved out of a reservation is not preemptible: its role pays for the reservation")
	case r.lease == nil:
		why := "for room"
		if reason := r.asked.AskView.Reason.Message; reason != "" {
			why += ": " + strings.TrimSuffix(reason, ".")
		}
		return refused("ReservationWaiting", "try again when it is ready; polder reservation get "+s.Reservation, "reservation %s still waits %s", s.Reservation, why)
	}
	s.Pool, s.Preemptible, s.CarvedFrom = r.pool(), proto.Bool(false), r.lease.Task
	return nil
}

// usersOf names what is carved out of a reservation, for sentences.
func (p *picture) usersOf(r reservationRow) []string {
	if c := p.carvings()[leaseOf(r.ask)]; c != nil {
		return slices.Clip(c.by)
	}
	return nil
}
