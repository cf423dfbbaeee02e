package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// reasonOf finds the one primary reason why something of an ask waits.
func (c *Cluster) reasonOf(a *ask) Reason {
	if a.waiting() == 0 {
		return Reason{Code: "Running", Message: fmt.Sprintf("nothing of ask %s waits", a.ID)}
	}
	if c.recovering {
		return Reason{Code: "Recovering", Message: "the leader is still learning what runs", UnblockedBy: "the nodes register again"}
	}
	if at, resting := a.resting(c.now); resting {
		return Reason{Code: "Backoff", Message: "it failed and rests before it starts again", UnblockedBy: "time", Expected: at}
	}
	if r, ok := c.claimed(a); ok {
		return r
	}
	v := a.class.verdict()
	if v == nil {
		return Reason{Code: "Queued", Message: "it has not been looked at yet", UnblockedBy: "the next decision"}
	}
	if r, ok := c.delayed(a, v); ok {
		return r
	}
	r := Reason{Code: v.code, Message: v.message, UnblockedBy: v.next}
	if path, windows, ok := c.relief(a); ok {
		r.Expected = c.turnsAt
		r.Message += fmt.Sprintf("; at %s %s and raises what %s may have", c.turnsAt.UTC().Format(time.RFC3339), windows, path)
		r.UnblockedBy += ", or " + windows
	}
	if path, kind, ok := c.halfGuaranteed(a); ok {
		r.Message += fmt.Sprintf("; the guarantee of %s covers no %s, so nobody is asked back for it", path, kind)
		r.UnblockedBy += ", or " + kind + " is added to the guarantee of " + path
	}
	return r
}

// delayed explains an ask whose guarantee covers it, and which has not waited long enough for anybody to be asked back.
func (c *Cluster) delayed(a *ask, v *verdict) (Reason, bool) {
	asked := a.blocked.Add(c.settings.ReclaimDelay)
	if a.blocked.IsZero() || !c.now.Before(asked) {
		return Reason{}, false
	}
	if _, covered := a.class.pool.covering(a.class); !covered || !a.class.askable() {
		return Reason{}, false
	}
	return Reason{
		Code: "ReclaimDelay",
		Message: fmt.Sprintf("%s; its guarantee covers it, and borrowers are asked back at %s, once it has waited %s",
			v.message, asked.UTC().Format(time.RFC3339), c.settings.ReclaimDelay),
		UnblockedBy: "borrowers are asked back and leave",
		Expected:    a.blocked.Add(c.tree.ReclaimBound(a.class.leaf, c.settings.ReclaimDelay)),
	}, true
}

// askable reports whether it helps a class that others leave: nothing but amounts keeps it off the nodes, or off one of them.
func (cl *class) askable() bool {
	if cl.heldUp() != waste.NoFit || cl.compiled == nil {
		return true
	}
	e := cl.pool.index.Explain(cl.compiled)
	return e.Fit > 0 || slices.ContainsFunc(e.Rejections, func(r placement.Rejection) bool { return r.Reason == placement.ReasonResources })
}

// detailsOf lists the steps behind the reason: where the instances are, what the ask could draw on, who is before it.
func (c *Cluster) detailsOf(a *ask) []string {
	details := []string{fmt.Sprintf("%d waiting, %d with a lease, %d succeeded, %d failed", a.waiting(), a.live.len(), a.Succeeded, a.Failed)}
	if _, resting := a.resting(c.now); resting || c.recovering || a.waiting() == 0 {
		return details
	}
	details = append(details, c.account(a)...)
	if first := a.class.asks; len(first) > 0 && first[0] != a && a.class.refusal != nil && a.claims == 0 {
		details = append(details, fmt.Sprintf("%s of the same kind and role is before it", first[0].ID))
	}
	return details
}

// resting reports whether everything that waits of an ask rests after failures, and until when.
func (a *ask) resting(now time.Time) (time.Time, bool) {
	if a.readyCount(now) > 0 {
		return time.Time{}, false
	}
	var first time.Time
	for _, in := range a.Returned {
		if first.IsZero() || in.NotBefore.Before(first) {
			first = in.NotBefore
		}
	}
	return first, !first.IsZero()
}

