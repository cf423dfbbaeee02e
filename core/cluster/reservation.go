package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
)

// A reservation is a volume with Shape.Reserve: all that is promised to a volume, for amounts of any kind, with nothing of it on the node.
// Tasks and volumes of its role that name it in Shape.From are carved out of it. Ledger and node have the reservation booked, as a
// whole, for as long as it is there; what is carved out of it is booked as nothing, and is counted here. So nothing comes free when a
// carved task ends, and nobody has to be kept out in between.

// reserves reports whether a task is a reservation.
func (t *task) reserves() bool { return t.shape.Reserve }

// keeping is what sentences call a volume: a volume or a reservation.
func (s *Shape) keeping() string {
	if s.Reserve {
		return "reservation"
	}
	return "volume"
}

// uncarvable withdraws what waits for a reservation that was given up with its node.
func (c *Cluster) uncarvable(id string) {
	waits := []*ask{}
	for _, a := range c.asks {
		if a.Shape.From == id && !a.Cancelled {
			waits = append(waits, a)
		}
	}
	slices.SortFunc(waits, func(a, b *ask) int { return cmp.Compare(a.seq, b.seq) })
	for _, a := range waits {
		c.withdraw(a, true, "; reservation "+id+" is gone")
	}
}

// carved reports whether what is started so is carved out of a reservation.
func (s *Shape) carved() bool { return s.From != "" }

// holds is what a task may use: what is booked for it, or what is carved out of its reservation.
func (t *task) holds() resource.Vector { return t.need.Plus(t.carve) }

// carveOut counts what a reservation gives, or gets back.
func (c *Cluster) carveOut(from string, x resource.Vector) {
	c.carved[from] = c.carved[from].Plus(x)
}

func (c *Cluster) putBack(from string, x resource.Vector) {
	if left := c.carved[from].Minus(x); left.IsZero() {
		delete(c.carved, from)
	} else {
		c.carved[from] = left
	}
}

// reservation is one that is there; nil when there is none under that name.
func (c *Cluster) reservation(id string) *task {
	if t := c.task(id); t != nil && t.reserves() {
		return t
	}
	return nil
}

// uncarved is what a reservation has left.
func (c *Cluster) uncarved(r *task) resource.Vector { return r.need.Minus(c.carved[r.id]) }

// admitReservation refuses a malformed reservation, or something malformed that is to be carved out of one.
func (c *Cluster) admitReservation(a *ask) *Refusal {
	s := &a.Shape
	switch {
	case s.Reserve && (!s.Volume || s.carved() || len(s.Ports) > 0):
		return refuse("InvalidArgument", "", "ask %s: a reservation is kept like a volume, has no ports, and is carved out of none", a.ID)
	case !s.carved():
		return nil
	case a.Gang || a.Earmark || !s.Pinned:
		return refuse("InvalidArgument", "", "ask %s: what is carved out of a reservation is not preemptible, no gang, and earmarks nothing", a.ID)
	}
	r := c.reservation(s.From)
	if r == nil {
		return refuse("NotFound", "list the reservations there are", "no reservation is kept under the id %q", s.From)
	}
	if r.role != a.Role || r.unit.pool.name != s.Pool {
		return refuse("InvalidArgument", "name one of its own role and pool", "ask %s is for role %s in pool %q; reservation %s is kept for role %s in pool %q",
			a.ID, a.Role, s.Pool, r.id, r.role, r.unit.pool.name)
	}
	if need := s.Resources.Vector(c.kinds, ""); !need.Fits(r.need) {
		return refuse("OverReservation", "ask for less, or make the reservation larger", "one task of %s needs %s, reservation %s is of %s", a.ID,
			need.Text(c.kinds, s.Pool), r.id, r.need.Text(c.kinds, s.Pool))
	}
	return nil
}

