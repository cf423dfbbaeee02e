package mesos

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// Pace of the cycle.
const (
	cycleRest  = 20 * time.Millisecond  // between two looks, so that many small changes make one
	choresRest = 100 * time.Millisecond // between two looks at what falls due, and at all nodes
)

// mostAtOnce is how many nodes are offered in one go. Whoever waits for the mutex comes before the next, and frameworks read meanwhile.
const mostAtOnce = 2500

// cycle makes offers, and does what is due, whenever something has changed.
func (d *Door) cycle(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		case <-d.wake:
		}
		if d.wanted() {
			quotas, err := d.readQuotas(ctx)
			if err != nil && ctx.Err() == nil {
				return err
			}
			d.with(func() { d.setQuotas(quotas) })
		}
		for more := true; more && ctx.Err() == nil; {
			d.with(func() {
				timer.Reset(d.turn())
				more = len(d.unseen) > 0
			})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(cycleRest):
		}
	}
}

// turn does what is due, makes offers, and returns how long there is nothing to do. The mutex is held.
func (d *Door) turn() time.Duration {
	now := d.c.Now()
	if rest := d.choresAt.Sub(now); rest > 0 {
		d.makeOffers(now)
		return rest
	}
	d.choresAt = now.Add(choresRest)
	d.expire(now)
	d.resend(now)
	d.makeOffers(now)
	d.demandOf(now)
	d.maintain()
	return max(d.nextDue(now), choresRest)
}

// setQuotas takes over what roles may have. When one may have more, all nodes may be for it.
func (d *Door) setQuotas(now map[string]quota) {
	for path, q := range now {
		old := d.quotas[path]
		d.anew = d.anew || q.known != old.known || !fits(q.idle, old.idle) || moreRoom(q.room, old.room)
	}
	d.quotas = now
}

// moreRoom reports whether something may be taken that could not be before. A kind that is missing is not bounded.
func moreRoom(now, old amounts) bool {
	for kind, was := range old {
		if is, bounded := now[kind]; !bounded || is > was {
			return true
		}
	}
	return false
}

// wanted reports whether anybody wants offers.
func (d *Door) wanted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.frameworks {
		if f.stream != nil {
			for _, s := range f.subs {
				if !s.suppressed {
					return true
				}
			}
		}
	}
	return false
}

// readQuotas asks the pool what its roles may have now.
func (d *Door) readQuotas(ctx context.Context) (map[string]quota, error) {
	out := map[string]quota{}
	req := &polderv1.RoleServiceListRequest{PageSize: 1000}
	for {
		res, err := d.c.API.Roles.List(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		for _, r := range res.Msg.Roles {
			out[r.Effective.GetPath()] = quotaOf(r)
		}
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			return out, nil
		}
	}
}

func quotaOf(r *polderv1.RoleStatus) quota {
	e := r.Effective
	guarantee, funded, usage := ofKind(e.GetGuarantee()), ofKind(r.Funded), ofKind(r.Usage)
	q := quota{known: true, guarantee: guarantee, limit: ofKind(e.GetLimit()), usage: usage, idle: minus(guarantee, funded), room: amounts{}, weight: e.GetWeight(), priority: int(e.GetPriority())}
	q.below = worthwhile(q.idle)
	for kind, limit := range ofKind(e.GetLimit()) {
		q.room[kind] = max(0, limit.Sub(usage[kind]))
	}
	for kind, borrow := range ofKind(e.GetBorrow()) {
		room := max(0, guarantee[kind].Add(borrow).Sub(usage[kind]))
		if have, ok := q.room[kind]; !ok || room < have {
			q.room[kind] = room
		}
	}
	return q
}

// makeOffers gives what is free to who wants it. The mutex is held.
func (d *Door) makeOffers(now time.Time) {
	if !d.ready {
		return
	}
	nodes := d.lookedAt(now)
	if len(nodes) == 0 && len(d.demands) == 0 {
		return
	}
	contenders := d.contenders()
	if len(contenders) == 0 {
		return
	}
	made := map[*framework][]*offer{}
	var order []*framework
	list := d.offerPlaces(now)
	for _, g := range allocate(nodes, contenders, d.c.Optimistic, &d.turns, now) {
		list = append(list, d.newOffer(g, now))
	}
	for _, o := range list {
		if made[o.to.fw] == nil {
			order = append(order, o.to.fw)
		}
		made[o.to.fw] = append(made[o.to.fw], o)
	}
	for _, f := range order {
		d.sendOffers(f, made[f])
	}
}

