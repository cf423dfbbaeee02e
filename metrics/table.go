package metrics

const (
	server = "server"
	agent  = "agent"
)

var (
	forRole   = []string{"role", "resource"}
	forPool   = []string{"resource"}
	quick     = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}
	patient   = []float64{1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600}
	toTheLine = []float64{.1, .25, .5, .75, .9, 1, 1.1, 1.5, 2}
)

func roleAmount(name, help string) *Metric {
	return declare(Metric{Name: name, Type: Gauge, Unit: "amount", Help: help, Labels: forRole, Part: server, Group: "Roles"})
}

func poolAmount(name, help string) *Metric {
	return declare(Metric{Name: name, Type: Gauge, Unit: "amount", Help: help, Labels: forPool, Part: server, Group: "Nodes"})
}

func count(group, name, help string, labels ...string) *Metric {
	return declare(Metric{Name: name, Type: Gauge, Help: help, Labels: labels, Part: server, Group: group})
}

// Roles. A role's figures cover everything below it; the role "/" is the whole pool. A resource of a pool has the pool before it, as in
// gpu-a100/gpu.
var (
	RoleGuarantee   = roleAmount("polder_role_guarantee", "What the role gets whenever it asks, within T.")
	RoleLimit       = roleAmount("polder_role_limit", "What the role never holds more than; not there when nothing bounds it.")
	RoleUsed        = roleAmount("polder_role_used", "What the role's tasks hold.")
	RoleFunded      = roleAmount("polder_role_funded", "The part of it that the role's guarantee pays for.")
	RoleBorrowed    = roleAmount("polder_role_borrowed", "The part of it that the role's guarantee does not pay for.")
	RoleLent        = roleAmount("polder_role_lent", "The role's idle guarantee that others use.")
	RoleLeaving     = roleAmount("polder_role_leaving", "What tasks under notice hold.")
	RoleEntitlement = roleAmount("polder_role_entitlement", "What the role is due, from plan, demand and capacity.")
	RoleDemand      = roleAmount("polder_role_demand", "What runs and what waits, within limits.")
	RoleTasks       = declare(Metric{Name: "polder_role_tasks", Type: Gauge, Labels: []string{"role", "state"}, Part: server, Group: "Roles",
		Help: "Tasks of the role that run or wait; state is running or pending."})
	RoleBound = declare(Metric{Name: "polder_role_reclaim_bound_seconds", Type: Gauge, Unit: "seconds", Labels: []string{"role"}, Part: server, Group: "Roles",
		Help: "T: the longest a claim inside the role's guarantee waits."})
)

// Nodes.
var (
	Nodes         = count("Nodes", "polder_nodes", "Nodes by state.", "state")
	PoolCapacity  = poolAmount("polder_capacity", "What all nodes have, those that do not answer included.")
	PoolUsed      = poolAmount("polder_used", "What leases hold.")
	PoolBorrowed  = poolAmount("polder_borrowed", "The part of it that the guarantee of the task's own role does not pay for.")
	PoolAvailable = poolAmount("polder_available", "What anybody may take now, on nodes that take tasks.")
	PoolEarmarked = poolAmount("polder_earmarked", "What is kept for claimants.")
	Sessions      = count("Nodes", "polder_agent_sessions", "Agents with a session.")
)

// Work.
var (
	Tasks   = count("Work", "polder_tasks", "Tasks that hold a lease, by state.", "state")
	Asks    = count("Work", "polder_asks_waiting", "Open asks of which something waits, by the code of the reason; docs/reasons.md has the codes.", "code")
	Waiting = count("Work", "polder_tasks_waiting", "Tasks of open asks that wait, by the code of the ask's reason.", "code")
)

// Doors: "native" is the API itself. Programs of their own report what they count; silent ones are not shown.
var (
	DoorRequests = declare(Metric{Name: "polder_door_requests_total", Type: Counter, Labels: []string{"door"}, Part: server, Group: "Doors",
		Help: "Requests that a door has answered since it opened."})
	DoorRefused = declare(Metric{Name: "polder_door_refused_total", Type: Counter, Labels: []string{"door"}, Part: server, Group: "Doors",
		Help: "Those of them that were refused."})
	Frameworks = count("Doors", "polder_frameworks", "Schedulers that doors make offers to, by state: connected or away.", "state")
	Offers     = count("Doors", "polder_offers", "Offers that are out.")
)