// claimed explains an ask that has a reservation.
func (c *Cluster) claimed(a *ask) (Reason, bool) {
	p := a.class.pool
	for _, k := range p.claims {
		if k.ask != a {
			continue
		}
		r := Reason{Code: "Reclaiming", UnblockedBy: "a task that leaves is gone"}
		amount, node := k.charge.Amount.Text(c.kinds, p.name), p.nodes[k.nodes[0]].Name
		w := p.awaits(k)
		switch {
		case k.kept:
			r = Reason{Code: "Kept", Message: fmt.Sprintf("%s is kept for it on %s", amount, node), UnblockedBy: "somebody commits tasks there in its place"}
		case len(w.tasks) == 0:
			r.Message = fmt.Sprintf("%s is kept for it on %s as what leaves there is gone", amount, node)
		case w.by.IsZero():
			r.Message = fmt.Sprintf("%s comes back on %s once %s stopped", amount, node, w.text())
		default:
			r.Message = fmt.Sprintf("%s comes back on %s by %s: notice sent to %s", amount, node, w.by.UTC().Format(time.RFC3339), w.text())
			r.UnblockedBy, r.Expected = "the borrowers leave", w.by
		}
		return r, true
	}
	return Reason{}, false
}

// awaited is what a claim waits for to leave.
type awaited struct {
	tasks []*task
	by    time.Time // when the last of them is gone at the latest; zero when one of them leaves without a deadline
}

// awaits lists the tasks that must leave the nodes of a claim until all is free there that it and more urgent ones wait for, those
// that leave first first.
func (p *pool) awaits(k *claim) awaited {
	var w awaited
	endless := false
	for _, id := range slices.Compact(slices.Sorted(slices.Values(k.nodes))) {
		n := p.nodes[id]
		free, need := n.free(), make(resource.Vector, len(n.total))
		for _, x := range n.keeps {
			if !x.by.After(k.due) { // it has what comes free before this claim
				need.Inc(x.need)
			}
		}
		for _, t := range n.leavers() {
			if need.Fits(free) {
				break
			}
			free.Inc(t.need)
			w.tasks = append(w.tasks, t)
			if t.notice == nil {
				endless = true
			} else {
				w.by = later(w.by, t.notice.Deadline)
			}
		}
	}
	if endless {
		w.by = time.Time{}
	}
	return w
}

// leavers lists the tasks that leave a node, by deadline; those that were told to stop without one come last.
func (n *node) leavers() []*task {
	out := slices.DeleteFunc(n.sortedTasks(), func(t *task) bool { return !t.unit.leaving })
	slices.SortStableFunc(out, func(a, b *task) int {
		switch {
		case a.notice != nil && b.notice != nil:
			return a.notice.Deadline.Compare(b.notice.Deadline)
		case a.notice != nil:
			return -1
		case b.notice != nil:
			return 1
		}
		return 0
	})
	return out
}

// text counts the tasks by role: "3 tasks of corp/analytics and 1 of corp/batch".
func (w awaited) text() string {
	counts := map[string]int{}
	for _, t := range w.tasks {
		counts[t.role]++
	}
	var parts []string
	for i, path := range slices.Sorted(maps.Keys(counts)) {
		switch {
		case i > 0:
			parts = append(parts, fmt.Sprintf("%d of %s", counts[path], path))
		case counts[path] == 1:
			parts = append(parts, "1 task of "+path)
		default:
			parts = append(parts, fmt.Sprintf("%d tasks of %s", counts[path], path))
		}
	}
	return strings.Join(parts, " and ")
}

// forecast is the tree that the calendar's next change brings.
type forecast struct {
	at   time.Time
	tree *role.Tree
}

// next returns the tree of the calendar's next change; nil when there is none.
func (c *Cluster) next() *role.Tree {
	if c.turnsAt.IsZero() {
		return nil
	}
	if c.forecast.tree == nil || !c.forecast.at.Equal(c.turnsAt) {
		c.forecast = forecast{c.turnsAt, role.Effective(c.plan, c.turnsAt, c.kinds)}
	}
	return c.forecast.tree
}

