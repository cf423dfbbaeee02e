package witness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Kinds of words.
const (
	Started   = "started"
	Noticed   = "noticed"   // read a notice that is new, or in a new state
	Alive     = "alive"     // a proof of life around the deadline
	Answered  = "answered"  // done
	Termed    = "termed"    // got the stop signal
	Finished  = "finished"  // its work is done, for the first time
	Again     = "again"     // its work was done before
	Duplicate = "duplicate" // this attempt ran before, or this instance runs
	Trouble   = "trouble"
	Exited    = "exited" // the last word of one that ends by itself
)

// Word is one thing a worker says. Which fields are set depends on the kind.
type Word struct {
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Task    string    `json:"task,omitempty"`
	Role    string    `json:"role,omitempty"`
	Node    string    `json:"node,omitempty"`
	Sandbox string    `json:"sandbox,omitempty"`
	Notice  *Document `json:"notice,omitempty"`
	Code    int       `json:"code,omitempty"`
	Text    string    `json:"text,omitempty"`
}

// Document is notice.json as a task finds it, and when the file was written.
type Document struct {
	ID       string            `json:"id"`
	Claimant string            `json:"claimant"`
	Amount   map[string]string `json:"amount,omitempty"`
	Issued   time.Time         `json:"issued"`
	Deadline time.Time         `json:"deadline"`
	State    string            `json:"state"`
	Written  time.Time         `json:"written,omitzero"`
}

// Same reports whether a task would see no difference.
func (d Document) Same(o Document) bool {
	return d.ID == o.ID && d.State == o.State && d.Deadline.Equal(o.Deadline)
}

// ReadNotice reads the notice in a sandbox; the error is [os.ErrNotExist] when there has been none.
func ReadNotice(sandbox string) (Document, error) {
	f, err := os.Open(filepath.Join(sandbox, "notice.json"))
	if err != nil {
		return Document{}, err
	}
	defer f.Close()
	var d Document
	if err := json.NewDecoder(f).Decode(&d); err != nil {
		return d, fmt.Errorf("notice.json: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		d.Written = info.ModTime()
	}
	return d, err
}

// Instance is one task of an ask, whichever attempt.
type Instance struct {
	Ask   string
	Index int
}

// ParseTask takes "<ask>.<index>[.<attempt>]" apart. A first attempt is 0.
func ParseTask(id string) (Instance, int, error) {
	parts := strings.Split(id, ".")
	if len(parts) != 2 && len(parts) != 3 {
		return Instance{}, 0, fmt.Errorf("task %q is not <ask>.<index>[.<attempt>]", id)
	}
	index, err := strconv.Atoi(parts[1])
	if err != nil {
		return Instance{}, 0, fmt.Errorf("task %q: index: %w", id, err)
	}
	attempt := 0
	if len(parts) == 3 {
		if attempt, err = strconv.Atoi(parts[2]); err != nil {
			return Instance{}, 0, fmt.Errorf("task %q: attempt: %w", id, err)
		}
	}
	return Instance{parts[0], index}, attempt, nil
}
