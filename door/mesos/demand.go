package mesos

import (
	"context"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

// A framework waits for offers, and there are none of what others have borrowed. So a subscription that is not suppressed counts as
// demand for what its role's guarantee has left, once it has answered what it was offered of idle machines: the door asks the pool for places
// that are only earmarked, borrowers are asked back for them, and each place is offered as it comes free. When such an offer is declined,
// or not answered, nothing was needed: its places go back, the rest of the demand is withdrawn, and the subscription asks no more for a
// while, then for one place only. It is believed again once it launches something, revives or requests.

// labelDemand marks the asks of the door in [labelKind].
const labelDemand = "demand"

// Pace and bounds of demand.
const (
	shortEnough = time.Second // how long a role must be short before it counts: what was just accepted is not booked yet
	quietLeast  = time.Minute // after an offer of its own demand was of no use
	quietMost   = time.Hour
	maxPlaces   = 256 // of one ask
)

// demand is an ask of the door for a subscription. The door's mutex guards it.
type demand struct {
	id     string
	sub    *subscription
	unit   amounts // of one place
	left   int     // places not given up
	places map[string]int
	giving map[string]int // places that are being given up, by node
}

// wish is what a subscription wants beside what it is offered.
type wish struct {
	demands map[string]*demand // by ask
	asking  bool               // one is on its way to the pool
	short   time.Time          // since when its role is short; zero when it is not
	quiet   time.Duration      // how long its last silence was
	until   time.Time          // of its silence
	unit    amounts            // the largest task it launched lately on its role's guarantee
	asked   []amounts          // of REQUEST, not served yet
	exactly bool               // it has said what it needs; it needs nothing else
}

// believe ends a silence: the framework has shown that it needs something.
func (w *wish) believe() { w.quiet, w.until = 0, time.Time{} }

// demandOf asks the pool for what roles are short of. The mutex is held.
func (d *Door) demandOf(now time.Time) {
	idle := map[string]amounts{}
	for _, x := range d.demands {
		d.book(idle, x.sub.path, times(x.unit, x.left))
	}
	for _, id := range slices.Sorted(maps.Keys(d.frameworks)) {
		f := d.frameworks[id]
		for _, role := range slices.Sorted(maps.Keys(f.subs)) {
			if s := f.subs[role]; s.mayAsk(now) {
				d.book(idle, s.path, nil)
				d.askFor(s, idle, now)
			}
		}
	}
}

// book takes something off what a role's guarantee has left.
func (d *Door) book(idle map[string]amounts, path string, taken amounts) {
	if _, ok := idle[path]; !ok {
		idle[path] = d.quotas[path].short()
	}
	idle[path] = minus(idle[path], taken)
}

func (s *subscription) mayAsk(now time.Time) bool {
	return s.fw.stream != nil && !s.suppressed && !s.wish.asking && !now.Before(s.wish.until)
}

// askFor asks for places of a subscription, as far as its role's guarantee has something left.
func (d *Door) askFor(s *subscription, idle map[string]amounts, now time.Time) {
	unit, count := d.nextWish(s, idle[s.path])
	switch {
	case count == 0:
		s.wish.short = time.Time{}
	case s.wish.short.IsZero():
		s.wish.short = now
	case !now.Before(s.wish.short.Add(shortEnough)):
		s.wish.short, s.wish.asking = time.Time{}, true
		idle[s.path] = minus(idle[s.path], times(unit, count))
		d.submitDemand(s, unit, count)
	}
}

// nextWish is the next demand of a subscription: a place, and how many of them.
func (d *Door) nextWish(s *subscription, left amounts) (unit amounts, count int) {
	if !s.fw.gpus() {
		left = minus(left, amounts{"gpu": left["gpu"]})
	}
	if s.wish.exactly {
		if len(s.wish.asked) == 0 || !fits(s.wish.asked[0], left) || s.offeredAtLeast(s.wish.asked[0]) {
			return nil, 0
		}
		return s.wish.asked[0], 1
	}
	unit = s.wish.unit
	if unit == nil || !fits(unit, left) {
		unit = slice(d.quotas[s.path].guarantee, left)
	}
	if !d.quotas[s.path].serves(unit) || s.offeredAtLeast(unit) {
		return nil, 0
	}
	if s.wish.quiet > 0 {
		return unit, 1
	}
	return unit, min(maxPlaces, timesIn(unit, left))
}

// offeredAtLeast reports whether an open offer holds so much: then its answer comes first.
func (s *subscription) offeredAtLeast(unit amounts) bool {
	for _, o := range s.fw.offers {
		if o.to == s && o.demand == nil && fits(unit, plus(o.regular, o.revocable)) {
			return true
		}
	}
	return false
}

// short is what a role is short of: what its guarantee has left. Of one that has borrowed as much nobody is asked back for it.
func (q quota) short() amounts { return least(q.idle, minus(q.guarantee, q.usage)) }

// serves reports whether so much is of use to the role: it has something of all that its guarantee has of what every task needs.
func (q quota) serves(r amounts) bool {
	for kind, least := range leastOffer {
		if q.guarantee[kind] >= least && r[kind] < least {
			return false
		}
	}
	return worthwhile(r)
}

// slice is a cpu, or what is left of one, with its share of a guarantee's other resources.
func slice(guarantee, left amounts) amounts {
	cpu := min(left["cpu"], resource.Milli)
	if cpu == 0 || guarantee["cpu"] == 0 {
		return left
	}
	out := amounts{}
	for kind, a := range guarantee {
		if a = min(left[kind], a.MulDiv(int64(cpu), int64(guarantee["cpu"]))); a > 0 {
			out[kind] = a
		}
	}
	return out
}

func times(unit amounts, n int) amounts {
	out := amounts{}
	for kind, a := range unit {
		out[kind] = a.MulDiv(int64(n), 1)
	}
	return out
}

// timesIn is how often a unit fits into what is left.
func timesIn(unit, left amounts) int {
	n := int64(maxPlaces)
	for kind, a := range unit {
		if a > 0 {
			n = min(n, int64(left[kind])/int64(a))
		}
	}
	return int(n)
}

// submitDemand asks the pool for places, in the framework's name.
func (d *Door) submitDemand(s *subscription, unit amounts, count int) {
	need := wanted{amounts: unit, regular: unit}
	spec := &polderv1.TaskSpec{Command: []string{"true"}} // never run; the runtime says where tasks of the framework could
	if !d.processes() {
		spec = &polderv1.TaskSpec{Image: "none"}
	}
	common(spec, s.fw, need, s.role)
	spec.Labels[labelKind] = labelDemand
	if names := d.accepted(s); names != "" {
		spec.Constraints = []string{"node in (" + names + ")"}
	}
	ask := &polderv1.AskSpec{Name: "offers", Role: s.path, Count: uint32(count), Earmark: true, Task: spec}
	d.later(s.fw.caller, func(ctx context.Context) error {
		res, err := d.c.API.Asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{ask}}))
		id := ""
		d.with(func() { id = d.submitted(s, unit, count, res, err) })
		if id != "" {
			d.lookAfter(ctx, id)
		}
		return err
	})
}

