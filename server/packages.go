package server

import (
	"cmp"
	"fmt"
	"slices"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

func packagesProto(views []cluster.PackagesView) []*polderv1.Packages {
	var out []*polderv1.Packages
	for _, v := range views {
		out = append(out, &polderv1.Packages{Unit: amountsProto(v.Unit), Count: int32(v.Count), Nodes: v.Nodes, Homeless: int32(v.Homeless)})
	}
	return out
}

// pack is the packages of one role in one pool, before they are on nodes.
type pack struct {
	path, pool string
	unit       resource.Vector
	count      int
}

// unpackable warns of packages that do not fit on the nodes there are, were these empty: large packages are put first, each where
// least is left.
func (s plans) unpackable(plan *role.Plan) (out []*polderv1.PlanProblem) {
	kinds := resource.NewKinds()
	if plan.Intern(kinds) != nil {
		return nil
	}
	packs := packsOf(role.Effective(plan, s.cfg.Now(), kinds))
	if len(packs) == 0 {
		return nil
	}
	free := map[string][]resource.Vector{}
	for _, n := range s.board.look().nodes.All() {
		pool := plan.PoolOf(n.Attributes)
		free[pool] = append(free[pool], n.Capacity.Vector(kinds, ""))
	}
	for _, p := range packs {
		fit := 0
		for fit < p.count && putPackage(p.unit, free[p.pool]) {
			fit++
		}
		if fit < p.count {
			out = append(out, &polderv1.PlanProblem{Path: role.JoinKey(role.JoinKey("roles", p.path), "unit"), Message: fmt.Sprintf(
				"of %d packages of %s %d fit on the nodes there are, even were these empty; the others are promised once there are larger or more nodes",
				p.count, p.unit.Text(kinds, p.pool), fit)})
		}
	}
	return out
}

// packsOf lists what a tree has in packages, larger ones first.
func packsOf(tree *role.Tree) (out []pack) {
	for _, r := range tree.Roles {
		for pool, q := range r.Quotas {
			if q.Packages > 0 {
				out = append(out, pack{r.Path, pool, q.Unit, q.Packages})
			}
		}
	}
	slices.SortFunc(out, func(a, b pack) int {
		return cmp.Or(slices.Compare(b.unit, a.unit), cmp.Compare(a.path, b.path), cmp.Compare(a.pool, b.pool))
	})
	return out
}

// putPackage takes a package off the node with least of its first kind left that has room for it; false when none has.
func putPackage(unit resource.Vector, free []resource.Vector) bool {
	best := -1
	for i, v := range free {
		if unit.Fits(v) && (best < 0 || slices.Compare(v, free[best]) < 0) {
			best = i
		}
	}
	if best >= 0 {
		free[best].Dec(unit)
	}
	return best >= 0
}
