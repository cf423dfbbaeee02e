package cluster

import (
	"fmt"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
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
	v := a.class.refusal
	if v == nil {
		return Reason{Code: "Queued", Message: "it has not been looked at yet", UnblockedBy: "the next decision"}
	}
	_, covered := a.class.pool.covering(a.class)
	if due := a.blocked.Add(c.settings.ReclaimDelay); !a.blocked.IsZero() && c.now.Before(due) && covered {
		return Reason{Code: "ReclaimDelay", Message: v.message + "; its guarantee covers it, and borrowers are asked back once it has waited " +
			c.settings.ReclaimDelay.String(), UnblockedBy: "time", Expected: due}
	}
	r := Reason{Code: v.code, Message: v.message, UnblockedBy: v.next}
	if path, kind, ok := c.halfGuaranteed(a); ok {
		r.Message += fmt.Sprintf("; the guarantee of %s covers no %s, so nobody is asked back for it", path, kind)
		r.UnblockedBy += ", or " + kind + " is added to the guarantee of " + path
	}
	return r
}

// detailsOf lists the steps behind the reason: where the instances are, what the ask could draw on, who is before it.
func (c *Cluster) detailsOf(a *ask) []string {
	details := []string{fmt.Sprintf("%d waiting, %d with a lease, %d succeeded, %d failed", a.waiting(), len(a.live), a.Succeeded, a.Failed)}
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
	for _, k := range a.class.pool.claims {
		if k.ask != a {
			continue
		}
		node := a.class.pool.nodes[k.nodes[0]].Name
		amount := k.charge.Amount.Text(c.kinds, a.class.pool.name)
		if k.victims == 0 {
			return Reason{Code: "Reclaiming", Message: fmt.Sprintf("%s is kept for it on %s as what leaves there is gone", amount, node),
				UnblockedBy: "a task that leaves is gone"}, true
		}
		return Reason{Code: "Reclaiming", Message: fmt.Sprintf("%s comes back on %s by %s: %d borrowing tasks have notice", amount, node,
			k.by.UTC().Format(time.RFC3339), k.victims), UnblockedBy: "the borrowers leave", Expected: k.by}, true
	}
	return Reason{}, false
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
	details := []string{
		fmt.Sprintf("it runs for %s on %s with %s", t.role, t.node.Name, t.need.Text(c.kinds, t.unit.pool.name)),
		fmt.Sprintf("%s pays; asked to leave it has %s notice after at least %s of running", c.fundingName(t.unit.charge.At), t.grace, t.minRun),
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
