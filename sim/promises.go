package sim

import (
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// maxRefusals bounds how many refusals are kept in words; all are counted.
const maxRefusals = 10

func (b *books) refused(spec cluster.AskSpec, why cluster.Reason) {
	b.refusedN++
	if len(b.refusals) < maxRefusals {
		b.refusals = append(b.refusals, why.Code+": "+why.Message)
	}
}

// noticed counts a notice once, however often it is sent.
func (b *books) noticed(n cluster.Notice) {
	if b.notices[n.ID] {
		return
	}
	b.notices[n.ID] = true
	b.leaves(n)
	b.of1(n.Role, func(a *account) { a.Notices++ })
}

func (b *books) of1(path string, do func(*account)) { b.each(b.leafOf(path), do) }

func (b *books) noticeClosed(n cluster.Notice) {
	if n.State == cluster.NoticeWithdrawn {
		if l := b.leases[n.Task]; l != nil {
			l.leaves, l.window = 0, false
		}
		b.of1(n.Role, func(a *account) { a.Withdrawn++ })
	}
}

// given checks that a notice that reached a task is as long as promised.
func (b *books) given(t cluster.Assignment, notice time.Duration) {
	if notice < t.ReclaimGrace {
		b.of1(t.Role, func(a *account) { a.Short++ })
		b.violated("I9: %s is given %s, its notice is %s", t.Task, notice, t.ReclaimGrace)
	}
}

func (b *books) expired(t cluster.Assignment) { b.of1(t.Role, func(a *account) { a.Full++ }) }

// early is a task that was stopped before its deadline without having said that it is done.
func (b *books) early(t cluster.Assignment) {
	b.of1(t.Role, func(a *account) { a.Early++ })
	b.violated("I9: %s is stopped before its deadline", t.Task)
}

func (b *books) began(cluster.Assignment) {}

// lost is work that a task did and nobody has: cut off by a notice, or by a fault.
func (b *books) lost(t cluster.Assignment, work time.Duration, notice bool) {
	b.of1(t.Role, func(a *account) {
		if notice {
			a.LostWork += work
		} else {
			a.LostFault += work
		}
	})
}

// shortage follows how long a role has had less than what its guarantee covers of its demand. What is missing is kept as a queue, by
// resource: what is demanded anew or ended by itself goes in behind, and whatever starts serves what is in front. It is for people to read:
// what is missing may be too little for a start, or fit on no node. T is judged by [debts].
type shortage struct {
	missing [][]gap // by resource
	longest time.Duration
	long    int // gaps that stayed for longer than T
	beyond  int // starts that were owed for longer than T
}

// gap is an amount that is missing since an instant.
type gap struct {
	since  int64
	amount resource.Amount
	told   bool // it has been counted as longer than T
}

// cover is what a role is promised of its demand, whatever its siblings and children lend: a leaf, what its guarantee covers; an inner role,
// what is covered below, and of the rest what its private part is enough for. A task is covered in all its resources or not at all,
// so the scarcest one decides for all.
func (a *account) cover() []resource.Amount {
	most := a.guarantee
	if !a.leaf {
		most = make([]resource.Amount, len(a.demand))
		for i := range most {
			most[i] = min(a.guarantee[i], a.below[i]+max(0, a.private[i]))
		}
	}
	share := 1.0
	for i, d := range a.demand {
		if d > most[i] {
			share = min(share, float64(most[i])/float64(d))
		}
	}
	out := make([]resource.Amount, len(a.demand))
	for i, d := range a.demand {
		out[i] = max(min(a.below[i], d), resource.Amount(float64(d)*share))
	}
	return out
}

// settle looks at every role that is short, as time goes by, and at what changed otherwise.
func (b *books) settle(now int64) {
	b.integrate()
	b.missing = b.scarce()
	if b.missing || b.away > 0 || b.c == nil || b.healing {
		b.excusedAt = now
	}
	short := false
	for id, a := range b.roles {
		if id != int(role.Root) && (a.touched || a.isShort()) {
			b.follow(a, now, b.missing)
			short = short || a.isShort()
		}
	}
	switch {
	case b.c == nil || b.healing:
	case short:
		b.owe(now)
	default:
		for _, a := range b.roles {
			a.debts = debts{}
		}
	}
}

func (a *account) isShort() bool {
	return slices.ContainsFunc(a.short.missing, func(q []gap) bool { return len(q) > 0 })
}

// scarce reports whether machines are missing for the guarantees themselves.
func (b *books) scarce() bool {
	for i := range b.dims {
		sum := resource.Amount(0)
		for _, id := range b.tree.Roles[role.Root].Children {
			sum += b.roles[id].guarantee[i]
		}
		if sum > b.has[i] && b.has[i] < b.full[i] {
			return true
		}
	}
	return false
}

// follow brings the gaps of a role up to date.
func (b *books) follow(a *account, now int64, scarce bool) {
	a.touched = false
	for i, covered := range a.covered {
		q := a.short.become(i, a.lack(i, covered), now)
		if len(q) == 0 {
			continue
		}
		lasted := time.Duration(now - q[0].since)
		if !scarce {
			a.short.longest = max(a.short.longest, lasted)
		}
		if lasted > a.bound+b.slow && !q[0].told {
			q[0].told = true
			a.short.long++
		}
	}
}

// become makes the gaps of a resource add up to an amount and returns them, the oldest first.
func (s *shortage) become(i int, lack resource.Amount, now int64) []gap {
	q := s.missing[i]
	sum := resource.Amount(0)
	for _, g := range q {
		sum += g.amount
	}
	if lack > sum {
		q = append(q, gap{since: now, amount: lack - sum})
	}
	for sum > lack {
		served := min(sum-lack, q[0].amount)
		sum -= served
		if q[0].amount -= served; q[0].amount == 0 {
			q = slices.Delete(q, 0, 1)
		}
	}
	s.missing[i] = q
	return q
}

// lack is how much less than what is covered a role has; less than one start is nothing.
func (a *account) lack(i int, covered resource.Amount) resource.Amount {
	if lack := covered - a.used[i]; lack > 0 && lack >= a.largest[i] {
		return lack
	}
	return 0
}

func within(path, above string) bool {
	above = role.Display(above)
	return path == above || len(path) > len(above) && path[:len(above)] == above && path[len(above)] == '/'
}

// renew lets every promise count from now on: a new leader starts to keep them.
func (b *books) renew() {
	for _, a := range b.roles {
		for _, q := range a.short.missing {
			for i := range q {
				q[i].since = b.now
			}
		}
	}
	for _, a := range b.roles {
		for i := range a.debts.clocks {
			a.debts.clocks[i].since = b.now
		}
	}
}
