package placement

import (
	"maps"
	"slices"
	"strconv"

	"polder.dev/polder/core/resource"
)

// oracle is the index done naively: every question is a scan over all nodes and tasks.
type oracle struct {
	nodes map[NodeID]*oracleNode
}

type oracleNode struct {
	Node
	available resource.Vector
	taken     map[uint16]bool
	tasks     map[string]int
}

func (o *oracle) ids() []NodeID { return slices.Sorted(maps.Keys(o.nodes)) }

func (n *oracleNode) attribute(name string) (string, bool) {
	if name == "node" {
		return n.Name, true
	}
	v, ok := n.Attributes[name]
	return v, ok
}

// satisfies covers the operators the generator uses.
func (n *oracleNode) satisfies(c Constraint) bool {
	v, ok := n.attribute(c.Attribute)
	switch c.Op {
	case Equals:
		return ok && v == c.Values[0]
	case NotEquals:
		return !(ok && v == c.Values[0])
	case In:
		return ok && slices.Contains(c.Values, v)
	case Exists:
		return ok
	case GreaterOrEqual:
		have, err := strconv.Atoi(v)
		bound, _ := strconv.Atoi(c.Values[0])
		return err == nil && have >= bound
	}
	panic("operator " + c.Op)
}

func (n *oracleNode) satisfiesAll(cs []Constraint) bool {
	return !slices.ContainsFunc(cs, func(c Constraint) bool { return !n.satisfies(c) })
}

func (n *oracleNode) freePorts() []uint16 {
	var out []uint16
	for p := range uint16(100) {
		if n.Ports.Contains(p) && !n.taken[p] {
			out = append(out, p)
		}
	}
	return out
}

// skew counts the group's tasks by value of the attribute, over all nodes, and compares with the least value that a
// schedulable node satisfying the constraints has.
func (o *oracle) skew(s *Shape, sp Spread, on *oracleNode) (int, bool) {
	v, ok := on.attribute(sp.Attribute)
	if !ok {
		return 0, false
	}
	counts, domain := map[string]int{}, map[string]bool{}
	for _, n := range o.nodes {
		if w, ok := n.attribute(sp.Attribute); ok {
			counts[w] += n.tasks[s.Group]
			if n.Schedulable && n.satisfiesAll(s.Constraints) {
				domain[w] = true
			}
		}
	}
	least, first := 0, true
	for w := range domain {
		if first || counts[w] < least {
			least, first = counts[w], false
		}
	}
	return counts[v] + 1 - least, true
}

// reason is the first filter that refuses a node.
func (o *oracle) reason(s *Shape, id NodeID) Reason {
	n := o.nodes[id]
	switch {
	case n == nil:
		return ReasonNoNodes
	case !n.Schedulable:
		return ReasonCordoned
	case !n.satisfiesAll(s.Constraints):
		return ReasonConstraint
	case !portsFit(s, n.freePorts()):
		return ReasonPorts
	}
	for _, sp := range s.Spread {
		if skew, ok := o.skew(s, sp, n); sp.Hard && (!ok || skew > sp.MaxSkew) {
			return ReasonSpread
		}
	}
	for _, g := range s.AntiAffinity {
		if n.tasks[g] > 0 {
			return ReasonAntiAffinity
		}
	}
	if !amountsFit(s.Need, n.available) {
		return ReasonResources
	}
	return ""
}

func portsFit(s *Shape, free []uint16) bool {
	for _, p := range s.HostPorts {
		if !slices.Contains(free, p) {
			return false
		}
	}
	return len(free) >= len(s.HostPorts)+s.DynamicPorts
}

func amountsFit(need, have resource.Vector) bool {
	for i, a := range need {
		if a > 0 && a > have.At(i) {
			return false
		}
	}
	return true
}

func (o *oracle) fitting(s *Shape) []NodeID {
	var out []NodeID
	for _, id := range o.ids() {
		if o.reason(s, id) == "" {
			out = append(out, id)
		}
	}
	return out
}

// feasible ignores what is available but wants the capacity.
func (o *oracle) feasible(s *Shape) []NodeID {
	var out []NodeID
	for _, id := range o.ids() {
		r := o.reason(s, id)
		if (r == "" || r == ReasonResources) && amountsFit(s.Need, o.nodes[id].Capacity) {
			out = append(out, id)
		}
	}
	return out
}

// impossible reports whether no node could hold the task when empty.
func (o *oracle) impossible(s *Shape) bool {
	for _, n := range o.nodes {
		empty := oracleNode{Node: n.Node}
		if n.satisfiesAll(s.Constraints) && portsFit(s, empty.freePorts()) && amountsFit(s.Need, n.Capacity) {
			return false
		}
	}
	return len(o.nodes) > 0
}
