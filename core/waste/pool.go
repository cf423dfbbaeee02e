package waste

import (
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Lease is what one lease, or a gang's, weighs in the book while it stands. Its vectors are not changed while it does.
type Lease struct {
	Leaf     role.ID         // who uses it
	Payer    role.ID         // whose guarantee pays; the root for what is borrowed and for what has given its funding away
	Amount   resource.Vector // what it holds
	Starting resource.Vector // the part of it whose tasks do not run yet
}

// Stock is what the machines of a pool have at an instant, and what waits for it. Capacity is that of all nodes, each counted with
// at least what its leases hold; Idle is what no lease holds, by the node's reason; Free is idle on nodes that take tasks
// and is kept for nobody; Wanted is what waits and may start, by the reason why it does not.
type Stock struct {
	Capacity resource.Vector
	Idle     [Earmarked + 1]resource.Vector
	Free     resource.Vector
	Wanted   [NoDemand][]Quantity // amounts, summed in 128 bits because nothing bounds what waits
}

// The meters of a pool's machines: one for each reason up to NoDemand, and these.
const (
	capacity = NoDemand + 1 + iota
	missing
	stocks
)

// Pool keeps the running accounts of one pool.
type Pool struct {
	book   *Book
	name   string
	tree   *role.Tree
	quotas []role.Quota
	kinds  int

	used, paid, starting []meter // by role: what leaves use, what each role's guarantee pays for, what has not begun
	stock                [stocks]meter
	closed               []Account // by kind, then role: of closed intervals under this tree
	opened               int64     // when the interval began that is not closed yet
	now                  int64     // everything before is settled
}

// reset begins an interval under a tree, with no leases and no machines.
func (p *Pool) reset(tree *role.Tree, kinds int, at int64) {
	n := len(tree.Roles)
	*p = Pool{book: p.book, name: p.name, tree: tree, kinds: kinds, opened: at, now: at,
		used: make([]meter, n), paid: make([]meter, n), starting: make([]meter, n), quotas: make([]role.Quota, n),
		closed: make([]Account, n*kinds)}
	for id := range tree.Roles {
		p.quotas[id] = tree.Quota(role.ID(id), p.name, kinds)
	}
	p.meters(func(m *meter) { m.since = at })
}

// meters visits all meters.
func (p *Pool) meters(visit func(*meter)) {
	for _, ms := range [][]meter{p.stock[:], p.used, p.paid, p.starting} {
		for i := range ms {
			visit(&ms[i])
		}
	}
}

// Begin adds a lease from now on.
func (p *Pool) Begin(l Lease) {
	p.changes()
	p.used[l.Leaf].add(l.Amount, p.now)
	p.paid[l.Payer].add(l.Amount, p.now)
	if l.Starting != nil {
		p.starting[l.Leaf].add(l.Starting, p.now)
	}
}

// End takes a lease away from now on.
func (p *Pool) End(l Lease) {
	p.changes()
	p.used[l.Leaf].sub(l.Amount, p.now)
	p.paid[l.Payer].sub(l.Amount, p.now)
	if l.Starting != nil {
		p.starting[l.Leaf].sub(l.Starting, p.now)
	}
}

// Restock says what the machines have from now on, and what waits.
func (p *Pool) Restock(s *Stock) {
	for i := range p.stock {
		p.stock[i].widen(p.kinds)
		p.stock[i].read(p.now)
	}
	for i := range p.kinds {
		p.stock[capacity].set(i, s.Capacity.At(i))
		p.stock[missing].set(i, max(0, p.promised(i)-s.Capacity.At(i)))
		for r, idle := range s.Idle {
			p.stock[r].set(i, idle.At(i))
		}
		rest := s.Free.At(i)
		for r := Earmarked + 1; r < NoDemand; r++ {
			held := wanted(s.Wanted[r], i, rest)
			p.stock[r].set(i, held)
			rest -= held
		}
		p.stock[NoDemand].set(i, rest)
	}
}

// wanted is how much of an amount is wanted.
func wanted(w []Quantity, i int, of resource.Amount) resource.Amount {
	if i >= len(w) {
		return 0
	}
	return resource.Amount(least(w[i], Quantity{lo: uint64(of)}).lo)
}

// promised is what the roles directly below the root are guaranteed.
func (p *Pool) promised(i int) resource.Amount {
	var sum resource.Amount
	for _, c := range p.tree.Roles[role.Root].Children {
		sum = sum.Add(p.quotas[c].Guarantee.At(i))
	}
	return sum
}

// settle brings every meter up to an instant.
func (p *Pool) settle(at int64) {
	p.meters(func(m *meter) { m.read(at) })
	p.now = max(p.now, at)
}

// changes closes the interval before the leases change, unless it has only just begun.
func (p *Pool) changes() {
	if p.now-p.opened >= shortest {
		p.settle(p.now)
		p.close()
	}
}

// close adds the interval, settled, to what is closed and begins the next.
func (p *Pool) close() {
	p.addTo(p.closed)
	p.meters((*meter).restart)
	p.opened = p.now
}

// addTo adds the interval, settled, to rows by kind and role.
func (p *Pool) addTo(rows []Account) {
	if p.length() <= 0 {
		return
	}
	n := len(p.tree.Roles)
	for kind := range p.kinds {
		if !p.stock[capacity].at(kind).IsZero() || !p.stock[missing].at(kind).IsZero() {
			p.divide(kind, rows[kind*n:(kind+1)*n])
		}
	}
}

func (p *Pool) length() time.Duration { return time.Duration(p.now - p.opened) }
