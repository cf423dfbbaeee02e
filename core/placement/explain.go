package placement

import (
	"fmt"
	"slices"
	"strings"

	"polder.dev/polder/core/resource"
)

// Reason is the stable code of why a node, or a whole pool, does not take a task.
type Reason string

// The reasons, in the order of the filters: the first one that applies to a node is its reason.
const (
	ReasonNoNodes      Reason = "NoNodes" // of a node: it is not in the index
	ReasonCordoned     Reason = "Cordoned"
	ReasonConstraint   Reason = "Constraint"
	ReasonPorts        Reason = "Ports"
	ReasonSpread       Reason = "Spread"
	ReasonAntiAffinity Reason = "AntiAffinity"
	ReasonResources    Reason = "Resources"
)

// Rejection counts the nodes that one condition of one filter refused.
type Rejection struct {
	Reason Reason
	// Subject is the condition: the constraint's text, a port or "dynamic", the spread's attribute, the group, the kind.
	Subject string
	Count   int
	// Asked is the need, and Most the largest amount of the kind among the refused nodes, on node MostOn; for
	// ReasonResources only.
	Asked, Most resource.Amount
	MostOn      string

	order   [2]int
	detail  int // max skew of a spread, number of ports
	ceiling bool
	passing bool   // the subject is a constraint's Passing
	lacking string // the attribute of an Exists
}

// Explanation says how many nodes take a task now and what refused the others.
type Explanation struct {
	Nodes, Fit int
	// Rejections has the largest count first, then the order of the filters. Counts and Fit add up to Nodes.
	Rejections []Rejection
	// Reason is the one that refused most nodes, ReasonNoNodes when there are none, empty when some node fits.
	Reason Reason
}

// refusal is the first filter, and the condition within it, that refuses a node.
type refusal struct {
	reason    Reason
	condition int
}

// Fits reports whether a node takes a task now, and if not the first reason.
func (ix *Index) Fits(c *Compiled, id NodeID) (bool, Reason) {
	r := ix.refuse(c, id, ix.available)
	return r.reason == "", r.reason
}

// available and capacity say how much of a kind a node has, now and when empty.
func (ix *Index) available(id NodeID, kind int) resource.Amount { return ix.row(id)[kind] }
func (ix *Index) capacity(id NodeID, kind int) resource.Amount {
	return ix.nodes[id].Capacity.At(kind)
}

// refuse tries the filters one by one, amounts against what has says.
func (ix *Index) refuse(c *Compiled, id NodeID, has func(NodeID, int) resource.Amount) refusal {
	if !ix.has(id) {
		return refusal{ReasonNoNodes, 0}
	}
	if !ix.ready.has(id) {
		return refusal{ReasonCordoned, 0}
	}
	n := &ix.nodes[id]
	if !c.class.bits.has(id) {
		return refusal{ReasonConstraint, firstMismatch(c.matchers, n)}
	}
	if i := portsRefusal(c, n.free); i >= 0 {
		return refusal{ReasonPorts, i}
	}
	for i := range c.spreads {
		if sp := &c.spreads[i]; sp.hard && sp.broken(id) {
			return refusal{ReasonSpread, i}
		}
	}
	for i, g := range c.keepOff {
		if n.runs(g) {
			return refusal{ReasonAntiAffinity, i}
		}
	}
	return refuseAmounts(c, id, has)
}

// portsRefusal is the index of the first fixed port that is not in the set, their number when too few others are, or -1.
func portsRefusal(c *Compiled, free resource.PortSet) int {
	for i, p := range c.shape.HostPorts {
		if !free.Contains(p) {
			return i
		}
	}
	if c.totalPorts > 0 && free.Len() < int(c.totalPorts) {
		return len(c.shape.HostPorts)
	}
	return -1
}

func refuseAmounts(c *Compiled, id NodeID, has func(NodeID, int) resource.Amount) refusal {
	for _, n := range c.needs {
		if has(id, n.kind) < n.amount {
			return refusal{ReasonResources, n.kind}
		}
	}
	return refusal{}
}

// refuseEmpty is refuse for a node on which nothing runs and which is not cordoned.
func (ix *Index) refuseEmpty(c *Compiled, id NodeID) refusal {
	n := &ix.nodes[id]
	if i := lastingMismatch(c.matchers, n); i >= 0 {
		return refusal{ReasonConstraint, i}
	}
	if i := portsRefusal(c, n.Ports); i >= 0 {
		return refusal{ReasonPorts, i}
	}
	return refuseAmounts(c, id, ix.capacity)
}

