package metrics

// Figure is one that the console shows, and how to have it from the metrics. What the console shows of one task, ask, notice or node
// is no metric: there would be a series for each.
type Figure struct {
	Page, Name, Expr string
}

// Shown lists every figure of the console that is a sum or a state of the pool, in the order of its pages.
func Shown() []Figure {
	return []Figure{
		{"Overview", "capacity", `polder_capacity`},
		{"Overview", "guaranteed", `sum by (resource) (polder_role_guarantee{role!~".*/.*"})`},
		{"Overview", "used", `polder_used`},
		{"Overview", "borrowed", `polder_borrowed`},
		{"Overview", "lent by roles", `sum by (resource) (polder_role_lent{role!="/"})`},
		{"Overview", "being reclaimed", `polder_role_leaving{role="/"}`},
		{"Overview", "pending", `polder_role_demand{role="/"} - polder_role_used{role="/"}`},
		{"Overview", "tasks that run, and wait", `polder_role_tasks{role="/"}`},
		{"Overview", "used inside guarantees", `polder_used - polder_borrowed`},
		{"Overview", "kept for a claimant", `polder_earmarked`},
		{"Overview", "free", `polder_available`},
		{"Overview", "on nodes out of service", `polder_capacity - polder_used - polder_earmarked - polder_available`},
		{"Overview", "idle", `polder_capacity - polder_used`},
		{"Overview", "why it stood idle, on average", `rate(polder_waste_seconds_total[1h])`},
		{"Overview", "what it is a share of", `rate(polder_capacity_seconds_total[1h])`},
		{"Overview", "top borrowers", `topk(6, polder_role_borrowed{role!="/",resource="cpu"})`},
		{"Overview", "top lenders", `topk(6, polder_role_lent{role!="/",resource="cpu"})`},
		{"Overview, Queue", "tasks that wait, by reason", `polder_tasks_waiting`},
		{"Overview, Lending", "notices running", `sum(polder_notices_open)`},
		{"Overview, Nodes", "nodes by state", `polder_nodes`},
		{"Roles", "guarantee and limit", `polder_role_guarantee or polder_role_limit`},
		{"Roles", "used, of its own, borrowed, lent, leaving", `{__name__=~"polder_role_(used|funded|borrowed|lent|leaving)"}`},
		{"Roles", "wants, is due now", `polder_role_demand or polder_role_entitlement`},
		{"Roles", "tasks that run, and wait", `polder_role_tasks`},
		{"Roles", "T", `polder_role_reclaim_bound_seconds`},
		{"Plan", "revision", `polder_plan_revision`},
		{"Lending", "notices that are over, by outcome", `polder_notices_total`},
		{"Lending", "waited, against T", `polder_reclaim_bound_ratio_bucket`},
		{"Queue", "asks that wait, by reason", `polder_asks_waiting`},
		{"Frameworks", "frameworks, and offers out", `polder_frameworks or polder_offers`},
		{"Doors", "requests a second, refused", `rate(polder_door_requests_total[1m]) or polder_door_refused_total`},
	}
}
