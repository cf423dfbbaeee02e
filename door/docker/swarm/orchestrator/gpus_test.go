package orchestrator

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestGPUsAreRoom: a task that needs GPUs goes where they are free, and to the queue where none are.
func TestGPUsAreRoom(t *testing.T) {
	made := 0
	m, now := New(func() string { made++; return fmt.Sprint("t", made) }), time.Unix(1_000_000, 0)
	m.Step(PutNode{Node{Name: "a", Engine: "a", State: "ready", Free: Amounts{8000, 8 << 30, 0}}}, now)
	m.Step(PutNode{Node{Name: "b", Engine: "b", State: "ready", Free: Amounts{4000, 4 << 30, 3}}}, now)
	m.Step(Synced{}, now)
	var placed []string
	for _, f := range m.Step(PutService{Service: Service{ID: "s", Name: "s", Spec: Spec{Replicas: 2, Print: "x", Needs: Amounts{100, 1 << 20, 2}}}}, now) {
		switch f := f.(type) {
		case Launch:
			placed = append(placed, "launch on "+f.Task.Node)
		case Queue:
			placed = append(placed, "queue")
		}
	}
	if got := strings.Join(placed, ", "); got != "launch on b, queue" {
		t.Errorf("the tasks are placed so: %s", got)
	}
}
