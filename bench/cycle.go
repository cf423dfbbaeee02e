package bench

import (
	"fmt"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/offer"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Tree is the shape of roles of an offer workload.
type Tree string

// Trees. The amounts are those of the published benchmarks of a two-level scheduler, so that one can be run beside the other.
const (
	Flat   Tree = "flat"   // one role, every taker in it
	Levels Tree = "levels" // 30 tops × 3 × 2, a taker on every node of the tree; tops guaranteed and limited
	Quotas Tree = "quotas" // a role for each taker: together guaranteed 30 % and limited to 76.25 %
	Many   Tree = "many"   // five small roles for one large, guarantee = limit, on machines of 2 cpus
)

// Cycle is W2: offers of all machines to all takers.
type Cycle struct {
	Agents, Takers int
	Tree           Tree
}

// mostFilters is up to how many pairs of machine and taker everybody declines everything.
const mostFilters = 1000 * 300

// offered is a run of a Cycle.
type offered struct {
	Cycle
	*Stage
	offers *cluster.Offers
	open   []*offer.Offer
	out    []Result
}

// Run measures a first cycle, one with nothing changed, full cycles after everything was given back, and one when everybody has
// declined everything.
func (w Cycle) Run(seed uint64) []Result {
	r := &offered{Cycle: w, Stage: w.build().Open()}
	r.join()
	r.phase("first cycle", func() int { return r.cycle() })
	r.phase("nothing changed", func() int {
		for range 1000 {
			r.cycle()
		}
		return 1000
	})
	for range 3 {
		r.giveBack()
		r.phase("full cycle", func() int { return r.cycle() })
	}
	r.keepMedian("full cycle", 3)
	if w.Agents*w.Takers <= mostFilters {
		r.declined()
	}
	return r.out
}

// phase measures one step, whose offers the referee looks at as if all were accepted.
func (r *offered) phase(name string, f func() int) {
	var units int
	cost := Measure(func() { units = f() })
	res := Result{
		Workload: "W2 " + name, Case: string(r.Tree), Agents: r.Agents, Roles: r.Takers, Cost: cost, Units: units, Unit: "offer",
		Note: fmt.Sprintf("%d offers open", len(r.open)),
	}
	if name == "nothing changed" || name == "all declined" {
		res.Unit = "cycle"
	}
	res.Faults = Judge(r.market.Nodes, r.market.Plan, r.now, r.accepted())
	r.out = append(r.out, res)
}

// keepMedian keeps of the last n results the one with the median CPU time.
func (r *offered) keepMedian(_ string, n int) {
	last := r.out[len(r.out)-n:]
	slices.SortFunc(last, func(a, b Result) int { return int(a.CPU - b.CPU) })
	r.out = append(r.out[:len(r.out)-n], last[n/2])
}

func (r *offered) cycle() int {
	made, rescinded := r.offers.Cycle(r.now)
	if len(rescinded) > 0 {
		panic("an offer was rescinded though nothing changed")
	}
	r.open = append(r.open, made...)
	return len(made)
}

func (r *offered) giveBack() {
	for _, o := range r.open {
		r.offers.Close(o.ID)
	}
	r.open = nil
}

// declined lets everybody decline everything, for good, and measures a cycle that looks at all of it again.
func (r *offered) declined() {
	for rounds := 0; len(r.open) > 0 && rounds <= 10*r.Takers; rounds++ {
		for _, o := range r.open {
			r.offers.Decline(o.ID, time.Time{})
		}
		r.open = nil
		r.cycle()
	}
	r.phase("all declined", func() int {
		for range 100 {
			r.offers.SetUsed(0, nil) // something changed
			r.cycle()
		}
		return 100
	})
}

// accepted is the open offers as tasks.
func (r *offered) accepted() []cluster.TaskView {
	var out []cluster.TaskView
	tree := role.Effective(r.market.Plan, r.now, resource.NewKinds())
	for _, o := range r.open {
		for i, p := range o.Paid {
			t := cluster.TaskView{}
			t.Task, t.Node, t.Role = fmt.Sprintf("o%d.%d", o.ID, i), r.offers.NodeName(o), r.market.Leaves[o.Taker]
			t.Funding = role.Display(tree.Roles[p.At].Path)
			t.Resources = p.Amount.Resources(resource.NewKinds(), "")
			t.ReclaimGrace = 30 * time.Second
			out = append(out, t)
		}
	}
	return out
}

func (r *offered) join() {
	o, err := r.Offers("", resource.Resources{"cpu": 10, "memory": 32 << 20}, false)
	if err != nil {
		panic(err)
	}
	r.offers = o
	for _, path := range r.market.Leaves {
		if _, err := o.Join(path); err != nil {
			panic(err)
		}
	}
}

// build makes machines and plan; Leaves has the role of every taker.
func (w Cycle) build() *Market {
	m := &Market{Plan: &role.Plan{Roles: map[string]role.RoleSpec{}}}
	cpus, mem := resource.Amount(24_000), resource.Amount(4096<<20)
	if w.Tree == Many {
		cpus, mem = 2_000, 2048<<20
	}
	for i := range w.Agents {
		m.Nodes = append(m.Nodes, cluster.NodeInfo{Name: fmt.Sprintf("agent%d", i), Capacity: resource.Resources{"cpu": cpus, "memory": mem, "disk": mem}})
	}
	m.cpu, m.memory = cpus*resource.Amount(w.Agents), mem*resource.Amount(w.Agents)
	w.plant(m)
	return m
}

func (w Cycle) plant(m *Market) {
	bound := func(path string, guarantee, limit float64) {
		m.Plan.Roles[path] = role.RoleSpec{Guarantee: m.part(guarantee), Limit: m.part(limit)}
		m.Leaves = append(m.Leaves, path)
	}
	switch w.Tree {
	case Flat:
		m.Plan.Roles["all"] = role.RoleSpec{}
		m.Leaves = slices.Repeat([]string{"all"}, w.Takers)
	case Quotas:
		for i := range w.Takers {
			bound(fmt.Sprintf("role%d", i), 0.3/float64(w.Takers), 0.7625/float64(w.Takers))
		}
	case Many:
		for i := range w.Takers {
			size := resource.Resources{"cpu": 1000, "memory": 1024 << 20, "disk": 1024 << 20}
			if i%6 == 5 {
				size = resource.Resources{"cpu": 4000, "memory": 4096 << 20, "disk": 4096 << 20}
			}
			path := fmt.Sprintf("role%d", i)
			m.Plan.Roles[path] = role.RoleSpec{Guarantee: size, Limit: size}
			m.Leaves = append(m.Leaves, path)
		}
	case Levels:
		for t := range w.Takers / 10 {
			top := fmt.Sprintf("t%d", t)
			bound(top, 0.3/float64(w.Takers/10), 0.61*30/float64(w.Takers/10)/10)
			for j := range 3 {
				mid := fmt.Sprintf("%s/m%d", top, j)
				m.Plan.Roles[mid] = role.RoleSpec{}
				m.Leaves = append(m.Leaves, mid)
				for k := range 2 {
					leaf := fmt.Sprintf("%s/l%d", mid, k)
					m.Plan.Roles[leaf] = role.RoleSpec{}
					m.Leaves = append(m.Leaves, leaf)
				}
			}
		}
	}
}
