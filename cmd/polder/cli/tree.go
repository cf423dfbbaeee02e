package cli

import (
	"strconv"
	"strings"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// treeLine is one line of the drawn tree: one resource of one role. The embedded message is the whole role, so that a
// watch sees a line as changed when its role is.
type treeLine struct {
	*polderv1.RoleStatus
	// label is the branch and the role's name on the role's first line, only the branch on the others.
	label string
	kind  string
	first bool
}

// drawTree turns roles, parents first, into lines. A role whose parent is not among them starts a tree of its own.
func drawTree(roles []*polderv1.RoleStatus, only []string) []*treeLine {
	var (
		known    = map[string]bool{}
		children = map[string][]*polderv1.RoleStatus{}
		tops     []*polderv1.RoleStatus
	)
	for _, r := range roles {
		known[r.GetEffective().GetPath()] = true
	}
	for _, r := range roles {
		path := r.GetEffective().GetPath()
		if up := parent(path); path != "" && known[up] {
			children[up] = append(children[up], r)
		} else {
			tops = append(tops, r)
		}
	}
	var out []*treeLine
	var draw func(r *polderv1.RoleStatus, branch, below, name string)
	draw = func(r *polderv1.RoleStatus, branch, below, name string) {
		path := r.GetEffective().GetPath()
		inner := children[path]
		out = append(out, linesOf(r, only, branch+clean(name), below, len(inner) > 0)...)
		for i, c := range inner {
			name := strings.TrimPrefix(strings.TrimPrefix(c.GetEffective().GetPath(), path), "/")
			if i < len(inner)-1 {
				draw(c, below+"├─ ", below+"│  ", name)
			} else {
				draw(c, below+"└─ ", below+"   ", name)
			}
		}
	}
	for _, r := range tops {
		draw(r, "", "", rolePath(r))
	}
	return out
}

// linesOf draws one role: a line for each of its resources, at least one.
func linesOf(r *polderv1.RoleStatus, only []string, label, below string, inner bool) []*treeLine {
	kinds := kindsOf(r, only)
	if len(kinds) == 0 {
		kinds = []string{""}
	}
	out := make([]*treeLine, len(kinds))
	for i, k := range kinds {
		out[i] = &treeLine{RoleStatus: r, label: label, kind: k, first: i == 0}
		label = below
		if inner {
			label += "│"
		}
	}
	return out
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}

func treeView() view[*treeLine] {
	amount := func(of func(*polderv1.RoleStatus) map[string]string) func(*treeLine) string {
		return func(l *treeLine) string { return readable(l.kind, of(l.RoleStatus)[l.kind]) }
	}
	effective := func(of func(*polderv1.EffectiveRole) map[string]string) func(*treeLine) string {
		return func(l *treeLine) string { return readable(l.kind, of(l.GetEffective())[l.kind]) }
	}
	// once is for what belongs to the role, not to one of its resources.
	once := func(of func(*polderv1.RoleStatus) string) func(*treeLine) string {
		return func(l *treeLine) string {
			if l.first {
				return orNone(of(l.RoleStatus))
			}
			return " "
		}
	}
	return view[*treeLine]{
		name: func(l *treeLine) string { return rolePath(l.RoleStatus) + " " + l.kind },
		columns: []column[*treeLine]{
			{head: "ROLE", raw: true, cell: func(l *treeLine) string { return l.label }},
			{head: "RESOURCE", cell: func(l *treeLine) string { return l.kind }},
			{head: "GUARANTEE", cell: effective((*polderv1.EffectiveRole).GetGuarantee)},
			{head: "LIMIT", wide: true, cell: effective((*polderv1.EffectiveRole).GetLimit)},
			{head: "USED", cell: amount((*polderv1.RoleStatus).GetUsage)},
			{head: "FUNDED", cell: amount((*polderv1.RoleStatus).GetFunded)},
			{head: "BORROWED", cell: amount((*polderv1.RoleStatus).GetBorrowed)},
			{head: "LENT", cell: amount((*polderv1.RoleStatus).GetLent)},
			{head: "LEAVING", wide: true, cell: amount((*polderv1.RoleStatus).GetLeaving)},
			{head: "ENTITLED", wide: true, cell: amount((*polderv1.RoleStatus).GetEntitlement)},
			{head: "DEMAND", cell: amount((*polderv1.RoleStatus).GetDemand)},
			{head: "RUNNING", cell: once(func(r *polderv1.RoleStatus) string { return count(r.GetRunning()) })},
			{head: "PENDING", cell: once(func(r *polderv1.RoleStatus) string { return count(r.GetPending()) })},
			{head: "T", cell: once(func(r *polderv1.RoleStatus) string { return span(r.GetEffective().GetReclaimBound()) })},
			{head: "PRIORITY", wide: true, cell: once(func(r *polderv1.RoleStatus) string { return count(r.GetEffective().GetPriority()) })},
			{head: "WEIGHT", wide: true, cell: once(func(r *polderv1.RoleStatus) string {
				return strconv.FormatFloat(r.GetEffective().GetWeight(), 'g', -1, 64)
			})},
			{head: "NOTICE", wide: true, cell: once(func(r *polderv1.RoleStatus) string { return span(r.GetEffective().GetReclaimGrace()) })},
		},
	}
}
