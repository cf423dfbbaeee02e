package cluster

import (
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// witness looks at a world after every decision and says what of the contract is not kept. It reads what is charged, where and
// by when; what that means it works out by itself, from the [oracle].
type witness struct {
	*world
	waits    map[string]*wait
	told     []Notice       // since it last looked
	verdicts map[string]int // how often each was come to, so that a test can tell that it tests something
}

// wait is what the witness remembers of an ask that waits.
type wait struct {
	since    time.Time     // something of it is ready, has no claim, and could not start
	covered  time.Time     // a guarantee covers it, or has been claimed for it, and nothing excuses the wait
	bound    time.Duration // T of the deepest role that covered it meanwhile, the largest
	progress int           // instances started so far
}

// epsilon is the last term of T: the decision, and the word of the agent that the victims are gone.
const epsilon = 1200 * time.Millisecond

func (w *world) watched() *witness {
	w.witness = &witness{world: w, waits: map[string]*wait{}, verdicts: map[string]int{}}
	return w.witness
}

func (x *witness) verdict(why string) { x.verdicts[why]++ }

// sees an event before it happens. When nodes, plan or leader change every wait begins anew, which is excused from T.
func (x *witness) sees(e Event) {
	switch e.(type) {
	case SetPlan, Register, Disconnect, RemoveNode, Cordon, Drain, RestoreNode, RestoreAsk, RestoreTask, Recovered:
		clear(x.waits)
	}
	if at := x.c.turnsAt; !at.IsZero() && !x.now.Before(at) {
		clear(x.waits)
	}
}

// look checks the state after a decision.
func (x *witness) look() {
	for _, n := range x.told {
		x.toldFor(n)
	}
	x.told = nil
	seen := map[string]bool{}
	for _, p := range x.c.pools {
		o := oracleOf(p)
		x.rules(o)
		x.needless(o)
		for cl := range p.queue.all() {
			for _, a := range cl.asks {
				seen[a.ID] = true
				x.waiting(o, cl, a)
			}
		}
	}
	for id := range x.waits {
		if !seen[id] {
			delete(x.waits, id)
		}
	}
}

// rules is I10 and I11 in the oracle's words, and that the ledger agrees.
func (x *witness) rules(o *oracle) {
	for id := range o.tree.Roles {
		v := role.ID(id)
		for i := range o.c.kinds.Len() {
			over := o.excess(v, i)
			if got := o.ledger.Excess(v, i); got != over {
				x.fault("I11: role %q kind %d is over by %v, the ledger says %v", o.tree.Roles[id].Path, i, over, got)
			}
			if over > 0 && !(v == role.Root && o.lacksNodes()) {
				x.fault("I11: role %q kind %d is over by %v", o.tree.Roles[id].Path, i, over)
			}
		}
	}
}

// needless is I6, I7 and I20: nobody is under notice for a claim who could stay, the rules and every claim being served as well.
func (x *witness) needless(o *oracle) {
	for _, u := range o.units {
		if !u.leaving || !u.mayStay() || !o.spared(u) {
			continue
		}
		stays := o.gone(u)
		for at := u.charge.Leaf; ; at = o.tree.Roles[at].Parent {
			c := u.charge
			c.At = at
			if stays.legal(c) {
				x.fault("I20: %s need not leave: %s could pay and nobody needs what it holds", u.tasks[0].id, o.c.fundingName(at))
				return
			}
			if at == u.charge.At || u.pinned {
				break
			}
		}
	}
}

// spared reports whether no claim needs what a unit holds on its nodes.
func (o *oracle) spared(u *unit) bool {
	return !slices.ContainsFunc(u.tasks, func(t *task) bool {
		for _, at := range o.dues() {
			left := free(t.node).Plus(coming(t.node, at, u)).Minus(o.kept(t.node, at))
			if !t.notice.by.After(at) && left.Negative() >= 0 {
				return true
			}
		}
		return false
	})
}

// gone is the book without a unit.
func (o *oracle) gone(u *unit) *oracle {
	out := &oracle{pool: o.pool, tree: o.tree}
	for i, e := range o.books {
		if i >= len(o.units) || o.units[i] != u {
			out.books = append(out.books, e)
		}
	}
	return out
}

// waiting checks that what waits, waits for a reason: I3, I13 and I17.
func (x *witness) waiting(o *oracle, cl *class, a *ask) {
	r := x.c.reasonOf(a)
	if !slices.Contains(reasons, r.Code) {
		x.fault("I17: %s waits for %q, which is no reason anybody knows", a.ID, r.Code)
	}
	if a.Shape.From != "" {
		x.waitsInVain(cl, a)
		return
	}
	k := x.waits[a.ID]
	progress := a.live.len() + a.Succeeded + a.Failed + a.Killed + o.keptPlaces(a)
	if k == nil || k.progress != progress {
		k = &wait{progress: progress}
		x.waits[a.ID] = k
	}
	idle := a.readyCount(x.now)-a.claims*cl.count >= cl.count
	if !idle {
		k.since = time.Time{}
	} else if k.since.IsZero() {
		k.since = x.now
	}
	if idle && !a.Earmark {
		x.conserving(o, cl, a)
	}
	x.inTime(o, cl, a, k, idle)
}

// reasons is the closed list of why something may wait.
var reasons = []string{"Backoff", "Reclaiming", "Kept", "OutsideGuarantee", "ReclaimDelay", "OverLimit", "OverBorrow", "OverGuarantee", "NothingToBorrow",
	"Gang", "Packages", "Reserved", "NoReservation", "Lead", "Fragmented", "NoVictim", "NoNodes", "Cordoned", "Constraint", "Ports", "Spread", "AntiAffinity", "Resources"}

// conserving is I13: what fits what is idle, and every rule, does not wait.
func (x *witness) conserving(o *oracle, cl *class, a *ask) {
	if cl.scattered() || !o.room(cl.leaf, cl.amount(), time.Time{}) || !o.placeable(cl) {
		return
	}
	for _, at := range o.payers(cl) {
		if at == role.Root && x.heldForWindow(cl) {
			continue // what it may do until then is TestLeadIsInTime's to judge
		}
		if o.legal(o.chargeOf(cl, at)) {
			x.fault("I13: %s waits, though %s could pay and nodes have room: %+v", a.ID, o.c.fundingName(at), x.c.reasonOf(a))
			return
		}
	}
}

// heldForWindow reports whether a window opens during whose lead something of a class that starts now could not be gone in time.
func (x *witness) heldForWindow(cl *class) bool {
	return slices.ContainsFunc(role.Upcoming(x.c.plan, x.now), func(r role.Raise) bool { return x.now.Add(cl.hold()).After(r.At) })
}

// scattered reports whether where one task of a gang goes depends on where the others are: those are left to core/placement's
// own properties.
func (cl *class) scattered() bool { return cl.count > 1 && (cl.group != "" || len(cl.shape.Ports) > 0) }

// placeable reports whether nodes have room now for one start of a class, beside what is kept for claims.
func (o *oracle) placeable(cl *class) bool {
	fits := 0
	for _, n := range o.nodes {
		if !o.takes(cl, n) {
			continue
		}
		fits += times(cl, o.idleNow(n))
	}
	return fits >= cl.count
}

// times is how many tasks of a class find room in an amount.
func times(cl *class, room resource.Vector) (n int) {
	for sum := cl.need.Clone(0); n < cl.count && sum.Fits(room); n++ {
		sum.Inc(cl.need)
	}
	return n
}

// waitsInVain is I22 of what is to be carved out of a reservation: it waits for nothing but room there, and for its node.
func (x *witness) waitsInVain(cl *class, a *ask) {
	r, ok := x.c.Task(a.Shape.From)
	if !ok || a.readyCount(x.now) == 0 {
		return
	}
	left := amountsOf(r.Resources).Vector(x.c.kinds, "")
	for _, t := range x.c.Tasks() {
		if t.Shape.From == r.Task {
			left = left.Minus(amountsOf(t.Resources).Vector(x.c.kinds, ""))
		}
	}
	if n := x.c.nodes[r.Node]; n.reachable && !n.Cordoned && a.Shape.Resources.Vector(x.c.kinds, "").Fits(left) {
		x.fault("I22: %s waits, though its reservation has room: %+v", a.ID, x.c.reasonOf(a))
	}
}

// inTime is I3: what a guarantee covers is served within T of asking.
func (x *witness) inTime(o *oracle, cl *class, a *ask, k *wait, idle bool) {
	v, covered := x.covering(o, cl, a)
	if idle && covered && a.claims == o.keptPlaces(a) {
		why := o.excuse(cl, v) // it holds until the next look: in between nothing happens
		due := x.now.Sub(k.since) >= x.c.settings.ReclaimDelay
		if due {
			x.verdict(why)
		}
		if due && why == "" {
			x.fault("I3: %s waits since %s, covered by %s, and there is no excuse: %+v", a.ID, k.since.Sub(epoch), o.c.fundingName(v), x.c.reasonOf(a))
		}
		covered = covered && why == ""
	}
	if !covered {
		k.covered = time.Time{}
		return
	}
	if k.covered.IsZero() {
		k.covered, k.bound = x.now, 0
	}
	k.bound = max(k.bound, x.c.tree.ReclaimBound(v, x.c.settings.ReclaimDelay))
	late := x.now.Sub(k.covered) - k.bound
	if late > epsilon && !o.room(cl.leaf, cl.amount(), k.covered.Add(k.bound)) {
		x.verdict("its own tasks that leave later fill its limit")
	} else if late > epsilon {
		x.fault("I3: %s is covered by %s since %s; T is %s, and it still waits: %+v", a.ID, o.c.fundingName(v), k.covered.Sub(epoch), k.bound, x.c.reasonOf(a))
	}
}

// covering is the role whose guarantee covers an ask: the one its claim is on, else the deepest with enough of it idle.
func (x *witness) covering(o *oracle, cl *class, a *ask) (role.ID, bool) {
	for _, k := range o.claims {
		if k.ask == a && !k.kept {
			return k.charge.At, true
		}
	}
	if a.readyCount(x.now)-o.keptPlaces(a) < cl.count {
		return 0, false
	}
	for _, v := range o.payers(cl) {
		if v != role.Root && o.inside(o.chargeOf(cl, v)) {
			return v, true
		}
	}
	return 0, false
}

// keptPlaces counts what an ask that only earmarks has: it is served by as much.
func (o *oracle) keptPlaces(a *ask) (n int) {
	for _, k := range o.claims {
		if k.ask == a && k.kept {
			n++
		}
	}
	return n
}

// excuse says why a claim that is covered by v may wait longer than T: nodes are missing or do not answer, none takes it, or it
// fits on no node even when any one of those leaves who may be asked back (Fragmented). Empty is no excuse.
func (o *oracle) excuse(cl *class, v role.ID) string {
	if o.lacksNodes() {
		return "nodes are missing"
	}
	if slices.ContainsFunc(o.units, func(u *unit) bool { return o.mayBeAsked(u, v) && !u.reachable() }) {
		return "nodes do not answer"
	}
	open, fits := 0, 0
	for _, n := range o.nodes {
		if !o.takes(cl, n) {
			continue
		}
		open++
		fits += times(cl, o.spare(n, o.due(v), nil))
		if cl.count == 1 && o.oneMakesRoom(cl, n, v) {
			return ""
		}
	}
	switch {
	case open == 0:
		return "NoNode"
	case fits >= cl.count && !cl.scattered():
		return ""
	}
	return "Fragmented"
}

// due is the latest that a claim on v may have to wait, made now.
func (o *oracle) due(v role.ID) time.Time { return o.c.now.Add(o.tree.ReclaimBound(v, 0)) }

// oneMakesRoom reports whether one unit's leaving makes room on a node for a claim on v.
func (o *oracle) oneMakesRoom(cl *class, n *node, v role.ID) bool {
	return slices.ContainsFunc(o.units, func(u *unit) bool {
		if !o.mayBeAsked(u, v) {
			return false
		}
		room := o.spare(n, o.due(v), nil)
		for _, t := range u.tasks {
			if t.node == n {
				room.Inc(t.need)
			}
		}
		return cl.need.Fits(room)
	})
}

// mayBeAsked is I4 and I5: whoever is paid for above v and leaves within what the child on the way there tolerates.
func (o *oracle) mayBeAsked(u *unit, v role.ID) bool {
	if !u.reclaimable() || u.charge.At == v || !o.c.within(v, u.charge.At) {
		return false
	}
	return u.charge.Hold <= o.tree.Roles[o.childToward(u.charge.At, v)].LendGrace
}

// childToward is the child of f on the way to v.
func (o *oracle) childToward(f, v role.ID) role.ID {
	for o.tree.Roles[v].Parent != f {
		v = o.tree.Roles[v].Parent
	}
	return v
}

// toldFor checks a notice for a claim: I4 and I5.
func (x *witness) toldFor(n Notice) {
	t := x.c.task(n.Task)
	if t == nil || n.Kind != ForClaim {
		return
	}
	f := x.c.fundingRole(n.Funding, t.unit.charge.Leaf)
	payers := x.payersFor(n, t.unit.pool)
	if len(payers) > 0 && !slices.ContainsFunc(payers, func(v role.ID) bool { return v != f && x.c.within(v, f) }) {
		x.fault("I4: %s, paid by %s, is asked back for a claim of %s", n.Task, n.Funding, n.Claimant)
	}
	o := &oracle{pool: t.unit.pool, tree: x.c.tree}
	if len(payers) > 0 && !slices.ContainsFunc(payers, func(v role.ID) bool {
		return v != f && x.c.within(v, f) && t.hold() <= x.c.tree.Roles[o.childToward(f, v)].LendGrace
	}) {
		x.fault("I5: %s may stay %s, too long for %s", n.Task, t.hold(), n.Claimant)
	}
}

// payersFor lists who pays for what a notice may have been given for: claims of that name, and what of it started at once.
func (x *witness) payersFor(n Notice, p *pool) (out []role.ID) {
	for _, k := range p.claims {
		if x.c.claimant(k) == n.Claimant {
			out = append(out, k.charge.At)
		}
	}
	for _, u := range p.units {
		first := u.tasks[0]
		if first.created.Equal(x.now) && strings.Contains(n.Claimant, "("+first.askID()+",") {
			out = append(out, u.charge.At)
		}
	}
	return out
}
