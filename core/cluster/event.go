package cluster

import (
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Event is something that happened to the cluster. The types below are all there are.
type Event interface{ event() }

// SetPlan puts a validated plan in force.
type SetPlan struct {
	Plan     *role.Plan
	Revision int64
}

// Register is a node that connects, with everything on it. What it reports is the truth about its tasks.
type Register struct {
	Node  NodeInfo
	Tasks []TaskReport
}

// Disconnect is a node that no longer answers. Its tasks are neither running nor lost.
type Disconnect struct{ Node string }

// RemoveNode forgets a node; its tasks are lost. One that keeps volumes stays known, with nothing but them, until it is back or somebody
// says that they are lost, too.
type RemoveNode struct {
	Node        string
	LoseVolumes bool
}

// Cordon keeps new tasks off a node or lets them on again, which also ends a drain.
type Cordon struct {
	Node     string
	Cordoned bool
}

// Drain cordons a node and gives every task on it notice. Each task has at least its own notice unless Force is set.
type Drain struct {
	Node     string
	Deadline time.Duration
	Force    bool
}

// Submit queues an ask. It is refused when it can never be served.
type Submit struct{ Ask AskSpec }

// Cancel withdraws what waits of an ask and, unless KeepRunning, stops what runs.
type Cancel struct {
	Ask         string
	KeepRunning bool
}

// Commit claims places that a scheduler chose itself. Results are in [Committed], one per task, in order.
type Commit struct {
	Tasks        []Claim
	AllOrNothing bool
	LeaveDemand  bool   // what conflicts becomes an ask without a node
	GiveUp       []Kept // freed before the tasks are looked at, so that nobody else gets it in between
}

// Kept is what an ask that only earmarks has on a node.
type Kept struct {
	Ask, Node string
	Count     int // 0 is all of it
}

// Claim is one task for one node. Its ask has count 1 and an ID of its own.
type Claim struct {
	Ask  AskSpec
	Node string
}

// Report is news about a task from its agent.
type Report struct {
	Node string
	Task TaskReport
}

// Answer is what a task under notice says: it is done, or it goes on with less.
type Answer struct {
	Task     string
	Done     bool
	Released resource.Resources // by kind, without a pool
}

// Resize makes the lease of a running task larger or smaller. More is refused when it is not idle on its node, or when whoever
// pays for the lease cannot pay for more; less is free at once.
type Resize struct {
	Task      string
	Resources resource.Resources // what it is to hold, by kind, without a pool; kinds that are not named stay as they are
}

// SetCost says what it costs the owner of a running task to lose it. It changes no notice that was given.
type SetCost struct {
	Task string
	Cost Cost
}

// Cost is what the owner of a task says about losing it, beside others of its role.
type Cost struct {
	Guarded bool  // who is not guarded is asked back first
	Amount  int64 // then, among tasks of equal priority, who costs less
}

// Accepted is an agent's word that it has a notice on disk and enforces this deadline.
type Accepted struct {
	Task, Notice string
	Deadline     time.Time
}

// Kill stops a task for good: its ask does not start it again.
type Kill struct {
	Task  string
	Force bool
	Grace *time.Duration // between the stop signal and SIGKILL; nil: the task's own
}

// RestoreNode, RestoreAsk and RestoreTask rebuild the state after a failover from what was saved, before agents are back.
// They go before the first Tick. Recovered ends the recovery: until then nothing is started or reclaimed.
type (
	RestoreNode struct{ Node NodeInfo }
	RestoreAsk  struct {
		Ask   AskSpec
		State AskState
	}
	RestoreTask struct{ Task TaskReport }
	Recovered   struct{}
)

// Tick lets the cluster decide.
type Tick struct{}

func (SetPlan) event()       {}
func (Register) event()      {}
func (Disconnect) event()    {}
func (RemoveNode) event()    {}
func (Cordon) event()        {}
func (Drain) event()         {}
func (Submit) event()        {}
func (Cancel) event()        {}
func (SetAttributes) event() {}
func (Commit) event()        {}
func (Report) event()        {}
func (Answer) event()        {}
func (Accepted) event()      {}
func (Resize) event()        {}
func (SetCost) event()       {}
func (Kill) event()          {}
func (RestoreNode) event()   {}
func (RestoreAsk) event()    {}
func (RestoreTask) event()   {}
func (Recovered) event()     {}
func (Tick) event()          {}

// SetAttributes replaces what a node that is known says about itself for constraints. Its tasks stay.
type SetAttributes struct {
	Node       string
	Attributes map[string]string
}

// NodeInfo is a machine as it registers.
type NodeInfo struct {
	Name       string
	Attributes map[string]string
	Capacity   resource.Resources // by kind, without a pool: the plan's selectors decide the pool
	Ports      resource.PortSet
	Cordoned   bool
	Draining   *Draining // nil when it is not drained
}

// Draining is a drain under way. Like Cordoned it is the cluster's to set, not the agent's.
type Draining struct {
	By    time.Time
	Force bool
}

// AskSpec is n tasks of one shape for one role.
type AskSpec struct {
	ID        string // unique for ever
	Role      string
	Count     int
	Gang      bool // all start together or none
	Earmark   bool // nothing of it starts: what comes free for it is kept for commits
	Submitted time.Time
	Shape     Shape
	Payload   any // the caller's; handed back in assignments, never looked at
}

// Shape is what one task needs and how it wants to be treated.
type Shape struct {
	Resources    resource.Resources // by kind, without a pool
	Pool         string
	Ports        []Port
	Constraints  []placement.Constraint
	Spread       []placement.Spread
	Exclusive    bool // never two tasks of one ask on a node
	Priority     int
	Pinned       bool           // not preemptible: runs only on its own role's guarantee
	Volume       bool           // nothing that runs: it keeps a directory until it is killed; see volume.go
	Reserve      bool           // of a volume: a reservation, of which others are carved; see reservation.go
	From         string         // the id of the reservation it is carved out of; empty: it is booked by itself
	ReclaimGrace *time.Duration // nil: the role's; never more than the role's
	MinRuntime   *time.Duration // nil: the role's; never more than the role's
	Requeue      bool           // comes back after a reclaim or a lost node
	Restart      Restart
}

// Port is a host port a task holds; Host zero is chosen at placement.
type Port struct {
	Name string
	Host uint16
}

// RestartPolicy says when a task that ended by itself starts again.
type RestartPolicy string

// Restart policies.
const (
	RestartNever     RestartPolicy = "never"
	RestartOnFailure RestartPolicy = "on-failure"
	RestartAlways    RestartPolicy = "always"
)

// Restart is a policy with its bounds. The delay doubles from Backoff up to a minute.
type Restart struct {
	Policy  RestartPolicy
	Max     int // most restarts after failures; 0 is no bound
	Backoff time.Duration
}

// Instance is one task of an ask that waits: its index, how often it was started before, and when it may start.
type Instance struct {
	Index     int
	Attempt   int
	NotBefore time.Time
}

// AskState is what must be saved of an ask beside its spec. Together with the saved tasks it says where every instance is.
type AskState struct {
	Next      int        // indexes from here on were never started
	Returned  []Instance // started before and waiting again
	Succeeded int
	Failed    int
	Killed    int
	Cancelled bool
	Restarts  int // failures restarted so far
}

// Assignment is a lease with all that is needed to rebuild the ledger from it.
type Assignment struct {
	Task         string // "<ask>.<index>", with ".<attempt>" from the second attempt on
	Ask          string
	Index        int
	Attempt      int
	Gang         bool
	Role         string // as written by the user, without ".self"
	Node         string
	Shape        Shape
	Resources    resource.Resources // what the lease holds now: the shape's, less what was released, or as resized; with the pool
	Ports        map[string]uint16
	Funding      string // path of the paying role, or Borrowed
	ReclaimGrace time.Duration
	MinRuntime   time.Duration
	Created      time.Time
	Payload      any
}

// Borrowed is the funding of a task that only the root pays for.
const Borrowed = "borrowed"

// TaskReport is a task as an agent, or the saved record, has it.
type TaskReport struct {
	Assignment
	State    State
	ExitCode *int
	Reason   Reason
	Started  time.Time
	Ended    time.Time
	Health   string
	Notice   *Notice
	Cost     Cost // of losing it, as its owner said; agents do not know it
}

// State is where a task is in its life; the order is the order of time.
type State int

// Task states. Pending is that of an ask's instance without a lease.
const (
	Pending State = iota + 1
	Starting
	Running
	Leaving     // running under notice
	Stopping    // told to stop
	Unreachable // its node does not answer
	Succeeded
	Failed
	Killed
	Reclaimed
	Lost
)

// Terminal reports whether a task in this state is over.
func (s State) Terminal() bool { return s >= Succeeded }

var stateNames = [...]string{"", "pending", "starting", "running", "leaving", "stopping", "unreachable", "succeeded",
	"failed", "killed", "reclaimed", "lost"}

// String returns the lower-case name of the state.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}
