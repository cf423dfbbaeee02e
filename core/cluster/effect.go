package cluster

import (
	"time"

	"polder.dev/polder/core/resource"
)

// Effect is something to do, in the order given. Save and Delete effects of one Step belong in one atomic write; an [Ack]
// may go out only after every Save and Delete before it is durable; all others need not wait for the disk.
type Effect interface{ effect() }

// Launch starts a task on a node. Repeating it for a task the node has is harmless.
type Launch struct{ Task Assignment }

// StopTask ends a task: with its kill policy, or within Grace when set, or at once with Force.
type StopTask struct {
	Node, Task string
	Grace      *time.Duration
	Force      bool
	Reason     Reason
}

// SendNotice delivers a notice. The agent gives the task at least Grace from when it has the notice on disk.
type SendNotice struct {
	Node   string
	Notice Notice
	Grace  time.Duration
}

// WithdrawNotice tells a task that it may stay.
type WithdrawNotice struct{ Node, Task, Notice string }

// SetFunding tells an agent who pays for a task now.
type SetFunding struct{ Node, Task, Funding string }

// ResizeTask tells an agent what a lease holds now.
type ResizeTask struct {
	Node, Task string
	Resources  resource.Resources
}

// Ack tells an agent that it may forget an ended task.
type Ack struct{ Node, Task string }

// SaveAsk, SaveTask and SaveNode make the present state of an object durable (see [Cluster.AskRecord], [Cluster.TaskRecord],
// [Cluster.NodeRecord]); the Delete effects remove it.
type (
	SaveAsk    struct{ ID string }
	DeleteAsk  struct{ ID string }
	SaveTask   struct{ ID string }
	DeleteTask struct{ ID string }
	SaveNode   struct{ Name string }
	DeleteNode struct{ Name string }
)

// Changed says that an object looks different now to readers. Kind is one of the Object constants; ID is empty for roles.
type Changed struct {
	Object Object
	ID     string
}

// TaskEnded carries the last view of a task that the cluster no longer knows.
type TaskEnded struct{ Task TaskView }

// AskEnded carries the last view of an ask that the cluster no longer knows.
type AskEnded struct{ Ask AskView }

// NoticeClosed carries the last view of a notice.
type NoticeClosed struct{ Notice Notice }

// ClaimServed tells that a claim that capacity was asked back for has started: how long it waited since it could first not be served,
// and T of its role, the longest it may.
type ClaimServed struct {
	Ask    string
	Role   string
	Waited time.Duration
	Bound  time.Duration
}

// Committed answers a [Commit].
type Committed struct{ Results []CommitResult }

// CommitResult is what became of one claimed task: its ID, or the reason it conflicts and the ask left as demand, if any.
type CommitResult struct {
	Task     string
	Conflict *Reason
	Ask      string
}

// Happened is an entry for the event stream, in words for people and with stable codes for programs.
type Happened struct {
	Kind    string // TaskStarted, NoticeSent, NodeLost, ...
	Subject string // task, ask, node or plan revision
	Role    string
	Node    string
	Message string
}

// Object is a kind of thing readers look at.
type Object string

// Objects.
const (
	ObjectTask Object = "task"
	ObjectAsk  Object = "ask"
	ObjectNode Object = "node"
	ObjectRole Object = "role"
)

func (Launch) effect()         {}
func (StopTask) effect()       {}
func (SendNotice) effect()     {}
func (WithdrawNotice) effect() {}
func (SetFunding) effect()     {}
func (ResizeTask) effect()     {}
func (Ack) effect()            {}
func (SaveAsk) effect()        {}
func (DeleteAsk) effect()      {}
func (SaveTask) effect()       {}
func (DeleteTask) effect()     {}
func (SaveNode) effect()       {}
func (DeleteNode) effect()     {}
func (Changed) effect()        {}
func (TaskEnded) effect()      {}
func (AskEnded) effect()       {}
func (NoticeClosed) effect()   {}
func (ClaimServed) effect()    {}
func (Committed) effect()      {}
func (Happened) effect()       {}