// relief says what the calendar's next change does for an ask that a bound holds up: the role whose guarantee, limit or borrow bound it
// raises, and the windows that open or close then.
func (c *Cluster) relief(a *ask) (path, windows string, ok bool) {
	if by := a.class.heldUp(); by == waste.NoFit || by == waste.Undecided {
		return "", "", false
	}
	tree := c.next()
	if tree == nil {
		return "", "", false
	}
	p := a.class.pool
	for id := a.class.leaf; id > role.Root; id = c.tree.Roles[id].Parent {
		then, known := tree.Lookup(c.tree.Roles[id].Path)
		if !known {
			continue
		}
		now, after := p.ledger.Quota(id), tree.Quota(then, p.name, c.kinds.Len())
		for i, need := range a.class.need {
			if need > 0 && (after.Guarantee.At(i) > now.Guarantee.At(i) || after.Limit.At(i) > now.Limit.At(i) || after.Borrow.At(i) > now.Borrow.At(i)) {
				return role.Display(c.tree.Roles[id].Path), c.turning(), true
			}
		}
	}
	return "", "", false
}

// turning names the windows that the calendar's next change opens, or closes when it opens none.
func (c *Cluster) turning() string {
	before, after := role.OpenWindows(c.plan, c.turnsAt.Add(-1)), role.OpenWindows(c.plan, c.turnsAt)
	without := func(all, some []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(w string) bool { return slices.Contains(some, w) })
	}
	if opened := without(after, before); len(opened) > 0 {
		return "window " + strings.Join(opened, ", ") + " opens"
	}
	return "window " + strings.Join(without(before, after), ", ") + " closes"
}

// halfGuaranteed finds the deepest role on the ask's path whose guarantee covers some but not all kinds the ask needs: its
// claims can never be served, which is seldom what the plan's author meant.
func (c *Cluster) halfGuaranteed(a *ask) (path, kind string, found bool) {
	for id := a.class.leaf; id > role.Root; id = c.tree.Roles[id].Parent {
		g, some, missing := a.class.pool.ledger.Quota(id).Guarantee, false, -1
		for i, need := range a.class.need {
			if need > 0 && g.At(i) > 0 {
				some = true
			} else if need > 0 {
				missing = i
			}
		}
		if some && missing >= 0 {
			return role.Display(c.tree.Roles[id].Path), c.kinds.Name(resource.Kind(missing)), true
		}
	}
	return "", "", false
}

// account lists, role by role, what an ask could draw on.
func (c *Cluster) account(a *ask) []string {
	var out []string
	p := a.class.pool
	for id := a.class.leaf; id > role.Root; id = c.tree.Roles[id].Parent {
		q := p.ledger.Quota(id)
		if path := c.tree.Roles[id].Path; role.Display(path) == path {
			out = append(out, fmt.Sprintf("role %s: guarantee %s, idle of it %s, used %s", path, q.Guarantee.Text(c.kinds, p.name),
				p.ledger.Idle(id).Text(c.kinds, p.name), p.ledger.Used(id).Text(c.kinds, p.name)))
		}
	}
	if a.class.compiled != nil {
		out = append(out, p.index.Explain(a.class.compiled).String())
	}
	return out
}

// explainTask says why a task is in its state.
func (c *Cluster) explainTask(t *task) (Reason, []string) {
	notice := fmt.Sprintf("asked to leave, it has %s notice", t.grace)
	if t.minRun > 0 {
		notice += fmt.Sprintf(", after at least %s of running", t.minRun)
	}
	details := []string{
		fmt.Sprintf("it runs for %s on %s with %s, %s", t.role, t.node.Name, t.holds().Text(c.kinds, t.unit.pool.name), paying(c.fundingName(t.unit.charge.At))),
		notice,
	}
	switch {
	case !t.node.reachable:
		return Reason{Code: "NodeUnreachable", Message: "node " + t.node.Name + " does not answer", UnblockedBy: "the node answers or is removed"}, details
	case t.state == Stopping:
		return Reason{Code: "Stopping", Message: "it was told to stop", Expected: c.now}, details
	case t.notice != nil:
		n := t.notice
		return Reason{Code: "Leaving", Message: fmt.Sprintf("it gives %s back by %s (in %s) for %s", n.Amount, n.Deadline.UTC().Format(time.RFC3339),
			until(c.now, n.Deadline), n.Claimant), UnblockedBy: "the claimant no longer needs it", Expected: n.Deadline}, details
	case t.state == Starting:
		return Reason{Code: "Starting", Message: "its agent prepares it"}, details
	}
	return Reason{Code: "Running", Message: "it runs"}, details
}
