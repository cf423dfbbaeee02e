package sim

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// books are the run's own accounts, kept from what the leader says and apart from its ledger: who uses and waits for what, who
// pays, how long everybody waited, what was lost.
type books struct {
	*run
	kinds *resource.Kinds
	dims  []string // resource names, pools included
	dim   map[string]int
	tree  *role.Tree
	roles []*account // by role.ID

	leases  map[string]*lease
	asks    map[string]*queue
	line    []string // of asks, in order of arrival
	running int
	waiting int

	has       []resource.Amount // what machines with power have
	full      []resource.Amount // what all machines have
	usedTime  []float64         // integral of what is used, in base units × seconds
	hadTime   []float64         // integral of what there is
	settled   int64
	missing   bool          // machines are missing for the guarantees themselves
	away      int           // machines that do not answer and are not given up
	excusedAt int64         // when machines last were missing or did not answer, or there was no leader; -1 is never
	slow      time.Duration // what messages and ends take beyond what T allows for
	notices   map[string]bool
	faults    int
	claims    int
	conflicts int
	refusals  []string
	refusedN  int
}

// lease is a lease as the books have it.
type lease struct {
	leaf, at role.ID
	ask      string
	index    int
	amount   []dose
	launched bool

	on     *machine
	gang   bool
	pinned bool
	hold   time.Duration
	leaves int64 // its deadline; 0 while it has no notice
	window bool  // for a window that opens: it may be asked earlier
	ending bool  // it was told to stop
}

// dose is an amount of one resource.
type dose struct {
	dim int
	is  resource.Amount
}

// queue is what waits of an ask.
type queue struct {
	leaf    role.ID
	amount  []dose
	waiting int
	gang    int
	pinned  bool
	pool    string
	plain   bool        // it asks for nothing of a node but amounts
	rests   []time.Time // until when tasks that ended rest before they start again

	excusedUntil int64 // see excused
}

// account is one role's part of the books, over its subtree.
type account struct {
	path      string
	parent    role.ID
	leaf      bool
	guarantee []resource.Amount
	most      []resource.Amount // limit, and guarantee + borrow
	limit     []resource.Amount
	bound     time.Duration // T

	used     []resource.Amount
	funded   []resource.Amount // of it, what the subtree's own guarantees pay for
	asked    []resource.Amount // of a leaf: what waits
	pinned   []resource.Amount // of a leaf: what waits beside and may use only its guarantee
	sum      []resource.Amount // of what the children demand, or what a leaf uses and asks for
	demand   []resource.Amount // the sum, clipped by limits
	private  []resource.Amount // of the guarantee, what no child is promised
	below    []resource.Amount // what the children's own guarantees cover
	covered  []resource.Amount // what is promised of the demand, whatever others lend; see [account.cover]
	largest  []resource.Amount // one start of a gang or task
	short    shortage
	debts    debts
	usedTime []float64
	ownTime  []float64
	since    int64
	touched  bool

	counts
}

// counts are what happened in a role, inner ones summing up their subtree.
type counts struct {
	Started   int
	Succeeded int
	Reclaimed int
	Lost      int
	Notices   int // given
	Full      int // tasks that used all of their notice
	Withdrawn int
	Short     int // notices shorter than promised
	Early     int // tasks stopped before their deadline
	LostWork  time.Duration
	LostFault time.Duration
	waits     []time.Duration
}

func newBooks(r *run) (*books, error) {
	b := &books{run: r, kinds: resource.NewKinds(), dim: map[string]int{}, leases: map[string]*lease{}, asks: map[string]*queue{}, notices: map[string]bool{}}
	if err := r.Plan.Intern(b.kinds); err != nil {
		return nil, err
	}
	for _, n := range r.machines() {
		if err := b.kinds.InternAll(n.Capacity.Names()); err != nil {
			return nil, err
		}
	}
	b.slow = 2*r.Agents.Latency.most() + r.Agents.Stop.most() + 2*time.Duration(r.Leader.Turn) - role.Slack
	b.slow, b.excusedAt = max(0, b.slow), -1
	b.nameDims()
	b.has, b.full = make([]resource.Amount, len(b.dims)), make([]resource.Amount, len(b.dims))
	b.usedTime, b.hadTime = make([]float64, len(b.dims)), make([]float64, len(b.dims))
	b.setTree(role.Effective(&r.Plan, r.time(), b.kinds))
	return b, nil
}

