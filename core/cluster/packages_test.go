package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// packer is a random day of a cluster in which some roles have packages and ask for nothing else; the others do as they like.
type packer struct {
	*actor
	unit   resource.Resources
	owners map[string]int         // packages by role
	since  map[string][]time.Time // of each role with packages: since when each of those it waits for is covered
}

// amounts writes cores, with a GiB each.
func amounts(n int) resource.Resources {
	return resource.Resources{"cpu": resource.Amount(n) * resource.Milli, "memory": resource.Amount(n)}
}

// newPacker draws nodes, one or two roles with packages that fit on them, and a tree of others for what is left.
func newPacker(t *rapid.T) *packer {
	var nodes []int
	total, fit := 0, 0
	size := rapid.IntRange(2, 4).Draw(t, "unit")
	for range rapid.IntRange(1, 5).Draw(t, "nodes") {
		n := rapid.IntRange(2, 9).Draw(t, "node")
		nodes, total, fit = append(nodes, n), total+n, fit+n/size
	}
	k := &packer{unit: amounts(size), owners: map[string]int{}, since: map[string][]time.Time{}}
	k.actor = &actor{t: t}
	rest := total - fit*size
	plan := drawPlan(t, rest+rapid.IntRange(0, fit).Draw(t, "quantities")*size)
	left := total
	for path, s := range plan.Roles {
		if !strings.Contains(path, "/") {
			left -= int(s.Guarantee["memory"])
		}
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "owners") {
		path := fmt.Sprintf("p%d", i)
		if rapid.Bool().Draw(t, "below") {
			path = "p/" + path
		}
		n := rapid.IntRange(0, min(fit, left/size)).Draw(t, "packages")
		fit, left = fit-n, left-n*size
		grace := role.Duration(rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 20 * time.Second, time.Minute}).Draw(t, "lendGrace"))
		own := role.Duration(rapid.SampledFrom([]time.Duration{0, 20 * time.Second}).Draw(t, "reclaimGrace"))
		plan.Roles[path] = role.RoleSpec{Guarantee: amounts(n * size), Unit: k.unit, LendGrace: &grace, ReclaimGrace: &own}
		k.owners[path] = n
	}
	if ps := role.Validate(plan); len(ps) > 0 {
		t.Fatalf("generator made a bad plan: %v", ps)
	}
	k.world = newWorld(plan)
	for _, r := range k.c.Tree().Roles[1:] {
		if _, owns := k.owners[r.Path]; !owns && role.Display(r.Path) == r.Path {
			k.paths = append(k.paths, r.Path)
		}
	}
	for i, n := range nodes {
		k.machine(i, n, map[string]string{"zone": []string{"a", "b"}[i%2]})
	}
	return k
}

// want asks for packages, or for what fits in one.
func (k *packer) want() {
	k.n++
	path := rapid.SampledFrom(slices.Sorted(maps.Keys(k.owners))).Draw(k.t, "owner")
	spec := AskSpec{ID: fmt.Sprintf("u%02d", k.n), Role: path, Count: rapid.IntRange(1, 4).Draw(k.t, "count"), Submitted: k.now,
		Shape: Shape{Resources: k.unit, Pinned: rapid.IntRange(0, 3).Draw(k.t, "pinned") == 0, Requeue: true, Priority: rapid.IntRange(0, 1).Draw(k.t, "priority")}}
	k.step(Submit{spec})
}

func (k *packer) act() {
	switch rapid.IntRange(0, 15).Draw(k.t, "act") {
	case 0, 1, 2, 3:
		k.submit()
	case 4, 5:
		k.want()
	case 6, 7, 8, 9:
		k.pass(rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Second, 40 * time.Second, 2 * time.Minute}).Draw(k.t, "pass"))
	case 10, 11:
		if t, ok := k.anyTask(); ok {
			k.ends(t.Task, rapid.SampledFrom([]State{Succeeded, Failed}).Draw(k.t, "end"))
		}
	case 12:
		if t, ok := k.anyTask(); ok {
			k.step(Kill{Task: t.Task})
		}
	case 13:
		if as := k.c.Asks(); len(as) > 0 {
			k.step(Cancel{Ask: rapid.SampledFrom(as).Draw(k.t, "ask").ID, KeepRunning: rapid.Bool().Draw(k.t, "keep")})
		}
	case 14:
		k.answer()
	case 15:
		k.commit()
	}
	k.judge()
}

