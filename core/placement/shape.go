package placement

import (
	"fmt"
	"slices"
	"strconv"

	"polder.dev/polder/core/resource"
)

// Shape is what one task needs from a node. The zero Shape fits every schedulable node.
type Shape struct {
	// Need is what must be available. Amounts of zero or less ask nothing.
	Need resource.Vector
	// HostPorts must be free on the node, and DynamicPorts more of its ports beside them.
	HostPorts    []uint16
	DynamicPorts int
	// Constraints must all hold; Preferences decide between nodes where they do.
	Constraints []Constraint
	Preferences []Preference
	// Group is the label under which the task counts for Spread and for other shapes' AntiAffinity; empty counts nowhere.
	Group  string
	Spread []Spread
	// AntiAffinity names groups; the task goes to no node that runs a task of one of them. It looks one way: running tasks
	// do not refuse newcomers. A shape that names its own group gets at most one task a node.
	AntiAffinity []string
}

// Preference is a soft constraint. Weight is 1 to 100; a node that meets a preference of weight 100 outranks one that does
// not, whatever their fit. Nodes that meet a preference are looked for first.
type Preference struct {
	Constraint Constraint
	Weight     int
}

// Spread keeps tasks of the shape's group apart: over the values of a node attribute that occur among schedulable nodes
// satisfying the constraints, the placed task's value may have at most MaxSkew (1 or more) more tasks than the value with
// fewest. [NodeAttribute] spreads over nodes. A node without the attribute satisfies no spread. When it is not Hard, nodes
// that satisfy it are looked for first, and others rank lower the more they exceed it.
type Spread struct {
	Attribute string
	MaxSkew   int
	Hard      bool
}

// Bounds on one shape, so that an ask cannot make placement slow.
const (
	maxConstraints  = 64
	maxPreferences  = 16
	maxSpreads      = 8
	maxAntiAffinity = 64
	maxHostPorts    = 256
)

// Validate reports the first thing wrong with s: a bad constraint, weight or skew, a port that is 0 or given twice, a spread
// without a group, or more of something than allowed (64 constraints, 16 preferences, 8 spreads, 64 anti-affinity groups,
// 256 fixed ports).
func (s *Shape) Validate() error {
	for _, limit := range []struct {
		what      string
		have, max int
	}{
		{"constraints", len(s.Constraints), maxConstraints},
		{"preferences", len(s.Preferences), maxPreferences},
		{"spread rules", len(s.Spread), maxSpreads},
		{"anti-affinity groups", len(s.AntiAffinity), maxAntiAffinity},
		{"host ports", len(s.HostPorts), maxHostPorts},
		{"dynamic ports", s.DynamicPorts, 1 << 16},
	} {
		if limit.have > limit.max {
			return fmt.Errorf("%d %s: at most %d are allowed", limit.have, limit.what, limit.max)
		}
	}
	for _, c := range s.Constraints {
		if err := c.Validate(); err != nil {
			return err
		}
	}
	for _, p := range s.Preferences {
		if err := p.Constraint.Validate(); err != nil {
			return err
		}
		if p.Weight < 1 || p.Weight > 100 {
			return fmt.Errorf("preference %s: weight %d is not between 1 and 100", p.Constraint, p.Weight)
		}
	}
	if err := s.validateSpread(); err != nil {
		return err
	}
	return s.validatePorts()
}

func (s *Shape) validateSpread() error {
	for _, sp := range s.Spread {
		switch {
		case !resource.ValidName(sp.Attribute):
			return fmt.Errorf("spread over %q: name an attribute in lower-case letters, digits, '-', '_' and '.'", sp.Attribute)
		case sp.MaxSkew < 1:
			return fmt.Errorf("spread over %s: max skew %d is less than 1", sp.Attribute, sp.MaxSkew)
		case s.Group == "":
			return fmt.Errorf("spread over %s: the task belongs to no group; give it one", sp.Attribute)
		}
	}
	if slices.Contains(s.AntiAffinity, "") {
		return fmt.Errorf("anti-affinity: a group has no name")
	}
	return nil
}

func (s *Shape) validatePorts() error {
	if s.DynamicPorts < 0 {
		return fmt.Errorf("dynamic ports: %d is less than 0", s.DynamicPorts)
	}
	if len(s.HostPorts) == 0 {
		return nil
	}
	ports := slices.Sorted(slices.Values(s.HostPorts))
	for i, p := range ports {
		if p == 0 {
			return fmt.Errorf("host port 0: ask for dynamic ports instead")
		}
		if i > 0 && p == ports[i-1] {
			return fmt.Errorf("host port %d is given twice", p)
		}
	}
	return nil
}

// clone copies s so that the caller's slices may change.
func (s Shape) clone() Shape {
	s.Need = slices.Clone(s.Need)
	s.HostPorts = slices.Clone(s.HostPorts)
	s.Constraints = slices.Clone(s.Constraints)
	for i := range s.Constraints {
		s.Constraints[i].Values = slices.Clone(s.Constraints[i].Values)
	}
	s.Preferences = slices.Clone(s.Preferences)
	for i := range s.Preferences {
		values := &s.Preferences[i].Constraint.Values
		*values = slices.Clone(*values)
	}
	s.Spread = slices.Clone(s.Spread)
	s.AntiAffinity = slices.Clone(s.AntiAffinity)
	return s
}

// appendKey appends text that is the same for shapes that ask the same in the same order.
func (s *Shape) appendKey(b []byte) []byte {
	for i, a := range s.Need {
		if a > 0 {
			b = append(strconv.AppendInt(b, int64(i), 10), ':')
			b = append(strconv.AppendInt(b, int64(a), 10), ' ')
		}
	}
	if len(s.HostPorts) > 0 || s.DynamicPorts > 0 || s.Group != "" || len(s.Spread)+len(s.AntiAffinity) > 0 {
		b = fmt.Appendf(b, "|%d|%d|%q|%v|%q", s.HostPorts, s.DynamicPorts, s.Group, s.Spread, s.AntiAffinity)
	}
	for _, c := range s.Constraints {
		b = fmt.Appendf(b, "\n%s", c)
	}
	for _, p := range s.Preferences {
		b = fmt.Appendf(b, "\n%d %s", p.Weight, p.Constraint)
	}
	return b
}
