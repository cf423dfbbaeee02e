package cluster

import (
	"fmt"
	"time"

	"polder.dev/polder/core/resource"
)

// Reason says why: a stable code, a sentence, what would change it and, where the ledger knows, when.
type Reason struct {
	Code        string
	Message     string
	UnblockedBy string
	Expected    time.Time
}

// Refusal is the error of a Step that refuses its event. The cluster is as it was before.
type Refusal struct{ Reason Reason }

// Error returns the sentence.
func (r *Refusal) Error() string { return r.Reason.Message }

func refuse(code, next, format string, args ...any) *Refusal {
	return &Refusal{Reason{Code: code, Message: fmt.Sprintf(format, args...), UnblockedBy: next}}
}

// Notice is a task's notice to leave.
type Notice struct {
	ID       string
	Task     string
	Role     string
	Node     string
	Claimant string
	Amount   resource.Resources
	Issued   time.Time
	Deadline time.Time
	State    NoticeState
	Funding  string // who paid for the lease until now
	Kind     NoticeKind
	Opens    time.Time // for a window: when it opens
}

// NoticeKind is why a notice was given.
type NoticeKind string

// Notice kinds.
const (
	ForClaim  NoticeKind = "claim"  // a claim inside a guarantee
	ForPlan   NoticeKind = "plan"   // a rule that is broken since the plan or a window changed
	ForWindow NoticeKind = "window" // a claim that will be inside a guarantee when a window opens
	ForDrain  NoticeKind = "drain"  // an operator empties the node
)

// NoticeState is how far a notice is.
type NoticeState string

// Notice states.
const (
	NoticeOpen      NoticeState = "open"
	NoticeDone      NoticeState = "done"      // the task said so; it is being stopped
	NoticeWithdrawn NoticeState = "withdrawn" // no longer needed; the task stays
	NoticeLeft      NoticeState = "left"      // the task was gone before the deadline
	NoticeExpired   NoticeState = "expired"   // the task was stopped at the deadline
)

// TaskView is a task for readers.
type TaskView struct {
	TaskReport
	Hold time.Duration
}

// AskView is an ask for readers. Reason is set while something of it waits.
type AskView struct {
	AskSpec
	AskState
	Pending int
	Running int
	State   string // "open", "finished", "cancelled"
	Reason  Reason
	Kept    map[string]int // places kept for commits, by node
}

// ClaimView is a reservation: places that are kept, or come free, for one start of an ask.
type ClaimView struct {
	Ask     string
	Funding string   // who pays for it
	Nodes   []string // of its tasks, a node as often as it has room for one
	Due     time.Time
	Kept    bool // its places are free and wait for a commit
}

// NodeView is a node for readers. Amounts carry the pool in their names.
type NodeView struct {
	NodeInfo
	Pool      string
	State     string // "ready", "cordoned", "draining", "unreachable"
	Total     resource.Resources
	Used      resource.Resources
	Available resource.Resources // for anybody: neither used nor kept for a claimant
	Earmarked resource.Resources
	FreePorts resource.PortSet
	Tasks     int // volumes and reservations included
	Volumes   int // of them; they stay when it is drained, and when it is lost

	Reservations int // of them; they stay like volumes
}

// RoleView is a role for readers, amounts over its subtree and over all pools. ".self" leaves are folded into their parent.
type RoleView struct {
	Path        string
	Usage       resource.Resources
	Funded      resource.Resources
	Borrowed    resource.Resources
	Lent        resource.Resources
	Entitlement resource.Resources
	Demand      resource.Resources
	Leaving     resource.Resources
	Running     int
	Pending     int
	Packages    []PackagesView // one for a pool in which its guarantee is in packages
}

// PackagesView is a guarantee in whole packages, and where they are kept.
type PackagesView struct {
	Unit     resource.Resources
	Count    int
	Nodes    []string // that keep room for a package, by name; one that keeps several is there as often
	Homeless int      // packages for which no node has room beside what does not give way in time
}