// nameDims lists what the machines have, by pool, in a fixed order.
func (b *books) nameDims() {
	seen := map[string]bool{}
	for _, n := range b.machines() {
		pool := b.Plan.PoolOf(n.Attributes)
		for _, kind := range n.Capacity.Names() {
			if name := resource.JoinName(pool, kind); !seen[name] {
				seen[name] = true
				b.dims = append(b.dims, name)
			}
		}
	}
	slices.SortFunc(b.dims, func(x, y string) int {
		return cmp.Or(cmp.Compare(strings.Count(x, "/"), strings.Count(y, "/")), cmp.Compare(x, y))
	})
	for i, name := range b.dims {
		b.dim[name] = i
	}
}

// setTree takes over the numbers of the tree in force.
func (b *books) setTree(tree *role.Tree) {
	first := b.tree == nil
	b.tree = tree
	n := len(b.dims)
	row := func() []resource.Amount { return make([]resource.Amount, n) }
	for id := range tree.Roles {
		rl := &tree.Roles[id]
		if first {
			b.roles = append(b.roles, &account{
				path: rl.Path, parent: rl.Parent, leaf: len(rl.Children) == 0, used: row(), funded: row(), asked: row(), pinned: row(), sum: row(), demand: row(),
				below: row(), covered: row(), largest: row(), usedTime: make([]float64, n), ownTime: make([]float64, n), short: shortage{missing: make([][]gap, n)},
			})
		}
		a := b.roles[id]
		a.guarantee, a.most, a.limit = row(), row(), row()
		a.bound = tree.ReclaimBound(role.ID(id), role.SettingsAt(&b.Plan, b.time()).ReclaimDelay) + role.Slack
		for i, name := range b.dims {
			a.guarantee[i], a.most[i], a.limit[i] = b.quota(role.ID(id), name)
		}
		a.private = slices.Clone(a.guarantee)
	}
	for _, a := range b.roles {
		for i, g := range a.guarantee {
			if a.parent != role.None {
				b.roles[a.parent].private[i] -= g
			}
		}
	}
	for id := len(b.roles) - 1; id >= 0; id-- { // children before parents
		b.redemand(role.ID(id))
	}
}

// quota is a role's guarantee, the most it may hold of a resource, and its limit.
func (b *books) quota(id role.ID, name string) (guarantee, most, limit resource.Amount) {
	pool, kind := resource.SplitName(name)
	k, _ := b.kinds.Lookup(kind)
	if id == role.Root {
		return 0, resource.Unlimited, resource.Unlimited
	}
	q := b.tree.Quota(id, pool, b.kinds.Len())
	limit = q.Limit.At(int(k))
	return q.Guarantee.At(int(k)), min(limit, q.Guarantee.At(int(k)).Add(q.Borrow.At(int(k)))), limit
}

// doses are resources by dimension. What no machine has is left out.
func (b *books) doses(r resource.Resources, pool string) []dose {
	out := make([]dose, 0, len(r))
	for name, a := range r {
		if pool != "" {
			name = resource.JoinName(pool, name)
		}
		if i, ok := b.dim[name]; ok {
			out = append(out, dose{i, a})
		}
	}
	return out
}

// capacity counts a machine in or out.
func (b *books) capacity(m *machine, in bool) {
	b.integrate()
	pool := b.Plan.PoolOf(m.info.Attributes)
	for _, d := range b.doses(m.info.Capacity, pool) {
		if !in {
			b.has[d.dim] -= d.is
			continue
		}
		b.has[d.dim] += d.is
		if m.session == 0 {
			b.full[d.dim] += d.is
		}
	}
}

// integrate brings the integrals over all roles up to now.
func (b *books) integrate() {
	span := float64(b.now-b.settled) / 1e9
	b.settled = b.now
	if len(b.roles) == 0 || span == 0 {
		return
	}
	for i := range b.dims {
		b.usedTime[i] += float64(b.roles[role.Root].used[i]) * span
		b.hadTime[i] += float64(b.has[i]) * span
	}
}

