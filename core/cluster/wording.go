package cluster

import "polder.dev/polder/core/resource"

// wording is an amount as others read it. Leases that are told of one after the other mostly hold the same: it is kept until another is
// asked for. Whoever gets the resources does not change them.
type wording struct {
	of        resource.Vector
	resources resource.Resources
	text      string
}

// put puts an amount of the pool in words.
func (p *pool) put(v resource.Vector) *wording {
	if w := p.worded; w != nil && w.of.Equal(v) {
		return w
	}
	r := v.Resources(p.c.kinds, p.name)
	p.worded = &wording{of: v.Clone(0), resources: r, text: r.String()}
	return p.worded
}
