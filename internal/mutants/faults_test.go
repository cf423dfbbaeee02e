package mutants

// fault is one wrong decision in core and the test that must find it.
type fault struct {
	name    string // what goes wrong, in the contract's words
	file    string // from the repository's root
	old     string // what stands there, exactly once
	new     string
	pack    string // of the test
	test    string // its name
	checks  int    // how many cases a property needs to be sure to meet it; 0 is no property or its usual number
	promise string // which invariant it breaks
}

const (
	cluster = "./core/cluster"
	reclaim = "./core/reclaim"
	lending = "./core/lending"
)

// faults are all of them; the order is that of the table in docs/design/mutants.md.
var faults = []fault{
	{"the hold rule is not checked", "core/lending/rules.go", "			if m.excess(i) > 0 {\n", "			if m.excess(i) > 1<<60 {\n",
		cluster, "TestContract", 300, "I11"},
	{"the inflow rule is not checked", "core/lending/rules.go", "	if r := l.Inflow(c); r != nil {\n		return r\n	}\n	return l.TryHold(c)\n", "	return l.TryHold(c)\n",
		cluster, "TestContract", 300, "I2, I10"},
	{"limits are not checked", "core/lending/rules.go", "n > 0 && n > have {\n				return &Refusal{Rule: RuleLimit", "n > 0 && n < 0 {\n				return &Refusal{Rule: RuleLimit",
		lending, "TestLedgerAgainstLists", 0, "I2"},
	{"a role lends more than its plan says", "core/lending/ledger.go", "max(0, min(a.quota.Lend.At(i), idle, a.market.left[i]))", "max(0, min(idle, a.market.left[i]))",
		cluster, "TestContract", 300, "I10"},
	{"a parent lends what its child keeps", "core/lending/ledger.go", ", idle, a.market.left[i]))", ", idle))",
		cluster, "TestStories/lend-below", 0, "I10"},
	{"what is kept warm is lent", "core/lending/ledger.go", "a.funded[i] - a.quota.Warm.At(i)\n", "a.funded[i]\n",
		cluster, "TestStories/warm", 0, "I16"},
	{"what may not be reclaimed borrows", "core/lending/rules.go", "		if pinned || r.Rule == RuleLimit", "		if r.Rule == RuleLimit",
		cluster, "TestContract", 300, "I19"},
	{"reclaiming begins at the claimant's own level", "core/reclaim/sweep.go", "for child, f := v, tree.Roles[v].Parent; f", "for child, f := v, v; f",
		reclaim, "TestPlanAgainstBruteForce", 3000, "I4"},
	{"victims may hold longer than the lender tolerates", "core/reclaim/trial.go", "|| u.Charge.Hold > st.grace ||", "||",
		reclaim, "TestPlanAgainstBruteForce", 3000, "I5"},
	{"nobody is let go who is not needed", "core/reclaim/trial.go", "	t.prune()\n", "",
		reclaim, "TestPlanAgainstBruteForce", 3000, "I6"},
	{"as many as it takes leave to make room", "core/reclaim/trial.go", "	if !t.claim.Whole && !t.withinBreach() {\n", "	if false {\n",
		reclaim, "TestPlanAgainstBruteForce", 3000, "I5"},
	{"reclaiming does not wait whether a claim lasts", "core/cluster/claim.go", "a.blocked.Add(p.c.settings.ReclaimDelay)\n	if p", "a.blocked\n	if p",
		cluster, "TestStories/pulse", 0, "I7"},
	{"what is kept for a claim is forgotten", "core/cluster/keep.go", "			w.left.Dec(k.need)\n", "",
		cluster, "TestContract", 600, "I3"},
	{"a claim counts on what leaves too late", "core/cluster/keep.go", "		return t.notice.by\n	}\n	return never\n", "		return time.Time{}\n	}\n	return never\n",
		cluster, "TestStories/late-leaver", 0, "I3"},
	{"who was told a message later does not count for a claim", "core/cluster/pool.go", "fitsWithout(t, t.notice.by)", "fitsWithout(t, t.notice.Deadline)",
		cluster, "TestStories/told-later", 0, "I3"},
	{"a reservation stands in the way of a deeper claim", "core/cluster/claim.go", "p.displace(round, w.class, w.outcome)\n", "[]member(nil), w.outcome\n",
		cluster, "TestStories/reservation-gives-way", 0, "I3"},
	{"what shallow guarantees cover is claimed first", "core/cluster/claim.go", "			round = p.claimAt(round, w, depth)\n", "			round = p.claimAt(round, w, 1)\n",
		cluster, "TestStories/deep-guarantee-first", 0, "I6"},
	{"who borrows deepens before a deeper guarantee is claimed", "core/cluster/claim.go", "	for ; depth > 0; depth-- {\n", "	p.deepen(free)\n	for free = nil; depth > 0; depth-- {\n",
		cluster, "TestStories/claim-before-deepening", 0, "I7"},
	{"what is kept counts on who is still there", "core/cluster/keep.go", "k.claim != cl && k.claim.kept {", "k.claim != cl && false {",
		cluster, "TestStories/kept-is-there", 0, "I1"},
	{"room comes free by time alone", "core/cluster/keep.go", "		w.keepUntil(n.pool.c.now)\n", "		w.until(n.pool.c.now)\n",
		cluster, "TestSpareBy", 0, "I13"},
	{"notices nobody needs are not withdrawn", "core/cluster/decide.go", "		p.withdraw()\n", "",
		cluster, "TestCancelTakesNoticesBack", 100, "I20"},
	{"a notice is too short", "core/cluster/notice.go", "	return later(now, started.Add(t.minRun)).Add(t.grace)\n", "	return later(now, started.Add(t.minRun)).Add(t.grace / 2)\n",
		cluster, "TestContract", 300, "I9"},
	{"a notice that arrives late has its old deadline", "core/cluster/report.go",
		"		t.notice.Deadline = later(t.notice.Deadline, t.earliestEnd(c.now))\n", "",
		cluster, "TestStories/notice-late", 0, "I9"},
	{"what runs after a failover starts again", "core/cluster/report.go", "		a.take(Instance{Index: t.index})\n", "",
		cluster, "TestContract", 300, "I18"},
	{"half of a gang waits for ever after a failover", "core/cluster/cluster.go", "		c.recovered()\n", "		c.recovering = false\n",
		cluster, "TestContract", 6000, "I13, I18"},
	{"funding does not deepen", "core/cluster/claim.go", "		p.deepen(free[:n])\n", "",
		cluster, "TestStories/deepen", 0, "I3"},
	{"no lead is given before a window opens", "core/cluster/lead.go", "		p.leadUp(current)\n", "		_ = current\n",
		cluster, "TestStories/singles-day", 0, "I16"},
	{"a notice for a window is taken back though another would be told in its stead", "core/cluster/lead.go", "range p.unneeded(r, noticed) {\n", "range noticed {\n",
		cluster, "TestStories/lead-keeps-to-whom-it-told", 0, "I16"},
	{"a lead keeps nobody from starting", "core/cluster/ahead.go", "		if p.c.outstays(cl, r) {\n", "		if r.At.Before(p.c.now) {\n",
		cluster, "TestLeadIsInTime", 300, "I16"},
	{"a start in a lead takes the room of a planned claim", "core/cluster/ahead.go", "	return need.Fits(room)\n", "	return need.Fits(need)\n",
		cluster, "TestStories/lead-keeps-a-node", 0, "I16"},
	{"who is above its entitlement starts first", "core/cluster/decide.go", "		return h[i].above < h[j].above\n", "		return h[i].above > h[j].above\n",
		cluster, "TestFillIsFair", 100, "I12"},
	{"entitlement goes by weight before priority", "core/lending/entitle.go", "cmp.Compare(prio(b), prio(a))", "cmp.Compare(prio(a), prio(b))",
		lending, "TestEntitlementIsPoured", 0, "I12"},
	{"a package is in the way of nobody", "core/cluster/decide.go", "		if !ok || p.packages.admit(cl, c, out, but) && (", "		if !ok || (",
		cluster, "TestPackages", 200, "I3"},
	{"a claim for a package makes room with one unit only", "core/cluster/room.go", "q.Packages > 0 && c.Leaf", "q.Packages < 0 && c.Leaf",
		cluster, "TestStories/packages", 0, "I3"},
	{"funding deepens in a package's way", "core/cluster/deepen.go", "case !p.mayRefund(u, moved):\n", "case false:\n",
		cluster, "TestPackages", 1000, "I3"},
	{"who stays longer than a role lends sits in its package", "core/cluster/room.go", "	return c.Hold <= k.p.c.tree", "	return c.Hold >= 0 || c.Hold <= k.p.c.tree",
		cluster, "TestPackages", 1000, "I3"},
	{"who was spared by a later victim is told later", "core/cluster/claim.go", "		p.touched = p.touched || len(p.leavers) > 0 && m.frees(cl.need)\n", "",
		cluster, "TestStories/spared-by-gang", 0, "I20"},
	{"what was found not to start is never tried again", "core/cluster/pool.go", "	p.epoch++\n	p.opens++\n	p.touched = true\n", "	p.touched = true\n",
		cluster, "TestContract", 300, "I13"},
	{"a drain asks volumes to leave", "core/cluster/notice.go", " || t.volume() {\n			continue", " {\n			continue",
		cluster, "TestStories/volumes", 0, "I21"},
	{"a plan takes the guarantee from under a volume", "core/cluster/volume.go", "kept[path][name] > least {", "kept[path][name] < 0 {",
		cluster, "TestContract", 1000, "I21"},
	{"a node that is lost takes its volumes along", "core/cluster/node.go", "	if !e.LoseVolumes {\n", "	if false {\n",
		cluster, "TestContract", 1000, "I21"},
	{"what is carved out of a reservation is not counted after a failover", "core/cluster/task.go", "	if t.shape.carved() && !amounts {\n", "	if false {\n",
		cluster, "TestReserved", 300, "I22"},
	{"more is carved out of a reservation than it has", "core/cluster/reservation.go", "; !cl.carve.Fits(left) {", "; left.Negative() >= 0 {",
		cluster, "TestReserved", 300, "I22"},
	{"a reservation ends that is in use", "core/cluster/reservation.go", "	if err := c.inUse(r); err != nil {\n", "	if err := c.inUse(r); false {\n",
		cluster, "TestReserved", 300, "I22"},
	{"what is carved out of a reservation claims like anything else", "core/cluster/claim.go", "		if cl.shape.carved() {\n", "		if false {\n",
		cluster, "TestReserved", 1000, "I22"},
	{"what waits in vain is not tried again when nodes have room", "core/cluster/lasting.go", "		return !short && p.index.Full(cl.compiled)\n", "		return true\n",
		cluster, "TestForgetful", 1000, "I13"},
	{"what waits in vain is not tried again when its branch of the tree has changed", "core/cluster/weigh.go", "	p.waiting[p.c.branchOf(leaf)].stirs = p.stirrings\n", "",
		cluster, "TestForgetful", 1000, "I13"},
}
