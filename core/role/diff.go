package role

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// Change is one difference between two plans.
type Change struct {
	Path string `json:"path"` // as [JoinKey] writes it, except that windows and pools go by name: windows.night.warm
	From string `json:"from"` // as written, "" when added
	To   string `json:"to"`   // as written, "" when removed
}

// String writes the change for people: "roles.corp.guarantee.cpu: 8 → 16", "windows.night: added {…}".
func (c Change) String() string {
	switch {
	case c.From == "":
		return c.Path + ": added " + c.To
	case c.To == "":
		return c.Path + ": removed " + c.From
	}
	return c.Path + ": " + c.From + " → " + c.To
}

// Diff returns what changes from one valid plan to another, sorted by path. A role, window or pool that only one of them has is
// one change that shows all of it; one that both have shows the fields that differ. The order of windows and pools
// counts, since it decides which wins, and is compared among those that both plans have.
func Diff(from, to *Plan) []Change {
	d := differ{}
	compareMaps(&d, "roles", from.Roles, to.Roles)
	compareLists(&d, "windows", from.Windows, to.Windows, func(w Window) string { return w.Name })
	compareLists(&d, "pools", from.Pools, to.Pools, func(p PoolSpec) string { return p.Name })
	d.compare("cluster", decoded(from.Cluster), decoded(to.Cluster))
	sort.SliceStable(d.changes, func(i, j int) bool { return d.changes[i].Path < d.changes[j].Path })
	return d.changes
}

type differ struct{ changes []Change }

func (d *differ) add(path string, from, to any) {
	d.changes = append(d.changes, Change{path, text(from), text(to)})
}

// compareMaps compares entries as a whole where only one side has them, field by field where both have.
func compareMaps[V any](d *differ, at string, from, to map[string]V) {
	for _, key := range sortedKeys(from) {
		if v, ok := to[key]; ok {
			d.compare(JoinKey(at, key), decoded(from[key]), decoded(v))
		} else {
			d.add(JoinKey(at, key), decoded(from[key]), nil)
		}
	}
	for _, key := range sortedKeys(to) {
		if _, ok := from[key]; !ok {
			d.add(JoinKey(at, key), nil, decoded(to[key]))
		}
	}
}

func compareLists[V any](d *differ, at string, from, to []V, name func(V) string) {
	a, b := byName(from, name), byName(to, name)
	compareMaps(d, at, a, b)
	before, after := commonNames(from, b, name), commonNames(to, a, name)
	if before != after {
		d.add(at, before, after)
	}
}

func byName[V any](list []V, name func(V) string) map[string]V {
	out := make(map[string]V, len(list))
	for _, v := range list {
		out[name(v)] = v
	}
	return out
}

// commonNames lists the names that the other side has too, in the list's order.
func commonNames[V any](list []V, other map[string]V, name func(V) string) string {
	var out []string
	for _, v := range list {
		if _, ok := other[name(v)]; ok {
			out = append(out, name(v))
		}
	}
	return strings.Join(out, ", ")
}

// compare walks two trees of decoded JSON and notes the leaves that differ.
func (d *differ) compare(at string, from, to any) {
	a, okA := from.(map[string]any)
	b, okB := to.(map[string]any)
	if !okA || !okB {
		if text(from) != text(to) {
			d.add(at, from, to)
		}
		return
	}
	keys := make(map[string]bool, len(a)+len(b))
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	for _, k := range sortedKeys(keys) {
		d.compare(JoinKey(at, k), a[k], b[k])
	}
}

// decoded returns v as decoded JSON. Every plan that [Validate] accepts marshals.
func decoded(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("role: a plan does not marshal: %v", err))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var out any
	if err := dec.Decode(&out); err != nil {
		panic(fmt.Sprintf("role: a plan does not read back: %v", err))
	}
	return out
}

// text writes decoded JSON compactly and without quotes: {guarantee: {cpu: 2}}.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, k := range sortedKeys(v) {
			parts = append(parts, k+": "+text(v[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}
