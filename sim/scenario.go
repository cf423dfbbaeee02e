package sim

import (
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Scenario is what a run plays: what there is, what happens, and what is expected of it. [Parse] reads one from YAML.
//
// Moments (Start, At, From, ...) are written 2026-11-11T00:00 in the scenario's time zone, or +90m after its start.
type Scenario struct {
	Name   string        `json:"name"`
	Title  string        `json:"title,omitempty"`
	About  string        `json:"about,omitempty"`
	TZ     string        `json:"tz,omitempty"` // IANA name; "" is UTC
	Start  string        `json:"start"`
	End    string        `json:"end"`
	Seed   int           `json:"seed,omitempty"`
	Nodes  []Nodes       `json:"nodes"`
	Plan   role.Plan     `json:"plan"`
	Leader Leader        `json:"leader,omitzero"`
	Agents Agents        `json:"agents,omitzero"`
	Work   []Work        `json:"work"`
	Faults []Fault       `json:"faults,omitempty"`
	Expect []Expectation `json:"expect,omitempty"`

	from, to time.Time
	zone     *time.Location
	given    []cluster.NodeInfo // machines that are not written as Nodes
	arrivals []TraceTask        // recorded work
	notes    []string           // what of it is not played
}

// Nodes are Count machines of one kind, named <name>-0000 and so on.
type Nodes struct {
	Name       string              `json:"name"`
	Count      int                 `json:"count"`
	Capacity   resource.Resources  `json:"capacity"`
	Attributes resource.Attributes `json:"attributes,omitempty"`
	Rack       int                 `json:"rack,omitempty"` // so many share a rack: attribute rack=<name>-r0 and so on; 0 is no racks
}

// Leader is how the leader behaves.
type Leader struct {
	Turn     role.Duration `json:"turn,omitempty"`    // it decides at most so often; 10ms
	Failover Span          `json:"failover,omitzero"` // how long there is no leader after one died; 3s..6s
	Unsaved  role.Duration `json:"unsaved,omitempty"` // task records younger than this are lost with a leader; 50ms
}

// Agents are how machines behave.
type Agents struct {
	Latency   Span          `json:"latency,omitzero"`   // of one message; 1ms..5ms
	Start     Span          `json:"start,omitzero"`     // from a launch to a running task; 200ms..1s
	Stop      Span          `json:"stop,omitzero"`      // from a stop to the end of a task; 50ms..500ms
	Loss      float64       `json:"loss,omitempty"`     // share of messages that are lost, and their connection with them; 0
	Reconnect Span          `json:"reconnect,omitzero"` // until an agent is back after its connection broke; 500ms..3s
	Detect    role.Duration `json:"detect,omitempty"`   // silence after which a node counts as unreachable; 15s
	Forget    role.Duration `json:"forget,omitempty"`   // unreachable so long, a node is removed; 0 is never
}

// Work is what one team runs.
type Work struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Kind is "service" (so many replicas, without an end), "batch" (asks that arrive and end) or "claimer" (batch whose
	// scheduler chooses the nodes itself, from a view that may be stale).
	Kind string `json:"kind"`

	Resources    resource.Resources     `json:"resources"`
	Pool         string                 `json:"pool,omitempty"`
	Constraints  []placement.Constraint `json:"constraints,omitempty"`
	Exclusive    bool                   `json:"exclusive,omitempty"`
	Priority     int                    `json:"priority,omitempty"`
	Pinned       bool                   `json:"pinned,omitempty"`
	ReclaimGrace *role.Duration         `json:"reclaimGrace,omitempty"`
	MinRuntime   *role.Duration         `json:"minRuntime,omitempty"`

	Replicas []Replicas `json:"replicas,omitempty"` // of a service

	Tasks    Number `json:"tasks,omitzero"`    // of a batch ask; 1
	Gang     bool   `json:"gang,omitempty"`    // of a batch ask
	Duration Span   `json:"duration,omitzero"` // of a batch task
	Every    Span   `json:"every,omitzero"`    // between two asks; "exp 10s" is a Poisson process
	Asks     int    `json:"asks,omitempty"`    // most asks; 0 is no bound
	From     string `json:"from,omitempty"`    // first ask; the start
	Until    string `json:"until,omitempty"`   // no asks from here on; the end
	View     Span   `json:"view,omitzero"`     // how old a claimer's view of the nodes may be; 1s

	Daily *Daily `json:"daily,omitempty"` // swing of replicas, or of the rate of asks, over the day

	// OnNotice is what a task does when it is told to leave: "checkpoint" saves its work and answers done, "done" only
	// answers, "leave" exits, "ignore" goes on until it is stopped. The default is ignore.
	OnNotice string        `json:"onNotice,omitempty"`
	Saves    Span          `json:"saves,omitzero"`      // how long that takes; 1s..5s
	SaveEach role.Duration `json:"saveEvery,omitempty"` // work is saved so often without notice; 0 is never
}

// Replicas is how many a service wants from a moment on.
type Replicas struct {
	At    string `json:"at"`
	Count int    `json:"count"`
}

// Daily is a swing over the day: a cosine that is 1 at Peak and Low half a day from it.
type Daily struct {
	Peak string  `json:"peak"` // 20:00, in the scenario's time zone
	Low  float64 `json:"low"`  // from 0 to 1

	peak time.Duration
}

// Fault is something that breaks.
type Fault struct {
	At    string `json:"at,omitempty"`   // once, at this moment
	Every Span   `json:"every,omitzero"` // or again and again
	// Kind is "rack" or "node" (power is lost, and every task with it), "agent" (the agent is away, its tasks go on),
	// "connection" (it breaks) or "leader" (it dies; another takes over).
	Kind string `json:"kind"`
	What string `json:"what,omitempty"` // a rack or node; empty is any, by chance
	For  Span   `json:"for,omitzero"`   // until it is back; default 1m
}

// Expectation is a statement that a run must fulfil: a measure between bounds. See [Measures].
type Expectation struct {
	Name    string `json:"name,omitempty"`
	Measure string `json:"measure"`
	Role    string `json:"role,omitempty"` // "" is all roles together
	// At is a moment for measures of a moment, also "opening NAME" and "closing NAME" of a window: every one within the run.
	At    string `json:"at,omitempty"`
	Least string `json:"least,omitempty"` // 4000, 90s or 80%, as the measure is
	Most  string `json:"most,omitempty"`
}