// processes reports whether any node starts processes; places are asked for where tasks can run.
func (d *Door) processes() bool {
	for _, n := range d.nodes {
		if n.process {
			return true
		}
	}
	return false
}

// accepted lists the nodes that a subscription's constraints accept; empty when it has none.
func (d *Door) accepted(s *subscription) string {
	if len(s.constraint) == 0 {
		return ""
	}
	out := ""
	for _, name := range slices.Sorted(maps.Keys(d.nodes)) {
		if s.constraint.accepts(d.nodes[name]) {
			out += "," + name
		}
	}
	if out == "" {
		return "none"
	}
	return out[1:]
}

// submitted writes down what came of asking. One that nobody wants any more is withdrawn at once.
func (d *Door) submitted(s *subscription, unit amounts, count int, res *connect.Response[polderv1.SubmitResponse], err error) string {
	s.wish.asking = false
	if err != nil || res.Msg.Results[0].Ask == nil {
		s.silence(d.c.Now(), quietLeast)
		if err == nil {
			d.log.Info("no places for a framework", "framework", s.fw.id, "role", s.path, "reason", res.Msg.Results[0].Refused.GetMessage())
		}
		return ""
	}
	x := &demand{id: res.Msg.Results[0].Ask.Id, sub: s, unit: unit, left: count, places: map[string]int{}, giving: map[string]int{}}
	if s.wish.exactly && len(s.wish.asked) > 0 {
		s.wish.asked = s.wish.asked[1:]
	}
	d.demands[x.id], s.wish.demands[x.id] = x, x
	if s.fw.stream == nil || s.suppressed || s.fw.subs[s.role] != s {
		d.withdraw(s)
		return ""
	}
	return x.id
}

// silence keeps a subscription from asking for a while, longer each time.
func (s *subscription) silence(now time.Time, least time.Duration) {
	s.wish.quiet = min(max(2*s.wish.quiet, least), quietMost)
	s.wish.until = now.Add(s.wish.quiet)
}

