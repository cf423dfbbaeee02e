package orchestrator

// Event is something that happened.
type Event interface{ apply(m *Machine) }

// Batch is several events that are looked at before anything is decided.
type Batch []Event

// Tick is that time has passed.
type Tick struct{}

// PutService is a service as its user wants it now. Index is the one the user read; zero makes a new one.
type PutService struct {
	Service Service
	// Back is set when Spec is what the service was before the last change.
	Back bool
}

// RemoveService is that a service is not wanted any more.
type RemoveService struct{ ID string }

// PutNode is a node as it is now.
type PutNode struct{ Node Node }

// RemoveNode is that the pool does not have a node any more.
type RemoveNode struct{ Name string }

// Report is what the pool says of a task. Pool is its ask there.
type Report struct {
	Task, Pool, Node string
	State            State
	Reason           string
	Exit             *int
	Forced           bool
}

// Refused is that a task did not get the place that was chosen. With Room it may get another one; else it cannot start at all.
type Refused struct {
	Task, Reason string
	Room         bool
}

// Synced is that every node and every task the pool has was told: what was not is not there. Nothing is decided before. It counts
// once; later, tasks may have come while the pool was read.
type Synced struct{}

// Effect is something to do. Effects are to be done in order.
type Effect interface{ effect() }

// SaveService is to write a service down, DropService to forget it.
type (
	SaveService struct{ Service Service }
	DropService struct{ ID string }
)

// SaveTask is to write a task down; DropTask to forget it and to remove what is left of it on its node.
type (
	SaveTask struct{ Task Task }
	DropTask struct{ Task Task }
)

// Launch is to claim a place for a task on a node.
type Launch struct {
	Task  Task
	Needs Amounts
}

// Queue is to ask the pool for a place on one of some nodes; what was asked before is withdrawn.
type Queue struct {
	Task  Task
	Nodes []string
}

// Stop is to end what the pool has under an ask, and to withdraw what waits of it.
type Stop struct{ Task, Pool string }

func (SaveService) effect() {}
func (DropService) effect() {}
func (SaveTask) effect()    {}
func (DropTask) effect()    {}
func (Launch) effect()      {}
func (Queue) effect()       {}
func (Stop) effect()        {}
