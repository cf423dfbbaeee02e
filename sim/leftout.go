package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// recordedEvent is what is read of an event of the API.
type recordedEvent struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Subject string    `json:"subject"`
}

// LeftOut says what a replay of the recording does not play, or plays differently, as far as the recording itself tells; a sentence each.
func (r *Recording) LeftOut() []string {
	kinds, lost, first := r.tally()
	var out []string
	say := func(n int, format string, args ...any) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	say(len(r.Events), "The server remembered events from %s on. What had ended and was forgotten by then is not played.", first.UTC().Format(time.RFC3339))
	say(lost, "%d starts in the events are of asks that the server has forgotten; they are not played.", lost)
	say(r.open(), "%d tasks had not ended; they run to the end.", r.open())
	say(kinds["NodeJoined"]+kinds["NodeLost"]+kinds["NodeUnreachable"]+kinds["NodeDraining"],
		"Nodes joined %d times, were lost %d times, did not answer %d times and were drained %d times; in the replay all nodes of the recording are there all the time.",
		kinds["NodeJoined"], kinds["NodeLost"], kinds["NodeUnreachable"], kinds["NodeDraining"])
	say(kinds["PlanApplied"], "A plan was applied %d times; the replay has one plan all the time, \"as recorded\" is revision %d.", kinds["PlanApplied"], r.Revision)
	say(kinds["TaskResized"]+kinds["PartReleased"], "%d leases were resized or given back in part; in the replay a task keeps what it asked for.",
		kinds["TaskResized"]+kinds["PartReleased"])
	return out
}

// tally counts the events by kind, and the starts of tasks of unknown asks; first is the time of the earliest event.
func (r *Recording) tally() (kinds map[string]int, lost int, first time.Time) {
	kinds = map[string]int{}
	asks := map[string]bool{}
	for _, a := range r.Asks {
		asks[a.ID] = true
	}
	for _, raw := range r.Events {
		var e recordedEvent
		if json.Unmarshal(raw, &e) != nil {
			continue // events are for people; what cannot be read is not counted
		}
		kinds[e.Kind]++
		if e.Kind == "TaskStarted" && !isOf(e.Subject, asks) {
			lost++
		}
		if first.IsZero() || e.Time.Before(first) {
			first = e.Time
		}
	}
	return kinds, lost, first
}

// open is how many tasks had not ended when the recording was made.
func (r *Recording) open() int {
	n := 0
	for _, a := range r.Asks {
		for _, ran := range a.Ran {
			if ran == 0 {
				n++
			}
		}
	}
	return n
}

// isOf reports whether a task is one of the asks: its id is the ask's, the index, and the attempt from the second on.
func isOf(task string, asks map[string]bool) bool {
	for range 2 {
		i := strings.LastIndexByte(task, '.')
		if i < 0 {
			return false
		}
		if task = task[:i]; asks[task] {
			return true
		}
	}
	return false
}