// Notices and reclaiming.
var (
	NoticesOpen = count("Notices", "polder_notices_open", "Open notices, by kind.", "kind")
	Notices     = declare(Metric{Name: "polder_notices_total", Type: Counter, Labels: []string{"kind", "outcome"}, Part: server, Group: "Notices",
		Help: "Notices that are over, by kind and outcome: done, left, expired or withdrawn."})
	Reclaim = declare(Metric{Name: "polder_reclaim_seconds", Type: Histogram, Unit: "seconds", Buckets: patient, Part: server, Group: "Notices",
		Help: "How long claims waited from when they could first not be served until they started, of those that capacity was reclaimed for."})
	ReclaimOfBound = declare(Metric{Name: "polder_reclaim_bound_ratio", Type: Histogram, Buckets: toTheLine, Part: server, Group: "Notices",
		Help: "The same time as a share of T. Above 1 the promise was broken."})
)

// Waste.
var (
	Waste = declare(Metric{Name: "polder_waste_seconds_total", Type: Counter, Unit: "amount × seconds", Labels: []string{"resource", "reason"}, Part: server,
		Group: "Waste", Help: "What was idle, by reason; docs/waste.md has the reasons."})
	CapacitySeconds = declare(Metric{Name: "polder_capacity_seconds_total", Type: Counter, Unit: "amount × seconds", Labels: forPool, Part: server,
		Group: "Waste", Help: "What the nodes had: what waste is a share of."})
)

// Agents. They are shown by the server that leads, at /metrics/nodes/NAME.
var (
	AgentTasks = declare(Metric{Name: "polder_agent_tasks", Type: Gauge, Labels: []string{"role", "state"}, Part: agent, Group: "Agents",
		Help: "Tasks on the node, by role and state."})
	AgentNotices = declare(Metric{Name: "polder_agent_notices_open", Type: Gauge, Part: agent, Group: "Agents", Help: "Tasks on the node that are under notice."})
	AgentCPU     = declare(Metric{Name: "polder_agent_cpu_seconds_total", Type: Counter, Unit: "cpu seconds", Labels: []string{"role"}, Part: agent, Group: "Agents",
		Help: "What the tasks' cgroups or containers consumed, as of the last heartbeat."})
	AgentMemory = declare(Metric{Name: "polder_agent_memory_bytes", Type: Gauge, Unit: "bytes", Labels: []string{"role"}, Part: agent, Group: "Agents",
		Help: "What they have of memory, as of the last heartbeat."})
	AgentJournal = declare(Metric{Name: "polder_agent_journal_seconds", Type: Histogram, Unit: "seconds", Buckets: quick, Part: agent, Group: "Agents",
		Help: "How long writing to the agent's journal took, sync included."})
	AgentBuild = declare(Metric{Name: "polder_agent_build_info", Type: Gauge, Labels: []string{"version"}, Part: agent, Group: "Agents", Help: "1, with the version of the agent's build."})
)

// The server itself.
var (
	Turns = declare(Metric{Name: "polder_turn_seconds", Type: Histogram, Unit: "seconds", Buckets: quick, Part: server, Group: "Server",
		Help: "How long the writer's turns took: decide, tell agents, publish."})
	Queue    = count("Server", "polder_queue_length", "Commands that wait for the writer.")
	QueueMax = count("Server", "polder_queue_limit", "Commands that may wait; beyond, callers are refused.")
	Persist  = declare(Metric{Name: "polder_persist_seconds", Type: Histogram, Unit: "seconds", Buckets: quick, Part: server, Group: "Server",
		Help: "How long writing to the store took, by transaction."})
	Requests = declare(Metric{Name: "polder_requests_total", Type: Counter, Labels: []string{"procedure", "code"}, Part: server, Group: "Server",
		Help: "Calls of the API that are over, by procedure and code; ok is a code. Refused callers are among them."})
	PlanRevision = count("Server", "polder_plan_revision", "Revision of the plan in force.")
	Recovering   = count("Server", "polder_recovering", "1 while the leader waits for nodes it knows and decides nothing.")
	Build        = count("Server", "polder_build_info", "1, with the version of this build.", "version")
)
