package resource

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PortRange is an inclusive range of host ports.
type PortRange struct{ First, Last uint16 }

// PortSet is a set of host ports kept as sorted, disjoint, non-adjacent ranges. The zero value is empty. Methods that
// change it work in place on the receiver's storage.
type PortSet struct{ ranges []PortRange }

// ParsePorts reads "8000-8999,30000-32767". Overlapping ranges merge; port 0 is refused.
func ParsePorts(s string) (PortSet, error) {
	var p PortSet
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		first, last, isRange := strings.Cut(f, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a == 0 || b < a {
			return PortSet{}, fmt.Errorf("ports %q: want port or first-last with 1 <= first <= last <= 65535", f)
		}
		p.AddRange(PortRange{uint16(a), uint16(b)})
	}
	return p, nil
}

// String writes the set as [ParsePorts] reads it.
func (p PortSet) String() string {
	parts := make([]string, len(p.ranges))
	for i, r := range p.ranges {
		parts[i] = strconv.Itoa(int(r.First))
		if r.Last != r.First {
			parts[i] += "-" + strconv.Itoa(int(r.Last))
		}
	}
	return strings.Join(parts, ",")
}

// Len is the number of ports in the set.
func (p PortSet) Len() int {
	n := 0
	for _, r := range p.ranges {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// Contains reports whether port is in the set.
func (p PortSet) Contains(port uint16) bool {
	_, ok := slices.BinarySearchFunc(p.ranges, port, cmpPort)
	return ok
}

func cmpPort(r PortRange, port uint16) int {
	switch {
	case r.Last < port:
		return -1
	case r.First > port:
		return 1
	}
	return 0
}

// Clone returns an independent copy.
func (p PortSet) Clone() PortSet { return PortSet{slices.Clone(p.ranges)} }

// Add puts one port in; it is a no-op when the port is there.
func (p *PortSet) Add(port uint16) { p.AddRange(PortRange{port, port}) }

// AddRange puts a range in, merging with what it touches.
func (p *PortSet) AddRange(r PortRange) {
	lo, hi := int(r.First), int(r.Last)
	i := 0
	for i < len(p.ranges) && int(p.ranges[i].Last)+1 < lo {
		i++
	}
	j := i
	for j < len(p.ranges) && int(p.ranges[j].First) <= hi+1 {
		lo, hi = min(lo, int(p.ranges[j].First)), max(hi, int(p.ranges[j].Last))
		j++
	}
	p.ranges = slices.Replace(p.ranges, i, j, PortRange{uint16(lo), uint16(hi)})
}

// Remove takes one port out and reports whether it was there.
func (p *PortSet) Remove(port uint16) bool {
	i, ok := slices.BinarySearchFunc(p.ranges, port, cmpPort)
	if !ok {
		return false
	}
	r := p.ranges[i]
	var keep []PortRange
	if r.First < port {
		keep = append(keep, PortRange{r.First, port - 1})
	}
	if r.Last > port {
		keep = append(keep, PortRange{port + 1, r.Last})
	}
	p.ranges = slices.Replace(p.ranges, i, i+1, keep...)
	return true
}

// Take removes and returns the n lowest ports, or nothing and false when fewer are left.
func (p *PortSet) Take(n int) ([]uint16, bool) {
	if p.Len() < n {
		return nil, false
	}
	out := make([]uint16, 0, n)
	for len(out) < n {
		port := p.ranges[0].First
		out = append(out, port)
		p.Remove(port)
	}
	return out, true
}

// Ranges returns the set's ranges, in order.
func (p PortSet) Ranges() []PortRange { return slices.Clone(p.ranges) }
