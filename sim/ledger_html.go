package sim

import (
	"fmt"
	"slices"

	"polder.dev/polder/core/resource"
)

// LedgerResources are the resources with a table each, the one that is shown first in front.
func (p page) LedgerResources() []string {
	out := []string{}
	for _, row := range p.Ledger.Pool() {
		if row.Resource == p.First() {
			out = slices.Insert(out, 0, row.Resource)
		} else {
			out = append(out, row.Resource)
		}
	}
	return out
}

// IdleLegend are the reasons that a row of the ledger has, each once, the pool's greatest first.
func (p page) IdleLegend() []Entry {
	var out []Entry
	for _, row := range p.Ledger.Rows {
		for _, e := range row.Reasons() {
			if !slices.ContainsFunc(out, func(x Entry) bool { return x.Name == e.Name }) {
				out = append(out, e)
			}
		}
	}
	return out
}

// Unit names one of a resource, as in an hour of one.
func (p page) Unit(name string) string {
	_, kind := resource.SplitName(name)
	if resource.Scale(kind) == 1 {
		return "byte of " + kind
	}
	return kind
}

// Part is a share as the width of a part of a bar.
func (p page) Part(share float64) string { return fmt.Sprintf("%.3f%%", 100*share) }
