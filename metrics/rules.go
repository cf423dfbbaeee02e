package metrics

// Rule is an alert.
type Rule struct {
	Name     string
	Expr     string
	For      string
	Severity string
	Summary  string
	Do       string // the next step
}

// Rules lists the alerts. Their expressions name metrics of the table only.
func Rules() []Rule {
	return []Rule{
		{"PolderPromiseBroken", `increase(polder_reclaim_bound_ratio_count[10m]) > ignoring(le) increase(polder_reclaim_bound_ratio_bucket{le="1.0"}[10m])`, "0m", "page",
			"A claim inside a guarantee waited longer than T.", `See "polder event" for late stops, and whether nodes were unreachable.`},
		{"PolderNodesUnreachable", `polder_nodes{state="unreachable"} > 0`, "5m", "page",
			"{{ $value }} nodes do not answer.", `"polder node list" names them; remove those that are gone for good.`},
		{"PolderWasteHigh", `sum by (resource) (rate(polder_waste_seconds_total{resource="cpu",reason!~"NoDemand|Missing"}[1h])) / ` +
			`sum by (resource) (rate(polder_capacity_seconds_total{resource="cpu"}[1h])) > 0.1`, "1h", "ticket",
			"More than a tenth of the cpu idles although somebody wants it.", `"polder waste --since 1h" says why.`},
		{"PolderGuaranteeMissing", `sum by (resource) (rate(polder_waste_seconds_total{reason="Missing"}[10m])) > 0`, "10m", "page",
			"More {{ $labels.resource }} is guaranteed than the nodes have.", "Bring nodes back, or lower guarantees in the plan."},
		{"PolderSlowTurns", `histogram_quantile(0.99, rate(polder_turn_seconds_bucket[5m])) > 0.25`, "10m", "ticket",
			"One in a hundred of the writer's turns takes more than 250 ms.", "See how many roles, nodes and waiting asks there are."},
		{"PolderQueueFull", `polder_queue_length / polder_queue_limit > 0.8`, "1m", "page",
			"Callers are about to be refused.", "See polder_requests_total for who calls so often."},
		{"PolderSlowStore", `histogram_quantile(0.99, rate(polder_persist_seconds_bucket[5m])) > 1`, "10m", "ticket",
			"Writing to the store takes more than a second.", "Look at the disk of the store."},
		{"PolderRecovering", `polder_recovering == 1`, "5m", "page",
			"The leader waits for nodes and decides nothing.", `"polder node list" says which are away.`},
	}
}
