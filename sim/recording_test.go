package sim

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/planfile"
)

func recorded() *Recording {
	at := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	four := resource.Resources{"cpu": 4000}
	r := &Recording{Format: RecordingFormat, Polder: "1.0", At: at.Add(30 * time.Minute), Plan: "roles:\n  a: {guarantee: {cpu: 2}}\n  b: {guarantee: {cpu: 2}}\n"}
	r.Nodes = []RecordedNode{{Name: "n1", Capacity: four}, {Name: "n2", Attributes: map[string]string{"zone": "a"}, Capacity: four}}
	one := resource.Resources{"cpu": 1000}
	r.Asks = []RecordedAsk{
		{ID: "b-1", Role: "b", Count: 8, Submitted: at, Resources: one, Ran: []float64{900, 900, 900, 900, 900, 900, 900, 0}},
		{ID: "a-1", Role: "a", Count: 4, Submitted: at.Add(time.Minute), Resources: one, Ran: []float64{60, 60, 60, 60}},
	}
	return r
}

// TestReplay plays a recording under its plan and under one that guarantees a more: a waits less and b gives back more.
func TestReplay(t *testing.T) {
	data, err := json.Marshal(recorded())
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ReadRecording(data)
	if err != nil {
		t.Fatal(err)
	}
	var reports []*Report
	for _, text := range []string{rec.Plan, "roles:\n  a: {guarantee: {cpu: 4}}\n  b: {guarantee: {cpu: 2}}\n"} {
		plan, err := planfile.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s, err := rec.Scenario(plan)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Run(context.Background(), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, r)
	}
	changes := map[string]Change{}
	for _, c := range Changes(reports[0], reports[1]) {
		changes[c.Role] = c
	}
	if a := changes["a"]; a.After.WaitMax >= a.Before.WaitMax || a.After.Succeeded != 4 {
		t.Errorf("a waited at most %gs before and %gs after, and finished %d", a.Before.WaitMax, a.After.WaitMax, a.After.Succeeded)
	}
	if b := changes["b"]; b.Before.Reclaimed != 2 || b.After.Reclaimed != 4 {
		t.Errorf("b gave back %d tasks before and %d after", b.Before.Reclaimed, b.After.Reclaimed)
	}
}

func TestReadRecordingRefuses(t *testing.T) {
	good, _ := json.Marshal(recorded())
	for name, test := range map[string]struct{ old, new, want string }{
		"another version": {"polder-recording/1", "polder-recording/2", `it has the format "polder-recording/2", written by Polder "1.0"; this Polder reads "polder-recording/1"`},
		"no recording":    {"{", "[", "it is no recording"},
		"unknown field":   {`"polder":`, `"colour":"red","polder":`, `unknown field "colour"`},
		"tasks":           {`"count":4`, `"count":5`, "ask a-1 has 5 tasks and says of 4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadRecording([]byte(strings.Replace(string(good), test.old, test.new, 1)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
	rec := recorded()
	plan, _ := planfile.Parse([]byte("roles: {a: {}}"))
	if _, err := rec.Scenario(plan); err == nil || !strings.Contains(err.Error(), `b-1 is for role "b", which the plan does not have`) {
		t.Errorf("a plan without b: %v", err)
	}
}

func FuzzReadRecording(f *testing.F) {
	good, _ := json.Marshal(recorded())
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ReadRecording(data); (r == nil) == (err == nil) {
			t.Errorf("recording %v, error %v", r, err)
		}
	})
}

// TestLeftOut reads from the events of a recording what a replay does not play.
func TestLeftOut(t *testing.T) {
	r := recorded()
	if got := r.LeftOut(); len(got) != 1 || !strings.Contains(got[0], "1 tasks had not ended") {
		t.Errorf("of a recording without events: %q", got)
	}
	for _, e := range []string{
		`{"time":"2026-03-02T10:05:00Z","kind":"TaskStarted","subject":"b-1.0"}`, `{"time":"2026-03-02T10:05:01Z","kind":"TaskStarted","subject":"b-1.1.1"}`,
		`{"time":"2026-03-02T10:04:00Z","kind":"TaskStarted","subject":"gone.0"}`, `{"time":"2026-03-02T10:06:00Z","kind":"NodeLost","subject":"n3"}`,
		`{"time":"2026-03-02T10:07:00Z","kind":"PlanApplied"}`, `{"time":"2026-03-02T10:08:00Z","kind":"TaskResized","subject":"b-1.0"}`, `"not an event"`,
	} {
		r.Events = append(r.Events, json.RawMessage(e))
	}
	got := strings.Join(r.LeftOut(), "\n")
	for _, want := range []string{"from 2026-03-02T10:04:00Z on", "1 starts in the events", "were lost 1 times", "applied 1 times", "1 leases were resized"} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing is said about %q in:\n%s", want, got)
		}
	}
}
