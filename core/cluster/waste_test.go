package cluster

import (
	"math/big"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// integrator recomputes from everything there is, before every step in which time goes on, what the waste book adds up from
// changes. It knows paths, tasks and nodes; it does not use the ledger's sums.
type integrator struct {
	last time.Time
	sums map[figure]*big.Int
}

type figure struct {
	role, pool string
	kind       int
	what       string
}

func (n *integrator) add(f figure, a resource.Amount, d time.Duration) {
	if n.sums[f] == nil {
		n.sums[f] = new(big.Int)
	}
	x := big.NewInt(int64(a))
	n.sums[f].Add(n.sums[f], x.Mul(x, big.NewInt(int64(d))))
}

// integrate adds what has stood since the last step.
func (n *integrator) integrate(c *Cluster, now time.Time) {
	d := now.Sub(n.last)
	if n.last.IsZero() {
		d = 0
	}
	n.last = now
	if d == 0 {
		return
	}
	for _, p := range c.pools {
		for kind := range c.kinds.Len() {
			n.roles(p, kind, d)
			n.machines(p, kind, d)
		}
	}
}

// roles adds what roles are guaranteed, hold and borrow.
func (n *integrator) roles(p *pool, kind int, d time.Duration) {
	c := p.c
	for id := range c.tree.Roles[1:] {
		path := c.tree.Roles[id+1].Path
		n.add(figure{path, p.name, kind, "guarantee"}, p.ledger.Quota(role.ID(id+1)).Guarantee.At(kind), d)
	}
	for t := range c.allTasks() {
		if t.node.pool != p {
			continue
		}
		payer := c.tree.Roles[t.unit.charge.At].Path
		if t.unit.leaving {
			payer = ""
		}
		for path := c.tree.Roles[c.leafOf(t.role)].Path; ; path = parentPath(path) {
			what := "used"
			if t.state == Starting {
				what = "starting"
			}
			n.add(figure{path, p.name, kind, what}, t.need.At(kind), d)
			if path == "" {
				break
			}
			if path != payer && !strings.HasPrefix(payer, path+"/") {
				n.add(figure{path, p.name, kind, "borrowed"}, t.need.At(kind), d)
			}
		}
	}
}

// machines adds what nodes have idle, by reason.
func (n *integrator) machines(p *pool, kind int, d time.Duration) {
	var capacity, free, promised resource.Amount
	idle := map[waste.Reason]resource.Amount{}
	for _, m := range p.nodes {
		if m == nil {
			continue
		}
		var used resource.Amount
		for _, t := range m.tasks {
			used += t.need.At(kind)
		}
		total := max(used, m.total.At(kind))
		capacity += total
		switch rest := total - used; {
		case !m.reachable:
			idle[waste.Unreachable] += rest
		case m.Draining != nil:
			idle[waste.Draining] += rest
		case m.Cordoned:
			idle[waste.Cordoned] += rest
		default:
			open := min(rest, p.index.Available(m.id).At(kind)) // the one thing taken over: what may be placed there
			idle[waste.Earmarked] += rest - open
			free += open
		}
	}
	wanted := map[waste.Reason]resource.Amount{}
	for cl := range p.queue.all() {
		for _, a := range cl.asks {
			for range max(0, a.readyCount(p.c.now)-a.claims*cl.count) {
				wanted[cl.heldUp()] += cl.need.At(kind)
			}
		}
	}
	for r := waste.Warm; r < waste.NoDemand; r++ {
		idle[r] = min(free, wanted[r])
		free -= idle[r]
	}
	idle[waste.NoDemand] = free
	for _, child := range p.c.tree.Roles[0].Children {
		promised += p.ledger.Quota(child).Guarantee.At(kind)
	}
	idle[waste.Missing] = max(0, promised-capacity)
	n.add(figure{"", p.name, kind, "guarantee"}, capacity+idle[waste.Missing], d)
	for r, a := range idle {
		n.add(figure{"", p.name, kind, r.String()}, a, d)
	}
}

func (n *integrator) sum(f figure) *big.Int {
	if s := n.sums[f]; s != nil {
		return s
	}
	return new(big.Int)
}

// checkWaste compares the book with the integrator, and checks that every row and every market balances, exactly.
func (w *world) checkWaste() {
	w.naive.integrate(w.c, w.now)
	rows := map[[2]string]map[int]waste.Account{}
	for _, r := range w.c.Waste(time.Time{}, w.now).Rows {
		pool, name := resource.SplitName(r.Resource)
		kind, _ := w.c.kinds.Lookup(name)
		k := [2]string{r.Role, pool}
		if rows[k] == nil {
			rows[k] = map[int]waste.Account{}
		}
		rows[k][int(kind)] = r.Account
		if r.Has() != r.Spent() {
			w.fault("waste: %s of %q: %+v does not balance", r.Resource, r.Role, r.Account)
		}
	}
	for _, p := range w.c.pools {
		for id, r := range w.c.tree.Roles {
			for kind := range w.c.kinds.Len() {
				if role.Display(r.Path) == r.Path {
					w.compareWaste(figure{r.Path, p.name, kind, ""}, rows[[2]string{r.Path, p.name}][kind])
					w.checkMarket(p, role.ID(id), kind, rows)
				}
			}
		}
	}
}

func exactly(q waste.Quantity) *big.Int {
	out, _ := new(big.Int).SetString(q.Text(1), 10)
	if out == nil { // a fraction: nanoseconds
		whole, frac, _ := strings.Cut(q.Text(1), ".")
		out, _ = new(big.Int).SetString(whole+(frac + strings.Repeat("0", 9))[:9], 10)
		return out
	}
	return out.Mul(out, big.NewInt(1e9))
}

func (w *world) compareWaste(f figure, a waste.Account) {
	got := map[string]waste.Quantity{"guarantee": a.Guarantee, "borrowed": a.Borrowed, "used": a.Used, "starting": a.Idle[waste.Starting]}
	if f.role == "" {
		for _, r := range waste.Reasons() {
			if r != waste.Starting {
				got[r.String()] = a.Idle[r]
			}
		}
	}
	for what, q := range got {
		f.what = what
		if want := w.naive.sum(f); exactly(q).Cmp(want) != 0 {
			w.fault("waste: %s of %q in pool %q kind %d is %s, a naive integration has %s", what, f.role, f.pool, f.kind, exactly(q), want)
		}
	}
}

// checkMarket is the double entry: what the roles below one borrowed, less what it borrowed on, was lent by somebody there, less
// what it lent on; the difference came from what it has promised to nobody, and is not more than that.
func (w *world) checkMarket(p *pool, id role.ID, kind int, rows map[[2]string]map[int]waste.Account) {
	r := &w.c.tree.Roles[id]
	if len(r.Children) == 0 {
		return
	}
	own := rows[[2]string{r.Path, p.name}][kind]
	private, drawn := exactly(own.Guarantee), exactly(own.Lent)
	drawn.Sub(drawn, exactly(own.Borrowed))
	for _, c := range r.Children {
		path := w.c.tree.Roles[c].Path
		lender := rows[[2]string{path, p.name}][kind]
		drawn.Add(drawn, w.naive.sum(figure{path, p.name, kind, "borrowed"}))
		drawn.Sub(drawn, exactly(lender.Lent))
		private.Sub(private, exactly(lender.Guarantee))
	}
	if drawn.Sign() < 0 || drawn.Cmp(private) > 0 {
		w.fault("waste: in the market of %q in pool %q kind %d %s was borrowed and not lent, %s is promised to nobody", r.Path, p.name, kind, drawn, private)
	}
}