// Explain tries every node and counts what refused it. It takes time proportional to the number of nodes.
func (ix *Index) Explain(c *Compiled) Explanation {
	t := count{ix: ix, shape: c}
	plain := c.totalPorts == 0 && len(c.spreads) == 0
	for b := range ix.ready {
		short := uint64(0) // nodes that only amounts may refuse
		if plain {
			short = ix.candidates(c, c.class, b)
			t.addShort(b, short)
		}
		for i := range blockSize {
			id := NodeID(b*blockSize + i)
			if short>>i&1 == 0 && ix.present.has(id) {
				t.add(id, ix.refuse(c, id, ix.available), ix.available)
			}
		}
	}
	return t.explanation()
}

// Impossible reports whether no node could hold the task even when it is empty and not cordoned: by its constraints, its
// capacity and the ports it offers. It says why in a sentence. With no nodes at all it is false: they may come.
func (ix *Index) Impossible(c *Compiled) (string, bool) {
	if ix.count == 0 {
		return "", false
	}
	t := count{ix: ix, shape: c}
	for id := range ix.nodes {
		if !ix.present.has(NodeID(id)) {
			continue
		}
		r := ix.refuseEmpty(c, NodeID(id))
		if r.reason == "" {
			return "", false
		}
		t.add(NodeID(id), r, ix.capacity)
	}
	e := t.explanation()
	for i := range e.Rejections {
		e.Rejections[i].ceiling = true
	}
	return fmt.Sprintf("no node could hold it even when empty; of %s %s", plural(e.Nodes, "node"), e.causes()), true
}

// EachFeasible calls f, in ascending order, with the nodes that pass every filter but available resources and whose
// capacity is large enough, until f returns false. f does not change the index.
func (ix *Index) EachFeasible(c *Compiled, f func(NodeID) bool) {
	for b := range ix.ready {
		for w := ix.candidates(c, c.class, b); w != 0; w &= w - 1 {
			id := lowest(b, w)
			crowded := slices.ContainsFunc(c.spreads, func(sp spread) bool { return sp.hard && sp.broken(id) })
			if crowded || c.totalPorts > ix.free[id] || refuseAmounts(c, id, ix.capacity).reason != "" {
				continue
			}
			if !f(id) {
				return
			}
		}
	}
}

// count gathers refusals by condition.
type count struct {
	ix         *Index
	shape      *Compiled
	nodes, fit int
	refusals   []refusal
	rejections []Rejection // of the refusal at the same place
}

func (t *count) add(id NodeID, r refusal, has func(NodeID, int) resource.Amount) {
	t.nodes++
	if r.reason == "" {
		t.fit++
		return
	}
	i := slices.Index(t.refusals, r)
	if i < 0 {
		i = len(t.refusals)
		t.refusals, t.rejections = append(t.refusals, r), append(t.rejections, t.describe(r))
	}
	x := &t.rejections[i]
	x.Count++
	if r.reason == ReasonResources {
		if a := has(id, r.condition); x.Count == 1 || a > x.Most {
			x.Most, x.MostOn = a, t.ix.nodes[id].Name
		}
	}
}

// addShort is add for nodes of one block that only amounts may refuse: on a full pool that is nearly all of them.
func (t *count) addShort(block int, nodes uint64) {
	for w := nodes; w != 0; w &= w - 1 {
		id := lowest(block, w)
		if !t.again(id) {
			t.add(id, refuseAmounts(t.shape, id, t.ix.available), t.ix.available)
		}
	}
}

// again counts a node that takes the task, or that amounts refuse as they did the one before it and that has no more of the kind.
func (t *count) again(id NodeID) bool {
	row := t.ix.row(id)
	for _, n := range t.shape.needs {
		if row[n.kind] >= n.amount {
			continue
		}
		for i, r := range t.refusals {
			if x := &t.rejections[i]; r.condition == n.kind && r.reason == ReasonResources && row[n.kind] <= x.Most {
				t.nodes++
				x.Count++
				return true
			}
		}
		return false
	}
	t.nodes++
	t.fit++
	return true
}

var filterOrder = []Reason{
	ReasonNoNodes, ReasonCordoned, ReasonConstraint, ReasonPorts, ReasonSpread, ReasonAntiAffinity, ReasonResources,
}

