package mesos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// offer is part of a node shown to a framework for one of its roles. The door's mutex guards it.
type offer struct {
	id                 string
	to                 *subscription
	node               *node
	regular, revocable amounts
	ports              resource.PortSet
	until              time.Time
	demand             *demand // it is of places kept for this; nil for what is idle
	kept               int     // how many
}

// newOffer puts an offer on the books. The mutex is held.
func (d *Door) newOffer(g grant, now time.Time) *offer {
	d.count.offers++
	o := &offer{
		id: fmt.Sprintf("%s-O%d", d.uuid, d.count.offers), to: g.to, node: g.node, regular: g.regular, revocable: g.revocable,
		ports: g.ports.Clone(), until: now.Add(d.c.OfferTimeout), demand: g.demand, kept: g.kept,
	}
	d.tally(o, +1)
	d.offers[o.id], g.node.offers[o.id], g.to.fw.offers[o.id] = o, o, o
	d.counters.offersSent++
	g.node.changed()
	return o
}

// forget takes an offer off the books without a word.
func (d *Door) forget(o *offer) {
	d.tally(o, -1)
	d.fresh[o.node] = struct{}{}
	delete(d.offers, o.id)
	delete(o.node.offers, o.id)
	o.node.changed()
	delete(o.to.fw.offers, o.id)
}

// tally counts an offer of what is idle for its role, or no more.
func (d *Door) tally(o *offer, sign resource.Amount) {
	if o.demand != nil {
		return
	}
	sum := d.shown[o.to.path]
	if sum == nil {
		sum = amounts{}
		d.shown[o.to.path] = sum
	}
	for _, part := range []amounts{o.regular, o.revocable} {
		for kind, a := range part {
			sum[kind] += sign * a
		}
	}
}

// rescind takes an offer back.
func (d *Door) rescind(o *offer, why string) {
	d.forget(o)
	d.counters.rescinded++
	e := event(schedulerv1.Event_RESCIND)
	e.Rescind = &schedulerv1.Event_Rescind{OfferId: &mesosv1.OfferID{Value: &o.id}}
	o.to.fw.send(e)
	d.log.Debug("offer rescinded", "offer", o.id, "framework", o.to.fw.id, "node", o.node.name, "reason", why)
}

// trim rescinds offers of what a node no longer has free, the newest first; in optimistic mode each that alone is too much.
func (d *Door) trim(n *node) {
	left := n.free
	for _, o := range slices.SortedFunc(maps.Values(n.offers), func(a, b *offer) int { return a.until.Compare(b.until) }) {
		all := plus(o.regular, o.revocable)
		switch {
		case !n.offerable():
			d.rescind(o, "the node is "+n.state)
		case o.demand != nil: // not of what is free
			if !within(o.ports, n.freePorts) {
				d.rescind(o, "ports were taken by somebody else")
			}
		case !fits(all, left) || !within(o.ports, n.freePorts):
			d.rescind(o, "taken by somebody else")
		case !d.c.Optimistic:
			left = minus(left, all)
		}
	}
}

func within(a, b resource.PortSet) bool {
	if a.Len() == 0 {
		return true
	}
	for _, r := range a.Ranges() {
		for p := uint32(r.First); p <= uint32(r.Last); p++ {
			if !b.Contains(uint16(p)) {
				return false
			}
		}
	}
	return true
}

// offersEvent shows offers to their framework.
func offersEvent(f *framework, list []*offer, d *Door) *schedulerv1.Event {
	e := event(schedulerv1.Event_OFFERS)
	e.Offers = &schedulerv1.Event_Offers{}
	for _, o := range list {
		e.Offers.Offers = append(e.Offers.Offers, d.offerProto(f, o))
	}
	return e
}

func (d *Door) offerProto(f *framework, o *offer) *mesosv1.Offer {
	form := f.form(o.to.role)
	out := &mesosv1.Offer{
		Id: &mesosv1.OfferID{Value: &o.id}, FrameworkId: &mesosv1.FrameworkID{Value: &f.id}, AgentId: &mesosv1.AgentID{Value: &o.node.name},
		Hostname: new(o.node.host()), Resources: form.resources(o.regular, o.ports), Attributes: o.node.attributeProtos(),
		Url: d.nodeURL(), Unavailability: d.maint.windows[o.node.name],
	}
	form.revocable = true
	out.Resources = append(out.Resources, form.resources(o.revocable, resource.PortSet{})...)
	if form.multi {
		out.AllocationInfo = &mesosv1.Resource_AllocationInfo{Role: &o.to.role}
	}
	out.ExecutorIds = f.executorsOn(o.node, viewer{all: true})
	return out
}

// executorsOn are the framework's executors on a node that somebody may see.
func (f *framework) executorsOn(n *node, v viewer) []*mesosv1.ExecutorID {
	var out []*mesosv1.ExecutorID
	for _, key := range slices.SortedFunc(maps.Keys(f.executors), compareKeys) {
		if e := f.executors[key]; key.node == n.name && (v.all || v.paths[e.path]) {
			out = append(out, &mesosv1.ExecutorID{Value: new(key.id)})
		}
	}
	return out
}

// attributeProtos are a node's attributes in Mesos' way; all are texts.
func (n *node) attributeProtos() []*mesosv1.Attribute {
	var out []*mesosv1.Attribute
	for _, name := range slices.Sorted(maps.Keys(n.attributes)) {
		out = append(out, &mesosv1.Attribute{
			Name: new(name), Type: mesosv1.Value_TEXT.Enum(), Text: &mesosv1.Value_Text{Value: new(n.attributes[name])},
		})
	}
	return out
}

// host is the name or address tasks of the node are reached by: its attribute "hostname", or what the door's configuration says, or its name.
func (n *node) host() string { return cmp.Or(n.attributes["hostname"], n.hostname, n.name) }

// filterFor is how long an answer to an offer hides others like it; zero hides nothing.
func filterFor(f *mesosv1.Filters) time.Duration {
	s := f.GetRefuseSeconds()
	switch {
	case !(s >= 0): // negative, or not a number
		s = mesosv1.Default_Filters_RefuseSeconds
	case s > maxRefuse.Seconds():
		return maxRefuse
	}
	return time.Duration(s * float64(time.Second))
}

const maxRefuse = 365 * 24 * time.Hour

// refuse hides offers within what was refused, for as long as the filter says.
func (s *subscription) refuse(n *node, refused amounts, f *mesosv1.Filters, now time.Time) {
	if d := filterFor(f); d > 0 && !isEmpty(refused) {
		s.filters[n.name] = filter{refused, now.Add(max(d, time.Second))}
	}
}

func isEmpty(r amounts) bool {
	for _, a := range r {
		if a > 0 {
			return false
		}
	}
	return true
}
