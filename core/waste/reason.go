package waste

// Reason is why something was idle. The list is closed, and its order is the order in which reasons are looked for: the first
// that is true is the one.
type Reason uint8

// The reasons. The first four are a machine's, the next six are of what waits, all for idle capacity that no machine keeps from it.
const (
	Unreachable Reason = iota // idle on a node that does not answer
	Draining                  // idle on a node that an operator empties
	Cordoned                  // idle on a node that takes no new tasks
	Earmarked                 // kept for a claimant, until enough for it has come free
	Warm                      // a role keeps it free while a window warms it, and somebody would borrow it
	NotLent                   // a role does not lend it, and somebody would borrow it
	HoldTooLong               // who would borrow it wants longer notice than any lender tolerates
	OverBound                 // who wants it is at a limit, at a borrow bound, or may use only its own guarantee
	NoFit                     // who wants it finds too little of something else, no node in one piece, or none that satisfies its constraints
	Undecided                 // somebody waits who has not been looked at yet
	NoDemand                  // nobody wanted it
	Starting                  // leased, but the task does not run yet
	Missing                   // guaranteed, but nodes are missing: not a part of the capacity
	reasons
)

// Reasons lists all of them in order.
func Reasons() []Reason {
	out := make([]Reason, reasons)
	for i := range out {
		out[i] = Reason(i)
	}
	return out
}

var texts = [reasons]struct{ code, text string }{
	Unreachable: {"Unreachable", "on nodes that do not answer"},
	Draining:    {"Draining", "on nodes being drained"},
	Cordoned:    {"Cordoned", "on cordoned nodes"},
	Earmarked:   {"Earmarked", "earmarked for claimants"},
	Warm:        {"Warm", "kept warm for a window"},
	NotLent:     {"NotLent", "not lent"},
	HoldTooLong: {"HoldTooLong", "hold too long to borrow"},
	OverBound:   {"OverBound", "demand over its limit or borrow bound"},
	NoFit:       {"NoFit", "fits no node"},
	Undecided:   {"Undecided", "not decided yet"},
	NoDemand:    {"NoDemand", "no demand"},
	Starting:    {"Starting", "tasks still starting"},
	Missing:     {"Missing", "guaranteed but nodes missing"},
}

// String returns the reason's code. Codes are stable.
func (r Reason) String() string { return texts[r].code }

// Text returns the reason in a few words.
func (r Reason) Text() string { return texts[r].text }
