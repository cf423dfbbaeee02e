package cluster

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/reclaim"
	"polder.dev/polder/core/role"
)

// setPlan puts a plan in force. It is refused while a role it leaves out is in use.
func (c *Cluster) setPlan(e SetPlan) error {
	if err := c.stillUsed(e.Plan); err != nil {
		return err
	}
	if err := c.stillKept(e.Plan); err != nil {
		return err
	}
	if err := e.Plan.Intern(c.kinds); err != nil {
		return refuse("InvalidArgument", "correct the plan", "%v", err)
	}
	c.plan, c.revision = e.Plan, e.Revision
	c.repool()
	c.retree()
	c.happened("PlanApplied", strconv.FormatInt(e.Revision, 10), "", "", "plan revision %d is in force", e.Revision)
	return nil
}

// stillUsed refuses a plan without a role or pool that something runs in or waits for.
func (c *Cluster) stillUsed(p *role.Plan) error {
	tree := role.Effective(p, c.now, c.kinds)
	gone := func(path string) bool { _, ok := tree.WorkRole(path); return !ok }
	inUse := map[string]int{}
	for t := range c.allTasks() {
		if gone(t.role) {
			inUse[t.role]++
		}
	}
	for _, a := range c.asks {
		if gone(a.Role) {
			inUse[a.Role] += a.waiting()
		}
	}
	first := ""
	for path := range inUse {
		if c.leafOf(path) != role.Root && (first == "" || path < first) {
			first = path
		}
	}
	if first == "" {
		return nil
	}
	return refuse("RoleInUse", "cancel or finish them first, or keep the role", "the new plan has no role %s, but %d of its tasks run or wait", first, inUse[first])
}

// repool moves nodes without tasks to the pools the plan's selectors name.
func (c *Cluster) repool() {
	for _, name := range c.plan.PoolNames() {
		c.poolOrNew(name)
	}
	for _, n := range c.sortedNodes() {
		if p := c.poolOrNew(c.plan.PoolOf(n.Attributes)); p != n.pool && len(n.tasks) == 0 {
			c.dissolveOn(n)
			c.place(n, n.NodeInfo, p)
		}
	}
}

