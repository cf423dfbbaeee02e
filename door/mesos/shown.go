package mesos

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Frameworks lists the frameworks and their offers, for people who may view the roles of the pool that may says.
func (d *Door) Frameworks(may func(role string) bool) ([]*polderv1.Framework, []*polderv1.Offer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var frameworks []*polderv1.Framework
	for _, id := range slices.Sorted(maps.Keys(d.frameworks)) {
		f := d.frameworks[id]
		shown := &polderv1.Framework{
			Id: id, Door: "mesos", Name: f.info.GetName(), Principal: f.principal, Connected: f.stream != nil,
			Registered: stampOf(f.registered), Tasks: int32(len(f.tasks)),
		}
		if f.stream == nil {
			shown.AwaySince = stampOf(f.awaySince)
		}
		for _, name := range slices.Sorted(maps.Keys(f.subs)) {
			if s := f.subs[name]; may(s.path) {
				shown.Roles = append(shown.Roles, d.roleShown(s))
			}
		}
		if len(shown.Roles) > 0 {
			frameworks = append(frameworks, shown)
		}
	}
	var offers []*polderv1.Offer
	for _, id := range slices.Sorted(maps.Keys(d.offers)) {
		if o := d.offers[id]; may(o.to.path) {
			offers = append(offers, &polderv1.Offer{
				Id: id, Framework: o.to.fw.id, Role: o.to.path, Node: o.node.name, Until: stampOf(o.until),
				Resources: texts(plus(o.regular, o.revocable)), Revocable: texts(o.revocable),
			})
		}
	}
	return frameworks, offers
}

// roleShown is a framework in one role, with what it refused and when the last of that is offered again.
func (d *Door) roleShown(s *subscription) *polderv1.FrameworkRole {
	offered := amounts{}
	for _, o := range s.fw.offers {
		if o.to == s {
			offered = plus(offered, plus(o.regular, o.revocable))
		}
	}
	out := &polderv1.FrameworkRole{Role: s.path, Suppressed: s.suppressed, Offered: texts(offered)}
	if p := s.fw.papers[s.path]; p != nil {
		out.Held = texts(p.used)
	}
	var until time.Time
	now := d.c.Now()
	for _, f := range s.filters {
		if f.until.After(now) {
			out.RefusedNodes++
			if f.until.After(until) {
				until = f.until
			}
		}
	}
	out.RefusedUntil = stampOf(until)
	return out
}

func stampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