// withdraw takes all demand of a subscription back. The mutex is held.
func (d *Door) withdraw(s *subscription) {
	var ids []string
	for id, x := range s.wish.demands {
		ids = append(ids, id)
		delete(d.demands, id)
		for _, o := range x.sub.fw.offers {
			if o.demand == x {
				d.rescind(o, "its role has no demand any more")
			}
		}
	}
	clear(s.wish.demands)
	s.wish.short = time.Time{}
	d.cancelAsks(s.fw, ids)
}

// cancelAsks withdraws asks of the door in a framework's name.
func (d *Door) cancelAsks(f *framework, ids []string) {
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	d.later(f.caller, func(ctx context.Context) error {
		_, err := d.c.API.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: ids}))
		if connect.CodeOf(err) == connect.CodeNotFound {
			return nil // all of it was served
		}
		return err
	})
}

// lookAfter looks up what is kept for a demand now. The mutex is not held.
func (d *Door) lookAfter(ctx context.Context, id string) {
	d.mu.Lock()
	_, ours := d.demands[id]
	d.mu.Unlock()
	if !ours {
		return
	}
	res, err := d.c.API.Asks.Get(withSelf(ctx), connect.NewRequest(&polderv1.AskServiceGetRequest{Id: id}))
	if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		return // the watch ends, too
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.demands[id]
	if x == nil {
		return
	}
	if err != nil || res.Msg.State != "open" {
		x.places, x.left = nil, 0
	} else {
		x.places, x.left = map[string]int{}, int(res.Msg.Pending)
		for _, k := range res.Msg.Kept {
			x.places[k.Node] = int(k.Count)
		}
	}
	for _, o := range x.sub.fw.offers {
		if o.demand == x && x.offered(o.node) > x.places[o.node.name] {
			d.rescind(o, "its place is not kept any more")
		}
	}
	if x.left == 0 {
		delete(d.demands, id)
		delete(x.sub.wish.demands, id)
	}
	d.nudge()
}

// offerPlaces offers what is kept for demands. The mutex is held.
func (d *Door) offerPlaces(now time.Time) (out []*offer) {
	for _, id := range slices.Sorted(maps.Keys(d.demands)) {
		x := d.demands[id]
		for _, name := range slices.Sorted(maps.Keys(x.places)) {
			n := d.nodes[name]
			if n == nil || !n.offerable() || x.sub.fw.stream == nil {
				continue
			}
			more := x.places[name] - x.giving[name] - x.offered(n)
			if more <= 0 {
				continue
			}
			_, ports := n.unoffered(d.c.Optimistic)
			out = append(out, d.newOffer(grant{to: x.sub, node: n, regular: times(x.unit, more), ports: ports, demand: x, kept: more}, now))
		}
	}
	return out
}

// offered is how many of the places on a node are in open offers.
func (x *demand) offered(n *node) (count int) {
	for _, o := range n.offers {
		if o.demand == x {
			count += o.kept
		}
	}
	return count
}

// take marks that the places of an offer are about to be given up.
func (x *demand) take(o *offer) *polderv1.GiveUp {
	x.giving[o.node.name] += o.kept
	x.left = max(0, x.left-o.kept)
	return &polderv1.GiveUp{Ask: x.id, Node: o.node.name, Count: uint32(o.kept)}
}

// settled looks again at the demands whose places were given up. The mutex is not held.
func (d *Door) settled(ctx context.Context, places []*polderv1.GiveUp) {
	for _, g := range places {
		d.lookAfter(ctx, g.Ask)
		d.with(func() {
			if x := d.demands[g.Ask]; x != nil {
				x.giving[g.Node] -= int(g.Count)
			}
		})
	}
}

// unwanted gives the places of an offer back that nobody wanted: there is no such demand, for now. The mutex is held.
func (d *Door) unwanted(o *offer, least time.Duration) {
	s := o.to
	if o.demand == nil {
		if fits(d.quotas[s.path].short(), o.regular) {
			s.wish.until = d.c.Now().Add(least) // it needs nothing of what it has a right to
			d.withdraw(s)
		}
		return
	}
	s.silence(d.c.Now(), max(least, quietLeast))
	d.withdraw(s) // with the places
}

// launched notes what a framework needs. The mutex is held.
func (s *subscription) launched(need amounts) {
	s.wish.believe()
	if !isEmpty(need) {
		s.wish.unit = need
	}
	if i := slices.IndexFunc(s.wish.asked, func(a amounts) bool { return fits(a, need) }); i >= 0 {
		s.wish.asked = slices.Delete(s.wish.asked, i, i+1)
	}
}
