package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// Ledger is where every resource-second of a run went. It is the leader's own book ([waste.Book]); those of leaders one after the other
// are added up. In every row guarantee + borrowed = used + lent + idle, exactly; a row that is not so is a violation.
type Ledger struct {
	Kept       string      `json:"kept"`                 // how long there was a leader to keep it
	Leaderless string      `json:"leaderless,omitempty"` // how long there was none: that time is in no row
	Rows       []LedgerRow `json:"rows"`                 // of the roles the report shows: the root first, then by path

	kept time.Duration
}

// LedgerRow is one resource of a role and everything below it; the root's is the pool. Quantities are whole units times seconds,
// exactly, as [waste.Quantity.Text] writes them.
type LedgerRow struct {
	Role      string            `json:"role"`
	Resource  string            `json:"resource"`
	Guarantee string            `json:"guarantee"` // of the root, the capacity
	Borrowed  string            `json:"borrowed"`
	Used      string            `json:"used"`
	Lent      string            `json:"lent"`
	Idle      map[string]string `json:"idle,omitempty"` // by reason
	Why       string            `json:"why"`            // how much idled and why, in a sentence

	row waste.Row
}

// keeper adds up what the books of all leaders of a run had.
type keeper struct {
	rows map[[2]string]*waste.Account // by role and resource
	kept time.Duration
}

// take adds what a leader's book had, until now.
func (k *keeper) take(r waste.Report) {
	k.kept += r.To.Sub(r.From)
	for i := range r.Rows {
		row := &r.Rows[i]
		key := [2]string{row.Role, row.Resource}
		if k.rows[key] == nil {
			k.rows[key] = &waste.Account{}
		}
		k.rows[key].Add(&row.Account)
	}
}

// takeBook takes the book of the leader that is about to end, if there is one.
func (r *run) takeBook() {
	if r.c != nil {
		r.keeper.take(r.c.Waste(time.Time{}, r.time()))
	}
}

// balance checks that every row adds up.
func (r *run) balance() {
	for key, a := range r.keeper.rows {
		if a.Has() != a.Spent() {
			r.violated("waste: %s of %s does not add up: %v came in and %v went out", key[1], orAll(key[0]), a.Has(), a.Spent())
		}
	}
}

// ledger is what was taken, of the roles a report shows.
func (r *run) ledger(shown []role.ID) Ledger {
	out := Ledger{Kept: r.keeper.kept.String(), kept: r.keeper.kept}
	if gap := r.to.Sub(r.from) - r.keeper.kept; gap > 0 {
		out.Leaderless = gap.String()
	}
	keys := slices.SortedFunc(maps.Keys(r.keeper.rows), func(x, y [2]string) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
	for _, key := range keys {
		if slices.ContainsFunc(shown, func(id role.ID) bool { return r.books.roles[id].path == key[0] }) {
			out.Rows = append(out.Rows, ledgerRow(waste.Row{Role: key[0], Resource: key[1], Account: *r.keeper.rows[key]}, out.kept))
		}
	}
	return out
}

func ledgerRow(row waste.Row, kept time.Duration) LedgerRow {
	_, kind := resource.SplitName(row.Resource)
	scale := resource.Scale(kind)
	out := LedgerRow{
		Role: row.Role, Resource: row.Resource, Guarantee: row.Guarantee.Text(scale), Borrowed: row.Borrowed.Text(scale),
		Used: row.Used.Text(scale), Lent: row.Lent.Text(scale), Idle: map[string]string{}, Why: row.SentenceOver(kept), row: row,
	}
	for reason, q := range row.Idle {
		if !q.IsZero() {
			out.Idle[waste.Reason(reason).String()] = q.Text(scale)
		}
	}
	return out
}

// hours are a quantity of the row in hours of one.
func (l *LedgerRow) hours(q waste.Quantity) float64 {
	_, kind := resource.SplitName(l.Resource)
	return q.Seconds(resource.Scale(kind)) / 3600
}

// Entry is one side or part of a row in hours of one, and as a share of the row's whole.
type Entry struct {
	Name  string // "guarantee", "borrowed", "used", "lent", or the code of a reason
	Text  string // for people
	Hours float64
	Share float64
}

// Sources are where a row came from: guarantee and borrowed, each even when it is nothing.
func (l *LedgerRow) Sources() []Entry {
	return []Entry{l.entry("guarantee", "guarantee", l.row.Guarantee), l.entry("borrowed", "borrowed", l.row.Borrowed)}
}

// Uses are where it went: used and lent, each even when it is nothing.
func (l *LedgerRow) Uses() []Entry {
	return []Entry{l.entry("used", "used", l.row.Used), l.entry("lent", "lent", l.row.Lent)}
}

// Idled is what was idle for any reason.
func (l *LedgerRow) Idled() Entry { return l.entry("idle", "idle", l.row.Idled()) }

// Reasons are why some of it was idle, the greatest first; reasons that were never true are left out.
func (l *LedgerRow) Reasons() []Entry {
	var out []Entry
	for reason, q := range l.row.Idle {
		if !q.IsZero() {
			out = append(out, l.entry(waste.Reason(reason).String(), waste.Reason(reason).Text(), q))
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return cmp.Compare(b.Hours, a.Hours) })
	return out
}

func (l *LedgerRow) entry(name, text string, q waste.Quantity) Entry {
	whole := l.row.Has()
	return Entry{name, text, l.hours(q), q.Share(whole)}
}

// Pool are the rows of the machines as a whole, a row for each resource of each pool.
func (l *Ledger) Pool() []LedgerRow {
	var out []LedgerRow
	for _, row := range l.Rows {
		if row.Role == "" {
			out = append(out, row)
		}
	}
	return out
}

// Of are the rows of one resource, the pool's first.
func (l *Ledger) Of(name string) []LedgerRow {
	return slices.DeleteFunc(slices.Clone(l.Rows), func(row LedgerRow) bool { return row.Resource != name })
}

// Whole is the pool's row of a kind of resource, over all pools.
func (l *Ledger) Whole(kind string) LedgerRow {
	sum := waste.Row{Resource: kind}
	for _, row := range l.Pool() {
		if _, k := resource.SplitName(row.Resource); k == kind {
			sum.Add(&row.row.Account)
		}
	}
	return ledgerRow(sum, l.kept)
}