func (c *Cluster) sortedNodes() []*node {
	out := make([]*node, 0, len(c.nodes))
	for _, n := range c.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// turn takes the tree of this instant when the calendar changes it.
func (c *Cluster) turn() {
	before := role.OpenWindows(c.plan, c.turnsAt.Add(-1))
	c.retree()
	after := role.OpenWindows(c.plan, c.now)
	for _, w := range after {
		if !slices.Contains(before, w) {
			c.happened("WindowOpened", w, "", "", "window %s is open", w)
		}
	}
	for _, w := range before {
		if !slices.Contains(after, w) {
			c.happened("WindowClosed", w, "", "", "window %s is closed", w)
		}
	}
}

// retree builds the effective tree of this instant and moves every charge to it: funding becomes shallower only where
// guarantees became smaller, and what no longer fits any rule gets notice. Claims are planned anew; what leaves for them
// counts first.
func (c *Cluster) retree() {
	for _, p := range c.pools {
		for _, cl := range slices.Clone(p.claims) {
			p.dissolve(cl)
		}
	}
	c.tree, c.treeSince = role.Effective(c.plan, c.now, c.kinds), c.now
	c.settings = role.SettingsAt(c.plan, c.now)
	c.turnsAt, _ = role.NextChange(c.plan, c.now)
	c.forecast = forecast{}
	c.readCalendar()
	for _, n := range c.nodes {
		n.setTotal(n.Capacity.Vector(c.kinds, ""))
	}
	for _, p := range c.pools {
		p.rebook()
	}
	c.changed(ObjectRole, "")
}

// rebook fills a fresh ledger with everything the pool has charged.
func (p *pool) rebook() {
	old := p.ledger.Tree()
	us := byStanding(p.units, old)
	p.reledger()
	for cl := range p.queue.all() {
		p.c.resolve(cl)
		cl.note()
	}
	p.rewait()
	var demoted []*unit
	for _, u := range us {
		if !p.rebookUnit(u, old.Roles[u.charge.At].Depth) {
			demoted = append(demoted, u)
		}
	}
	for _, u := range demoted {
		p.rebookUnit(u, 0)
	}
	p.packages.settle()
	p.repair("plan revision " + strconv.FormatInt(p.c.revision, 10))
	clear(p.paid)
	for id := range p.c.tree.Roles {
		p.paid[role.ID(id)] = struct{}{}
	}
	p.opened()
}

// byStanding orders units as they are booked into another tree: volumes first, then what may not borrow, then those whose funding
// was deepest in the old tree, then by priority and age. Who cannot stay as deep, because a guarantee is lower now, comes after
// everybody else: or it would take what its siblings' own tasks are due, until they claim it.
func byStanding(units []*unit, old *role.Tree) []*unit {
	us := slices.Clone(units)
	depth := func(u *unit) int { return old.Roles[u.charge.At].Depth }
	pinned := func(u *unit) int {
		switch {
		case u.volume():
			return 2
		case u.pinned:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(us, func(a, b *unit) int {
		return cmp.Or(pinned(b)-pinned(a), cmp.Compare(depth(b), depth(a)),
			cmp.Compare(b.tasks[0].shape.Priority, a.tasks[0].shape.Priority), cmp.Compare(a.seq, b.seq))
	})
	return us
}

// rebookUnit charges a unit in the fresh ledger, as deep as its rules allow; false, and nothing charged, when that is less deep than
// it must be.
func (p *pool) rebookUnit(u *unit, depth int) bool {
	c := p.c
	u.charge.Leaf = c.leafOf(u.tasks[0].role)
	u.charge.Amount = u.charge.Amount.Clone(c.kinds.Len())
	charge, ok := u.charge, true
	if u.leaving {
		charge.At = c.fundingRole(u.paidBy, charge.Leaf)
		p.ledger.Add(charge)
		p.ledger.Leave(charge)
	} else if charge, ok = rebooked(p.ledger, charge, u, depth); !ok {
		return false
	}
	u.charge = charge
	for _, t := range u.tasks {
		t.need = t.need.Clone(c.kinds.Len())
		p.ledger.Occupy(charge.Leaf, t.need)
	}
	if u.leaving {
		return true
	}
	p.keepPayer(u)
	p.list(u)
	p.announce(u)
	if u.leadIsOver(c.now) {
		p.leave(u) // withdrawn at once if nobody needs it
	}
	return true
}

// rebooked charges what runs in the book of another tree, as deep as its rules allow, or to the root, where a repair deals with it;
// false, and nothing charged, when that is less deep than it must be.
func rebooked(l *lending.Ledger, c lending.Charge, u *unit, depth int) (lending.Charge, bool) {
	if u.volume() || u.tasks[0].shape.carved() {
		return payAtLeaf(l, c), true
	}
	funded := fundOrBorrow(l, c, u.pinned)
	if l.Tree().Roles[funded.At].Depth < depth {
		l.Remove(funded)
		return c, false
	}
	return funded, true
}

// leadIsOver reports whether a unit under notice for a window has seen it open; the notice is one for a claim from then on.
func (u *unit) leadIsOver(now time.Time) bool {
	over := false
	for _, t := range u.tasks {
		if t.notice != nil && t.notice.Kind == ForWindow && !now.Before(t.notice.Opens) {
			t.notice.Kind = ForClaim
			over = true
		}
	}
	return over
}

// repair gives notice to what no longer fits after the tree changed.
func (p *pool) repair(claimant string) {
	if p.c.recovering {
		return
	}
	if p.shares == nil {
		p.weigh()
	}
	for _, u := range slices.Clone(p.units) {
		if u.pinned && !u.leaving && u.charge.At != u.charge.Leaf {
			p.ledger.Leave(u.charge)
			p.evict(u, ForPlan, claimant)
		}
	}
	round := reclaim.NewRound(p.ledger, p.book(true))
	for _, v := range round.Repair() {
		p.evict(v.Unit.Owner.(*unit), ForPlan, claimant)
	}
}

// Plan returns the plan in force; it must not be changed.
func (c *Cluster) Plan() *role.Plan { return c.plan }

// PlanRevision is the revision of the plan in force.
func (c *Cluster) PlanRevision() int64 { return c.revision }

// Tree is the effective tree of the last Step; it is immutable.
func (c *Cluster) Tree() *role.Tree { return c.tree }

// Settings are the cluster-wide settings of the last Step.
func (c *Cluster) Settings() role.Settings { return c.settings }