// describe names the condition of a refusal.
func (t *count) describe(r refusal) Rejection {
	s := &t.shape.shape
	x := Rejection{Reason: r.reason, order: [2]int{slices.Index(filterOrder, r.reason), r.condition}}
	switch r.reason {
	case ReasonConstraint:
		k := s.Constraints[r.condition]
		if x.Subject = k.Passing; k.Passing == "" {
			x.Subject = k.String()
		}
		x.passing = k.Passing != ""
		if k.Op == Exists {
			x.lacking = k.Attribute
		}
	case ReasonPorts:
		x.Subject, x.detail = "dynamic", int(t.shape.totalPorts)
		if r.condition < len(s.HostPorts) {
			x.Subject = fmt.Sprint(s.HostPorts[r.condition])
		}
	case ReasonSpread:
		x.Subject, x.detail = s.Spread[r.condition].Attribute, s.Spread[r.condition].MaxSkew
	case ReasonAntiAffinity:
		x.Subject = s.AntiAffinity[r.condition]
	case ReasonResources:
		x.Subject, x.Asked = t.ix.kinds.Name(resource.Kind(r.condition)), s.Need.At(r.condition)
	}
	return x
}

func (t *count) explanation() Explanation {
	e := Explanation{Nodes: t.nodes, Fit: t.fit, Rejections: t.rejections}
	slices.SortFunc(e.Rejections, func(a, b Rejection) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return slices.Compare(a.order[:], b.order[:])
	})
	e.Reason = e.reason()
	return e
}

// reason is the reason with the most nodes over all its conditions; the earlier filter among equals.
func (e *Explanation) reason() Reason {
	if e.Nodes == 0 {
		return ReasonNoNodes
	}
	best, most := Reason(""), 0
	for _, r := range filterOrder {
		n := 0
		for _, x := range e.Rejections {
			if x.Reason == r {
				n += x.Count
			}
		}
		if e.Fit == 0 && n > most {
			best, most = r, n
		}
	}
	return best
}

// String is one sentence: "0 of 10 nodes fit: 6 lack cpu (asked 4, most free 3 on node-7), 3 are not zone==a, 1 is cordoned or away".
func (e Explanation) String() string {
	if e.Nodes == 0 {
		return "no node has joined the pool"
	}
	verb := "fit"
	if e.Nodes == 1 {
		verb = "fits"
	}
	head := fmt.Sprintf("%d of %s %s", e.Fit, plural(e.Nodes, "node"), verb)
	if len(e.Rejections) == 0 {
		return head
	}
	return head + ": " + e.causes()
}

func (e Explanation) causes() string {
	texts := make([]string, len(e.Rejections))
	for i := range e.Rejections {
		texts[i] = e.Rejections[i].String()
	}
	return strings.Join(texts, ", ")
}

// String is the part of the sentence about these nodes: "3 are not zone==a".
func (x Rejection) String() string {
	are, lack, have, run, would := "are", "lack", "have", "run", "would"
	if x.Count == 1 {
		are, lack, have, run = "is", "lacks", "has", "runs"
	}
	n := x.Count
	switch x.Reason {
	case ReasonCordoned:
		return fmt.Sprintf("%d %s cordoned or away", n, are)
	case ReasonConstraint:
		switch {
		case x.passing:
			return fmt.Sprintf("on %d %s", n, x.Subject)
		case x.lacking != "":
			return fmt.Sprintf("%d %s %s", n, lack, x.lacking)
		}
		return fmt.Sprintf("%d %s not %s", n, are, x.Subject)
	case ReasonPorts:
		if x.Subject == "dynamic" {
			return fmt.Sprintf("%d %s fewer than %s free", n, have, plural(x.detail, "port"))
		}
		return fmt.Sprintf("%d %s no free port %s", n, have, x.Subject)
	case ReasonSpread:
		return fmt.Sprintf("%d %s break the spread over %s (at most %d apart)", n, would, x.Subject, x.detail)
	case ReasonAntiAffinity:
		return fmt.Sprintf("%d already %s group %s", n, run, x.Subject)
	case ReasonResources:
		most := "most free"
		if x.ceiling {
			most = "largest"
		}
		return fmt.Sprintf("%d %s %s (asked %s, %s %s on %s)", n, lack, x.Subject,
			resource.FormatValue(x.Subject, x.Asked), most, resource.FormatValue(x.Subject, x.Most), x.MostOn)
	}
	return fmt.Sprintf("%d %s absent", n, are)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
