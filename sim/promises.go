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
	b.of1(n.Role, func(a *account) { a.Notices++ })
}

func (b *books) of1(path string, do func(*account)) { b.each(b.leafOf(path), do) }

func (b *books) noticeClosed(n cluster.Notice) {
	if n.State == cluster.NoticeWithdrawn {
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

// shortage follows how long a role has had less than what its guarantee covers of its demand (I3). What is missing is kept as
// a queue, by resource: what is demanded anew or ended by itself goes in behind, and whatever starts serves what is in front.
// So a gap is older than T exactly when something waited for longer than T though its guarantee covered it.
type shortage struct {
	missing [][]gap // by resource
	longest time.Duration
	beyond  int // gaps that stayed for longer than T
	excused int // of all that stayed so long, those with an excuse
}

// gap is an amount that is missing since an instant.
type gap struct {
	since  int64
	amount resource.Amount
	told   bool // it has been counted as longer than T
}

// covers is what a role's guarantee covers of its demand. A task is covered in all its resources or not at all, so the scarcest
// one decides for all.
func (a *account) covers() []resource.Amount {
	share := 1.0
	for i, d := range a.demand {
		if d > a.guarantee[i] {
			share = min(share, float64(a.guarantee[i])/float64(d))
		}
	}
	out := make([]resource.Amount, len(a.demand))
	for i, d := range a.demand {
		out[i] = resource.Amount(float64(d) * share)
	}
	return out
}

// settle looks at every role that is short, as time goes by, and at what changed otherwise.
func (b *books) settle(now int64) {
	b.integrate()
	b.missing = b.scarce()
	for id, a := range b.roles {
		if id != int(role.Root) && (a.touched || a.isShort()) {
			b.follow(a, now, b.missing)
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
	covered := a.covers()
	for i := range covered {
		q := a.short.become(i, a.lack(i, covered[i]), now)
		if len(q) == 0 {
			continue
		}
		lasted := time.Duration(now - q[0].since)
		if !scarce {
			a.short.longest = max(a.short.longest, lasted)
		}
		if lasted > a.bound && !q[0].told {
			q[0].told = true
			b.judge(a, scarce)
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

// judge decides about a role that has been short for longer than T: capacity lost and fragmentation are excuses, and a role
// whose waiting tasks are all too large for what is left of its guarantee is not short at all; nothing else is an excuse.
func (b *books) judge(a *account, scarce bool) {
	if b.c == nil || b.healing {
		return // the promise is the new leader's
	}
	a.short.excused++
	if scarce {
		return
	}
	for _, v := range b.c.Asks() {
		q := b.asks[v.ID]
		if v.Pending == 0 || q == nil || !within(v.Role, a.path) || !a.pays(q) {
			continue
		}
		switch v.Reason.Code {
		case "Fragmented", "NoNode", "NoVictim", "Backoff", "OverBorrow", "OverLimit": // the last two: reserved for others of the role
			return
		}
		a.short.excused--
		a.short.beyond++
		b.violated("I3: %s has less than its guarantee covers for more than %s; %s waits: %s", role.Display(a.path), a.bound, v.ID, v.Reason.Message)
		return
	}
}

// pays reports whether what a role's guarantee has left is enough for one start of an ask.
func (a *account) pays(q *queue) bool {
	for _, d := range q.amount {
		if a.used[d.dim]+d.is*resource.Amount(q.gang) > a.guarantee[d.dim] {
			return false
		}
	}
	return true
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
}