// pass lets time go by in small steps, so that what is late is seen.
func (k *packer) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		k.run(min(d, time.Second))
		k.judge()
	}
}

// judge works out from what runs, and nothing else, whether a role with packages waits for one longer than T, and whether all of them
// could be had on whole nodes.
func (k *packer) judge() {
	for path, n := range k.owners {
		id, _ := k.c.tree.Lookup(path)
		waiting, running := 0, 0
		for _, a := range k.c.Asks() {
			if a.Role == path {
				waiting += a.Pending
			}
		}
		for _, t := range k.live() {
			if t.Role == path && t.Funding == path {
				running++
			}
		}
		late := min(waiting, n-running)
		since := k.since[path]
		for len(since) < late {
			since = append(since, k.now)
		}
		since = since[max(0, len(since)-late):]
		k.since[path] = since
		bound := k.c.tree.ReclaimBound(id, k.c.settings.ReclaimDelay)
		if len(since) > 0 && k.now.Sub(since[0]) > bound+epsilon {
			k.fault("%s waits for a package since %s, T is %s, %d of %d are used", path, since[0].Sub(epoch), bound, running, n)
		}
		if m := k.freeable(path, id); m < n {
			k.fault("of %d packages of %s %d can be had on whole nodes", n, path, m)
		}
	}
}

// freeable is how many packages of a role fit on the nodes beside what does not give way to it in time.
func (k *packer) freeable(path string, id role.ID) (sum int) {
	for _, n := range k.c.Nodes() {
		fit := n.Capacity["memory"]
		for kind, unit := range k.unit {
			left := n.Capacity[kind]
			for _, t := range k.live() {
				if t.Node == n.Name && t.Funding != path && !k.givesWay(t, id) {
					left -= t.Resources[kind]
				}
			}
			fit = min(fit, left/unit)
		}
		sum += int(fit)
	}
	return sum
}

// givesWay reports whether a task may be asked back for a claim of a role, and leaves in time.
func (k *packer) givesWay(t TaskView, owner role.ID) bool {
	payer := ""
	if t.Funding != Borrowed {
		payer = t.Funding
	}
	tree := k.c.tree
	for child := owner; child != role.Root; child = tree.Roles[child].Parent {
		if tree.Roles[tree.Roles[child].Parent].Path == payer {
			return !t.Shape.Pinned && t.ReclaimGrace+t.MinRuntime <= tree.Roles[child].LendGrace
		}
	}
	return false
}

// TestPackages is the promise of packages: a role that asks in units has each of them within T, whatever borrowers do, and does not begin
// its wait anew because a node has room in bits only. Beside what Invariants says the judge looks at what runs and at nothing the
// packages remember.
func TestPackages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := newPacker(rt)
		for range rapid.IntRange(5, 40).Draw(rt, "events") {
			k.act()
			if len(k.faults) > 0 {
				rt.Fatalf("%v\n%s\n%v\n%s", k.faults[0], k.dump(), k.packages(), strings.Join(k.history, "\n"))
			}
		}
	})
}

// TestPackagesInRoughDays has nodes flap, drain and go, plans cut and leaders killed. T has excuses then; what is left is that the books
// are right, that what has a home could be served there, and that the same events have the same effects.
func TestPackagesInRoughDays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := newPacker(rt)
		for range rapid.IntRange(5, 40).Draw(rt, "events") {
			if rapid.IntRange(0, 3).Draw(rt, "wants") == 0 {
				k.want()
			} else {
				k.actor.act()
			}
			k.verdict()
		}
		k.replay()
		k.verdict()
	})
}

func (k *packer) packages() (out []string) {
	for _, r := range k.c.Roles() {
		for _, x := range r.Packages {
			out = append(out, fmt.Sprintf("%s %d of %s on %v, %d without", r.Path, x.Count, x.Unit, x.Nodes, x.Homeless))
		}
	}
	return out
}
