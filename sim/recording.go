package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
)

// RecordingFormat is the format of recordings that this Polder writes and reads.
const RecordingFormat = "polder-recording/1"

// MaxRecording is the largest recording in bytes.
const MaxRecording = 512 << 20

// Recording is what a live cluster was and did: its plan, its nodes, what was asked of it, what ran how long, and its events.
type Recording struct {
	Format   string            `json:"format"`
	Polder   string            `json:"polder"` // version that wrote it
	At       time.Time         `json:"at"`
	Revision int64             `json:"revision"`
	Plan     string            `json:"plan"` // YAML
	Nodes    []RecordedNode    `json:"nodes"`
	Asks     []RecordedAsk     `json:"asks"`
	Events   []json.RawMessage `json:"events,omitempty"` // as the API has them, for people
}

// RecordedNode is a machine.
type RecordedNode struct {
	Name       string             `json:"name"`
	Attributes map[string]string  `json:"attributes,omitempty"`
	Capacity   resource.Resources `json:"capacity"` // by kind, without a pool
}

// RecordedAsk is an ask with how long each of its tasks ran, as far as is known.
type RecordedAsk struct {
	ID          string             `json:"id"`
	Role        string             `json:"role"`
	Count       int                `json:"count"`
	Gang        bool               `json:"gang,omitempty"`
	Submitted   time.Time          `json:"submitted"`
	Resources   resource.Resources `json:"resources"`
	Pool        string             `json:"pool,omitempty"`
	Constraints []string           `json:"constraints,omitempty"`
	Priority    int                `json:"priority,omitempty"`
	Pinned      bool               `json:"pinned,omitempty"`
	// Ran is how long each task ran until it ended by itself, in seconds; 0 is one that had not ended.
	Ran []float64 `json:"ran"`
}

// ReadRecording reads a recording, strictly. One of another format is refused by its name.
func ReadRecording(data []byte) (*Recording, error) {
	var head struct {
		Format string `json:"format"`
		Polder string `json:"polder"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("it is no recording: %w", err)
	}
	if head.Format != RecordingFormat {
		return nil, fmt.Errorf("it has the format %q, written by Polder %q; this Polder reads %q", head.Format, head.Polder, RecordingFormat)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var r Recording
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	for _, a := range r.Asks {
		if len(a.Ran) != a.Count || a.Count < 1 || a.Count > maxTasks {
			return nil, fmt.Errorf("ask %s has %d tasks and says of %d how long they ran", a.ID, a.Count, len(a.Ran))
		}
	}
	return &r, nil
}

// Recorded returns the plan of the recording.
func (r *Recording) Recorded() (*role.Plan, error) { return planfile.Parse([]byte(r.Plan)) }

// Capacity sums up what the recorded nodes have, with pools.
func (r *Recording) Capacity(p *role.Plan) resource.Resources {
	out := resource.Resources{}
	for _, n := range r.Nodes {
		for kind, a := range n.Capacity {
			name := resource.JoinName(p.PoolOf(n.Attributes), kind)
			out[name] = out[name].Add(a)
		}
	}
	return out
}

// ErrNothingAsked is that a recording has no work to play.
var ErrNothingAsked = errors.New("nothing was asked of the cluster in the recording")

// Scenario makes a scenario of a recording under a plan: the same nodes all the time, and the same asks at the same instants. A
// task runs as long as it ran; one that had not ended runs to the end.
func (r *Recording) Scenario(plan *role.Plan) (*Scenario, error) {
	if len(r.Asks) == 0 {
		return nil, ErrNothingAsked
	}
	from := r.Asks[0].Submitted
	for _, a := range r.Asks {
		if a.Submitted.Before(from) {
			from = a.Submitted
		}
	}
	s := &Scenario{
		Name: "recording", Title: "A recording replayed", Start: from.UTC().Format(time.RFC3339), End: r.At.UTC().Add(time.Second).Format(time.RFC3339),
		About: fmt.Sprintf("%d asks on %d nodes, as recorded at %s.", len(r.Asks), len(r.Nodes), r.At.UTC().Format(time.RFC3339)), Plan: *plan,
		Leader: Leader{Turn: role.Duration(100 * time.Millisecond)}, notes: r.LeftOut(),
	}
	start, _ := time.Parse(time.RFC3339, s.Start)
	for _, n := range r.Nodes {
		attributes := n.Attributes
		if attributes == nil {
			attributes = map[string]string{}
		}
		s.given = append(s.given, cluster.NodeInfo{Name: n.Name, Attributes: attributes, Capacity: n.Capacity})
	}
	for _, a := range r.Asks {
		t, err := a.trace(start)
		if err != nil {
			return nil, err
		}
		s.arrivals = append(s.arrivals, t)
	}
	slices.SortStableFunc(s.arrivals, func(a, b TraceTask) int { return int(a.At - b.At) })
	return s, s.Prepare()
}

func (a RecordedAsk) trace(start time.Time) (TraceTask, error) {
	t := TraceTask{
		Name: a.ID, Role: a.Role, At: max(0, a.Submitted.Sub(start)), Count: a.Count, Gang: a.Gang, Resources: a.Resources, Priority: a.Priority,
		Pinned: a.Pinned, Pool: a.Pool, OnNotice: "leave",
	}
	for _, s := range a.Ran {
		t.Durations = append(t.Durations, max(0, time.Duration(s*float64(time.Second))))
	}
	for _, text := range a.Constraints {
		c, err := placement.ParseConstraint(text)
		if err != nil {
			return t, fmt.Errorf("ask %s: %w", a.ID, err)
		}
		t.Constraints = append(t.Constraints, c)
	}
	return t, nil
}

// Change is what a role has under one plan and under another, on the same work.
type Change struct {
	Role   string     `json:"role"`
	Before RoleReport `json:"before"`
	After  RoleReport `json:"after"`
}

// Changes compares two reports role by role; a role that only one of them has is compared with nothing.
func Changes(before, after *Report) []Change {
	var out []Change
	for _, r := range after.Roles {
		c := Change{Role: r.Path, After: r}
		if i := slices.IndexFunc(before.Roles, func(x RoleReport) bool { return x.Path == r.Path }); i >= 0 {
			c.Before = before.Roles[i]
		}
		out = append(out, c)
	}
	for _, r := range before.Roles {
		if !slices.ContainsFunc(after.Roles, func(x RoleReport) bool { return x.Path == r.Path }) {
			out = append(out, Change{Role: r.Path, Before: r})
		}
	}
	return out
}