// fitCarved finds the place for one start of a class in its reservation, and books it there. It is charged with nothing at its own role,
// which pays for the reservation.
func (p *pool) fitCarved(cl *class) (lending.Charge, places, *verdict) {
	charge := lending.Charge{Leaf: cl.leaf, At: cl.leaf, Amount: cl.need, Hold: cl.hold(), Count: 1}
	r := p.c.reservation(cl.shape.From)
	if r == nil {
		return charge, places{}, &verdict{code: "NoReservation", message: "reservation " + cl.shape.From + " is not there any more", next: "it is made again"}
	}
	if r.unit.pool != p { // its node came back from a failover in another one, and has another number there
		return charge, places{}, &verdict{code: "NoReservation", message: fmt.Sprintf("reservation %s is in pool %q now, not in %q", r.id, r.unit.pool.name, p.name),
			next: "it is asked for again in the pool of its reservation"}
	}
	if left := p.c.uncarved(r); !cl.carve.Fits(left) {
		return charge, places{}, &verdict{code: "Reserved", message: fmt.Sprintf("reservation %s has %s left: needs %s", r.id, left.Text(p.c.kinds, p.name),
			cl.carve.Text(p.c.kinds, p.name)), next: "something that is carved out of it ends, or it is made larger"}
	}
	id := r.node.id
	if ok, why := p.index.Fits(cl.compiled, id); !ok && why != placement.ReasonResources {
		return charge, places{}, &verdict{code: string(why), message: fmt.Sprintf("node %s, where reservation %s is, does not take it now: %s", r.node.Name, r.id, why),
			next: "the node is back, or takes new tasks again"}
	}
	ports, ok := p.take(cl, id)
	if !ok {
		return charge, places{}, &verdict{code: string(placement.ReasonPorts), message: "node " + r.node.Name + " does not have its ports free", next: "what has them ends"}
	}
	p.ledger.Add(charge)
	p.c.carveOut(r.id, cl.carve)
	return charge, place(id, ports), nil
}

// uncarve undoes fitCarved for one start.
func (p *pool) uncarve(cl *class, charge lending.Charge, at places) {
	p.give(cl, at)
	p.ledger.Remove(charge)
	p.c.putBack(cl.shape.From, cl.carve)
}

// inUse says why a reservation must stay: something is carved out of it, or waits for that.
func (c *Cluster) inUse(r *task) error {
	if x := c.carved[r.id]; !x.IsZero() {
		return refuse("ReservationInUse", "end what uses it first", "reservation %s is in use: %s of it are carved out", r.id, x.Text(c.kinds, r.unit.pool.name))
	}
	for _, a := range c.asks {
		if a.Shape.From == r.id && a.waiting() > 0 {
			return refuse("ReservationInUse", "cancel what waits for it first", "reservation %s is in use: an ask waits for it", r.id)
		}
	}
	return nil
}

// giveUpReservation ends a reservation at once: there is nothing on its node to wait for.
func (c *Cluster) giveUpReservation(r *task) error {
	if err := c.inUse(r); err != nil {
		return err
	}
	r.killed = true
	c.end(r, Killed, nil, Reason{Code: codeKilled, Message: "somebody asked for it"}, c.now)
	return nil
}

// resizeCarved makes a carved lease larger or smaller inside its reservation.
func (c *Cluster) resizeCarved(t *task, more, less resource.Vector) error {
	if r := c.reservation(t.shape.From); r == nil || !more.Fits(c.uncarved(r)) {
		return refuse("OverReservation", "something else that is carved out of it ends, or it is made larger",
			"task %s cannot become larger: reservation %s does not have %s left", t.id, t.shape.From, more.Text(c.kinds, t.unit.pool.name))
	}
	c.putBack(t.shape.From, t.carve)
	t.carve = t.carve.Plus(more).Minus(less)
	c.carveOut(t.shape.From, t.carve)
	t.unit.pool.opened()
	c.emit(ResizeTask{t.node.Name, t.id, t.carve.Resources(c.kinds, t.unit.pool.name)}, SaveTask{t.id})
	c.changed(ObjectTask, t.id)
	c.changed(ObjectRole, "")
	return nil
}

// bookCarved books a committed task in its reservation, so that the next one in the commit sees it.
func (h *hold) bookCarved() *verdict {
	p := h.class.pool
	if r := p.c.reservation(h.class.shape.From); r != nil && r.node != h.node {
		return &verdict{code: "Conflict", message: fmt.Sprintf("reservation %s is on node %s, not on %s", r.id, r.node.Name, h.node.Name), next: "choose its node"}
	}
	charge, at, v := p.fitCarved(h.class)
	if v != nil {
		return v
	}
	h.charge, h.places = charge, at
	return nil
}
