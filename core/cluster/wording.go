package cluster

import "polder.dev/polder/core/resource"

// wording is an amount as others read it. Leases that are told of one after the other mostly hold the same: it is kept until another is
// asked for. Whoever gets the resources does not change them.
type wording struct {
	of        resource.Vector
	resources resource.Resources
	words     string // empty before somebody asks for the text
}

// put puts an amount of the pool in words.
func (p *pool) put(v resource.Vector) *wording {
	if w := p.worded; w != nil && w.of.Equal(v) {
		return w
	}
	p.worded = &wording{of: v.Clone(0), resources: v.Resources(p.c.kinds, p.name)}
	return p.worded
}

// text is the amount as people read it.
func (w *wording) text() string {
	if w.words == "" {
		w.words = w.resources.String()
	}
	return w.words
}