// lookedAt are the nodes to look at next, by name: of those that may be offered otherwise than before, [mostAtOnce].
func (d *Door) lookedAt(now time.Time) []*node {
	switch {
	case len(d.unseen) > 0:
	case d.anew && !now.Before(d.anewAt):
		d.anew, d.anewAt = false, now.Add(choresRest)
		clear(d.fresh)
		d.unseen = slices.Clone(d.order)
	default:
		d.unseen = slices.SortedFunc(maps.Keys(d.fresh), compareNodes)
		clear(d.fresh)
	}
	n := min(len(d.unseen), mostAtOnce)
	out := d.unseen[:n]
	d.unseen = d.unseen[n:]
	return out
}

func compareNodes(a, b *node) int { return strings.Compare(a.name, b.name) }

// contenders are the subscriptions that want offers, with what their roles may have less what they have been offered.
func (d *Door) contenders() []*contender {
	var out []*contender
	offered, quotas := maps.Clone(d.shown), map[string]*quota{}
	for _, x := range d.demands {
		offered[x.sub.path] = plus(offered[x.sub.path], times(x.unit, x.left))
	}
	for _, id := range slices.Sorted(maps.Keys(d.frameworks)) {
		f := d.frameworks[id]
		if f.stream == nil {
			continue
		}
		for _, s := range f.subs {
			q := quotas[s.path]
			if q == nil {
				own := d.quotas[s.path]
				q = &own
				quotas[s.path] = q
				if !d.c.Optimistic {
					q.use(offered[s.path])
				}
			}
			if !s.suppressed && q.known {
				out = append(out, &contender{s, q})
			}
		}
	}
	return out
}

// gpus reports whether it may see GPUs.
func (f *framework) gpus() bool {
	return f.capable(mesosv1.FrameworkInfo_Capability_GPU_RESOURCES)
}

// nextDue is how long there is nothing to do unless something happens. The mutex is held.
func (d *Door) nextDue(now time.Time) time.Duration {
	next := time.Hour
	sooner := func(at time.Time) {
		if !at.IsZero() {
			next = min(next, max(at.Sub(now), 0))
		}
	}
	if d.anew {
		sooner(d.anewAt)
	}
	for _, o := range d.offers {
		sooner(o.until)
	}
	for _, x := range d.inverse {
		sooner(x.warnAt)
	}
	if at, ok := d.unheard.next(); ok {
		next = min(next, max(at.Sub(now), 0)) // also the zero time: at once
	}
	for _, f := range d.frameworks {
		if f.stream == nil && !f.awaySince.IsZero() {
			sooner(f.awaySince.Add(f.failover()))
		}
		for _, s := range f.subs {
			for _, x := range s.filters {
				sooner(x.until)
			}
			if f.stream != nil && now.Before(s.wish.until) {
				sooner(s.wish.until)
			}
			if !s.wish.short.IsZero() {
				sooner(s.wish.short.Add(shortEnough))
			}
		}
		for _, e := range f.executors {
			sooner(e.killAt)
		}
	}
	return next
}

// expire ends what has had its time. The mutex is held.
func (d *Door) expire(now time.Time) {
	for _, o := range d.offers {
		if !now.Before(o.until) {
			d.rescind(o, "not answered in time")
			d.unwanted(o, quietLeast)
		}
	}
	for _, x := range d.inverse {
		x.warn(now)
	}
	for _, f := range d.frameworks {
		if f.stream == nil && !f.awaySince.IsZero() && !now.Before(f.awaySince.Add(f.failover())) {
			d.log.Info("framework did not come back in time", "framework", f.id, "name", f.info.GetName(), "failover_timeout", f.failover())
			d.remove(f)
			continue
		}
		for _, s := range f.subs {
			d.unfilter(s, now)
		}
		for _, e := range f.executors {
			if !e.killAt.IsZero() && !now.Before(e.killAt) {
				e.killAt = time.Time{}
				d.killNative(f, true, e.native)
			}
		}
	}
}

// unfilter drops the filters of a subscription that are over.
func (d *Door) unfilter(s *subscription, now time.Time) {
	for name, x := range s.filters {
		if now.Before(x.until) {
			continue
		}
		delete(s.filters, name)
		if n := d.nodes[name]; n != nil {
			d.fresh[n] = struct{}{}
		}
	}
}

// portsOf are the ports a task of the pool holds.
func portsOf(p *polderv1.Task) resource.PortSet {
	var out resource.PortSet
	for _, port := range p.Ports {
		out.Add(uint16(port))
	}
	return out
}