func (a *account) integrate(now int64) {
	span := float64(now-a.since) / 1e9
	a.since = now
	if span == 0 {
		return
	}
	for i := range a.used {
		a.usedTime[i] += float64(a.used[i]) * span
		a.ownTime[i] += float64(a.funded[i]) * span
	}
}

// use books a lease in (+1) or out (-1) of all roles above it.
func (b *books) use(l *lease, sign resource.Amount) {
	b.integrate()
	paid := false
	for id := l.leaf; id != role.None; id = b.roles[id].parent {
		a := b.roles[id]
		a.integrate(b.now)
		paid = paid || id == l.at && id != role.Root
		for _, d := range l.amount {
			a.used[d.dim] += sign * d.is
			if paid {
				a.funded[d.dim] += sign * d.is
			}
		}
	}
	b.wants(l.leaf)
	for id := l.leaf; id > role.Root; id = b.roles[id].parent {
		b.follow(b.roles[id], b.now, b.missing)
	}
}

// wants brings the demand of a leaf and of all above it up to date.
func (b *books) wants(id role.ID) {
	for ; id != role.None; id = b.roles[id].parent {
		b.redemand(id)
	}
}

// redemand recomputes what a role demands and tells its parent the difference.
func (b *books) redemand(id role.ID) {
	a := b.roles[id]
	for i := range a.sum {
		if a.leaf {
			a.sum[i] = a.used[i] + a.asked[i] + min(a.pinned[i], max(0, a.guarantee[i]-a.used[i]))
		}
		now := min(a.sum[i], a.most[i])
		if a.parent != role.None {
			b.roles[a.parent].sum[i] += now - a.demand[i]
		}
		a.demand[i] = now
	}
	before := a.covered
	a.covered = a.cover()
	for i, now := range a.covered {
		if a.parent != role.None {
			b.roles[a.parent].below[i] += now - before[i]
		}
	}
	a.touched = true
}

// launched books a new lease.
func (b *books) launched(t cluster.Assignment) {
	l := b.leases[t.Task]
	if l == nil {
		l = b.lease(t)
		b.open(t.Task, l)
	}
	if l.launched {
		return // sent again
	}
	l.launched = true
	b.pays(l)
	if j := b.jobs[t.Ask]; j != nil {
		b.each(l.leaf, func(a *account) {
			a.Started++
			a.waits = append(a.waits, time.Duration(b.now-j.waitsAt[t.Index]))
		})
	}
}

func (b *books) lease(t cluster.Assignment) *lease {
	leaf := b.leafOf(t.Role)
	return &lease{
		leaf: leaf, at: b.payer(t.Funding, leaf), ask: t.Ask, index: t.Index, amount: b.doses(t.Resources, ""),
		on: b.byName[t.Node], gang: t.Gang, pinned: t.Shape.Pinned, hold: t.ReclaimGrace + t.MinRuntime,
	}
}

func (b *books) open(id string, l *lease) {
	b.leases[id] = l
	l.on.leases = append(l.on.leases, l)
	b.running++
	b.use(l, +1)
}

func (b *books) leafOf(path string) role.ID {
	id, ok := b.tree.WorkRole(path)
	if !ok {
		return role.Root
	}
	return id
}

// payer is the role a funding names.
func (b *books) payer(funding string, leaf role.ID) role.ID {
	for id := leaf; id > role.Root; id = b.roles[id].parent {
		if b.roles[id].path == funding {
			return id
		}
	}
	if id, ok := b.tree.Lookup(funding); ok && funding != cluster.Borrowed {
		return id
	}
	return role.Root
}

func (b *books) each(leaf role.ID, do func(*account)) {
	for id := leaf; id != role.None; id = b.roles[id].parent {
		do(b.roles[id])
	}
}

// seen books a lease the leader knows from elsewhere: adopted after a failover.
func (b *books) seen(id string) {
	if b.leases[id] != nil {
		return
	}
	if t, ok := b.c.Task(id); ok {
		b.open(id, b.lease(t.Assignment))
		if t.Notice != nil {
			b.leaves(*t.Notice)
		}
	}
}

