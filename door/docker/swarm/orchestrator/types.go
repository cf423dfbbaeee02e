package orchestrator

import (
	"encoding/json"
	"time"
)

// Mode is how many tasks a service has.
type Mode int

// The modes.
const (
	Replicated    Mode = iota // so many
	Global                    // one on each node
	ReplicatedJob             // so many that completed
	GlobalJob                 // one that completed on each node
)

// Job reports whether tasks are to complete, not to stay.
func (m Mode) Job() bool { return m >= ReplicatedJob }

// PerNode reports whether there is one task for each node.
func (m Mode) PerNode() bool { return m == Global || m == GlobalJob }

// State is where a task is in its life. The order is the order of time.
type State int

// The states.
const (
	Fresh    State = iota // not looked at yet
	Pending               // waits: for a delay, for another one's end, or for room
	Assigned              // a node was chosen, and the pool is asked
	Starting              // has its lease
	Running               // runs, and is healthy where that is checked
	Complete              // ended by itself, well
	Shutdown              // was stopped, or left because its lease was taken back
	Failed                // ended by itself, badly
	Rejected              // could not start
	Orphaned              // its node is lost, or nobody knows
)

var stateNames = [...]string{"new", "pending", "assigned", "starting", "running", "complete", "shutdown", "failed", "rejected", "orphaned"}

// String is the state's name in the Engine API.
func (s State) String() string { return stateNames[s] }

// Over reports whether the task has ended.
func (s State) Over() bool { return s >= Complete }

// Amounts are what a task needs, or a node has free.
type Amounts struct{ Milli, Memory, GPUs int64 }

func (a Amounts) holds(b Amounts) bool {
	return a.Milli >= b.Milli && a.Memory >= b.Memory && a.GPUs >= b.GPUs
}

func (a Amounts) less(b Amounts) Amounts {
	return Amounts{a.Milli - b.Milli, a.Memory - b.Memory, a.GPUs - b.GPUs}
}

// Port is a port of the machine.
type Port struct {
	Number   uint32
	Protocol string
}

// Placement says where tasks may be.
type Placement struct {
	Constraints []Constraint `json:",omitempty"`
	// Spread are node labels whose values share the tasks evenly, the first one first.
	Spread []string `json:",omitempty"`
	// MostPerNode bounds the tasks on one node; zero does not.
	MostPerNode uint64 `json:",omitempty"`
	// Only are the nodes that have something the tasks need, such as their networks; nil is all.
	Only []string `json:",omitempty"`
}

// Condition says after which ends a task is replaced.
type Condition string

// The conditions.
const (
	Any       Condition = "any"
	OnFailure Condition = "on-failure"
	Never     Condition = "none"
)

// Restart says what follows when a task ends by itself.
type Restart struct {
	Condition   Condition
	Delay       time.Duration
	MaxAttempts uint64        // of one slot, within Window; zero is no bound
	Window      time.Duration // zero is for ever
}

// Rollout says how tasks are replaced by those of another version.
type Rollout struct {
	Parallelism     uint64 // slots at a time; zero is all
	Delay           time.Duration
	Monitor         time.Duration // how long after its start an end counts as the update's failure
	FailureAction   string        // "pause", "continue", "rollback"
	MaxFailureRatio float64
	StartFirst      bool // the old task is stopped when the new one runs
}

// Spec is what is wanted of a service.
type Spec struct {
	Mode       Mode
	Replicas   uint64 // replicated: tasks; replicated job: completions
	Concurrent uint64 // replicated job: tasks at a time; zero is all
	// Template is passed on with each task. Print differs when tasks of an older template are to be replaced.
	Template  json.RawMessage
	Print     string
	Needs     Amounts
	Ports     []Port `json:",omitempty"`
	Placement Placement
	Restart   Restart
	Update    Rollout
	Rollback  Rollout
}

// Service is one service.
type Service struct {
	ID, Name, Role, Owner string
	// Index grows with each change; who changes a service says which one was read.
	Index            uint64
	Created, Updated time.Time
	Spec             Spec
	Previous         *Spec   `json:",omitempty"`
	Update           *Update `json:",omitempty"`
	// Iteration counts the runs of a job, Executed is when the last one began.
	Iteration uint64    `json:",omitempty"`
	Executed  time.Time `json:",omitzero"`
	// Removing is set when only what is left of it has to be stopped.
	Removing bool `json:",omitempty"`
}

// States of an [Update], as the Engine API has them.
const (
	Updating          = "updating"
	Paused            = "paused"
	Completed         = "completed"
	RollbackStarted   = "rollback_started"
	RollbackPaused    = "rollback_paused"
	RollbackCompleted = "rollback_completed"
)

// Update is how far the replacing of old tasks is.
type Update struct {
	State     string
	Started   time.Time
	Completed time.Time `json:",omitzero"`
	Message   string    `json:",omitempty"`
	Total     int       // slots to replace
	Failures  []string  `json:",omitempty"` // tasks
}

func (u *Update) rolling() bool {
	return u != nil && (u.State == RollbackStarted || u.State == RollbackPaused || u.State == RollbackCompleted)
}

// Task is one task of a service.
type Task struct {
	ID, Service string
	Slot        int    // of replicated services and jobs
	Bound       string `json:",omitempty"` // of services with one task for each node: that node
	Index       uint64 // of the service when it was made
	Iteration   uint64 `json:",omitempty"`
	Template    json.RawMessage
	Print       string
	Created     time.Time

	Wanted    bool      // it is to run, or to complete
	Remove    bool      `json:",omitempty"` // nothing is to be remembered of it
	Done      bool      `json:",omitempty"` // it ended, and that is that
	NotBefore time.Time `json:",omitzero"`  // its start is delayed until then
	After     string    `json:",omitempty"` // the task it takes the place of, and waits for

	State   State
	Since   time.Time // of the state
	Started time.Time `json:",omitzero"` // when it first ran
	Node    string    `json:",omitempty"`
	Pool    string    `json:",omitempty"` // the pool's ask
	Reason  string    `json:",omitempty"`
	Exit    *int      `json:",omitempty"`
	// Forced is set when it ended for reasons that are not its own: its place was taken back, its node emptied or lost.
	Forced bool `json:",omitempty"`
	// Among tells the nodes it is queued for from others.
	Among uint64 `json:",omitempty"`
	// Former is the ask that was withdrawn for Pool.
	Former string `json:",omitempty"`

	stopping, queued bool
	refused          bool // the pool did not give it the place that was chosen: it waits in the pool's own queue
	world            int  // how the nodes were when they were chosen
}

// Desired is the state a task is to be in, by its name in the Engine API.
func (t *Task) Desired(job bool) string {
	switch {
	case t.Remove:
		return "remove"
	case !t.Wanted || t.Done:
		return "shutdown"
	case t.After != "" || !t.NotBefore.IsZero():
		return "ready"
	case job:
		return "complete"
	}
	return "running"
}

// Node is a node as the pool says it is.
type Node struct {
	Name       string
	ID         string // in the Engine API
	Engine     string // nodes of one machine may share it, and its ports
	State      string // "ready", "cordoned", "draining", "unreachable"
	Arch       string
	Attributes map[string]string
	Labels     map[string]string // given through the Engine API
	Free       Amounts

	tasks int // wanted there, of all services
	mine  int // of the service that is being placed, when stamp is the machine's
	stamp int
}
