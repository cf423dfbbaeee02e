package waste

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// How long an interval lasts at least before it is closed for a change, and how long and how densely a book remembers its totals.
const (
	shortest  = int64(10 * time.Second)
	markEvery = int64(5 * time.Minute)
	recent    = int64(time.Hour) // marks this young are all kept; of older ones, those of full hours
	memory    = int64(24 * time.Hour)
)

// Book is the account of all pools of a cluster since it was opened. Make one with [NewBook].
type Book struct {
	pools  map[string]*Pool
	totals totals // of all intervals under trees there were
	marks  []mark // what everything closed came to, oldest first
	opened int64
	now    int64
}

// key names the rows of a role in a pool.
type key struct{ pool, role string }

// totals are rows by kind.
type totals map[key][]Account

// mark is a copy of the totals at an instant.
type mark struct {
	at     int64
	totals totals
}

// NewBook opens a book.
func NewBook(now time.Time) *Book {
	at := now.UnixNano()
	return &Book{pools: map[string]*Pool{}, totals: totals{}, opened: at, now: at}
}

// Retree closes what stands of a pool and begins anew under a tree, with vectors of that many kinds: no lease is in the pool and
// no stock until they are given again. A pool nobody has named before is made.
func (b *Book) Retree(pool string, tree *role.Tree, kinds int) *Pool {
	p := b.pools[pool]
	if p == nil {
		p = &Pool{book: b, name: pool}
		b.pools[pool] = p
	} else {
		p.settle(b.now)
		p.close()
		b.totals.add(p, p.closed)
	}
	p.reset(tree, kinds, b.now)
	return p
}

// Advance says that nothing changes until an instant. Times before that of the last call are ignored.
func (b *Book) Advance(now time.Time) {
	to := now.UnixNano()
	for at := max(b.now, to-memory); at/markEvery < to/markEvery; {
		at = at - at%markEvery + markEvery
		b.settle(at)
		b.mark()
	}
	if to > b.now {
		b.now = to
		for _, p := range b.pools {
			p.now = to
		}
	}
}

// settle brings every pool up to an instant.
func (b *Book) settle(at int64) {
	b.now = at
	for _, p := range b.pools {
		p.settle(at)
	}
}

// mark closes every interval and keeps a copy of what everything comes to.
func (b *Book) mark() {
	sum := b.totals.clone()
	for _, p := range b.pools {
		p.close()
		sum.add(p, p.closed)
	}
	b.marks = append(b.marks, mark{b.now, sum})
	b.forget()
}

// forget drops marks that are too old or too dense, and roles that are gone and have not moved since the oldest mark.
func (b *Book) forget() {
	b.marks = slices.DeleteFunc(b.marks, func(m mark) bool {
		age := b.now - m.at
		return age > memory || age > recent && m.at%int64(time.Hour) != 0
	})
	oldest := b.marks[0]
	if b.now-oldest.at < memory-int64(time.Hour) {
		return
	}
	for k, rows := range b.totals {
		if p := b.pools[k.pool]; p != nil {
			if _, there := p.tree.Lookup(k.role); there {
				continue
			}
		}
		if slices.Equal(rows, oldest.totals[k]) {
			delete(b.totals, k)
		}
	}
}

// add adds rows by kind and role of a pool's tree.
func (t totals) add(p *Pool, rows []Account) {
	for id, r := range p.tree.Roles {
		if role.Display(r.Path) != r.Path {
			continue // the row above has it
		}
		for kind := range p.kinds {
			a := &rows[kind*len(p.tree.Roles)+id]
			if *a == (Account{}) {
				continue
			}
			k := key{p.name, r.Path}
			if short := kind + 1 - len(t[k]); short > 0 {
				t[k] = append(t[k], make([]Account, short)...)
			}
			t[k][kind].Add(a)
		}
	}
}

func (t totals) clone() totals {
	out := make(totals, len(t))
	for k, rows := range t {
		out[k] = slices.Clone(rows)
	}
	return out
}

// Report is the book over a time: the rows of every role that moved, by role, pool and kind. Nothing in it is shared.
type Report struct {
	From, To time.Time
	Rows     []Row
}

// Row is a role's account of one kind of resource in one pool.
type Row struct {
	Role     string // "" is the root: the pool itself
	Resource string // with the pool before it
	Account
}

// Report returns the book from the latest mark that is not after an instant, or from the beginning when there is none or the
// instant is zero, until now. It closes nothing: reading does not change what is read later.
func (b *Book) Report(since, now time.Time, kinds *resource.Kinds) Report {
	b.Advance(now)
	b.settle(b.now)
	sum := b.totals.clone()
	for _, p := range b.pools {
		rows := slices.Clone(p.closed)
		p.addTo(rows)
		sum.add(p, rows)
	}
	from := mark{at: b.opened}
	for _, m := range b.marks {
		if !since.IsZero() && m.at <= since.UnixNano() {
			from = m
		}
	}
	out := Report{From: time.Unix(0, from.at).UTC(), To: time.Unix(0, b.now).UTC()}
	for _, k := range slices.SortedFunc(maps.Keys(sum), func(x, y key) int { return cmp.Or(cmp.Compare(x.role, y.role), cmp.Compare(x.pool, y.pool)) }) {
		for kind, a := range sum[k] {
			if old := from.totals[k]; kind < len(old) {
				a = a.less(old[kind])
			}
			if a != (Account{}) {
				out.Rows = append(out.Rows, Row{k.role, resource.JoinName(k.pool, kinds.Name(resource.Kind(kind))), a})
			}
		}
	}
	return out
}