// leaves notes by when a lease ends.
func (b *books) leaves(n cluster.Notice) {
	if l := b.leases[n.Task]; l != nil {
		l.leaves, l.window = max(1, b.since(n.Deadline)), n.Kind == cluster.ForWindow
	}
}

// stopped notes that a lease ends for another reason than a notice.
func (b *books) stopped(task string) {
	if l := b.leases[task]; l != nil {
		l.ending = true
	}
}

func (b *books) fundedBy(task, funding string) {
	l := b.leases[task]
	if l == nil {
		return
	}
	b.use(l, -1)
	l.at = b.payer(funding, l.leaf)
	b.use(l, +1)
}

func (b *books) close(id string) {
	if l := b.leases[id]; l != nil {
		b.running--
		b.use(l, -1)
		l.on.leases = slices.DeleteFunc(l.on.leases, func(x *lease) bool { return x == l })
		delete(b.leases, id)
	}
}

// ended is a lease that is over.
func (b *books) ended(t cluster.TaskView) {
	l := b.leases[t.Task]
	if l == nil {
		return
	}
	b.close(t.Task)
	if j := b.jobs[t.Ask]; j != nil {
		j.waitsAt[t.Index] = b.now
	}
	b.each(l.leaf, func(a *account) {
		switch t.State {
		case cluster.Succeeded:
			a.Succeeded++
		case cluster.Reclaimed:
			a.Reclaimed++
		case cluster.Lost:
			a.Lost++
		}
	})
}

// queued books what waits of an ask now.
func (b *books) queued(id string) {
	spec, state, ok := b.c.AskRecord(id)
	if !ok {
		return
	}
	q := b.asks[id]
	if q == nil {
		q = &queue{leaf: b.leafOf(spec.Role), amount: b.doses(spec.Shape.Resources, spec.Shape.Pool), gang: 1, pinned: spec.Shape.Pinned,
			pool: spec.Shape.Pool, plain: len(spec.Shape.Constraints) == 0 && !spec.Shape.Exclusive}
		if spec.Gang {
			q.gang = spec.Count
		}
		b.asks[id] = q
		b.line = append(b.line, id)
		b.each(q.leaf, func(a *account) {
			for _, d := range q.amount {
				a.largest[d.dim] = max(a.largest[d.dim], d.is*resource.Amount(q.gang))
			}
		})
	}
	now := spec.Count - state.Next + len(state.Returned)
	q.rests = q.rests[:0]
	for _, in := range state.Returned {
		if !in.NotBefore.IsZero() {
			q.rests = append(q.rests, in.NotBefore)
		}
	}
	if state.Cancelled {
		now = 0
	}
	b.wait(q, now)
}

func (b *books) unqueued(id string) {
	if q := b.asks[id]; q != nil {
		b.wait(q, 0)
		delete(b.asks, id)
		b.line = slices.DeleteFunc(b.line, func(x string) bool { return x == id })
	}
}

func (b *books) wait(q *queue, now int) {
	more := resource.Amount(now - q.waiting)
	if more == 0 {
		return
	}
	b.waiting += int(more)
	q.waiting = now
	asked := b.roles[q.leaf].asked
	if q.pinned {
		asked = b.roles[q.leaf].pinned
	}
	for _, d := range q.amount {
		asked[d.dim] += more * d.is
	}
	b.wants(q.leaf)
}

// resync makes the books what a new leader knows.
func (b *books) resync() {
	known := map[string]bool{}
	for _, t := range b.c.Tasks() {
		known[t.Task] = true
		b.seen(t.Task)
		b.fundedBy(t.Task, t.Funding)
	}
	for id := range b.leases {
		if !known[id] {
			b.close(id)
		}
	}
	for id := range b.asks {
		if _, ok := b.c.Ask(id); !ok {
			b.unqueued(id)
		} else {
			b.queued(id)
		}
	}
}

// of lists the leases of an ask, by index.
func (b *books) of(ask string) []string {
	var ids []string
	for id, l := range b.leases {
		if l.ask == ask {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y string) int { return cmp.Compare(b.leases[x].index, b.leases[y].index) })
	return ids
}
