package swarmkit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// sight is what is compared: how many tasks run on each node, whichever node that is, in each rack and of each image; how many have
// completed; and how the update went.
type sight struct {
	nodes, racks, images map[string]int
	complete             int
	update               string
}

func (s *sight) add(node, rack, image string) {
	if s.nodes == nil {
		s.nodes, s.racks, s.images = map[string]int{}, map[string]int{}, map[string]int{}
	}
	s.nodes[node]++
	s.racks[rack]++
	s.images[image]++
}

// String leaves out which nodes have how many: both choose among equals as they like.
func (s sight) String() string {
	return fmt.Sprintf("by node %v, by rack %v, by image %v, complete %d, update %s", slices.Sorted(maps.Values(s.nodes)), s.racks, s.images, s.complete,
		strings.ToLower(s.update))
}

// less leaves out what the two are known to do differently: without a preference racks are chance; a service whose constraints change is
// updated there and its tasks are moved here; start-first leaves the nodes less even there.
func (s sight) less(of string) string {
	for _, w := range []struct {
		word string
		drop func()
	}{{"racks", func() { s.racks = nil }}, {"update", func() { s.update = "" }}, {"nodes", func() { s.nodes = nil }}} {
		if !strings.Contains(of, w.word) {
			w.drop()
		}
	}
	return s.String()
}

// ours is the machine in front of a pool that always has room.
type ours struct {
	m     *orchestrator.Machine
	now   time.Time
	nodes map[string]string
	ids   int
	pool  map[string]orchestrator.Report
}

func newOurs(nodes map[string]string) *ours {
	o := &ours{now: time.Unix(1e6, 0), nodes: nodes, pool: map[string]orchestrator.Report{}}
	o.m = orchestrator.New(func() string { o.ids++; return fmt.Sprintf("t%05d", o.ids) })
	for name := range nodes {
		o.avail(name, "ready")
	}
	o.step(orchestrator.Synced{})
	return o
}

func (o *ours) avail(node, to string) {
	o.step(orchestrator.PutNode{Node: orchestrator.Node{Name: node, ID: node, Engine: node, State: to, Labels: map[string]string{"rack": o.nodes[node]},
		Free: orchestrator.Amounts{Milli: 1 << 40, Memory: 1 << 60}}})
}

func (o *ours) step(e orchestrator.Event) {
	for events := []orchestrator.Event{e}; len(events) > 0; events = events[1:] {
		for _, f := range o.m.Step(events[0], o.now) {
			switch f := f.(type) {
			case orchestrator.Launch:
				o.ids++
				r := orchestrator.Report{Task: f.Task.ID, Pool: fmt.Sprint("a", o.ids), Node: f.Task.Node, State: orchestrator.Running}
				o.pool[r.Pool] = r
				events = append(events, r)
				if string(f.Task.Template) == `"bad"` {
					events = append(events, o.over(r, orchestrator.Failed))
				}
			case orchestrator.Stop:
				if r, ok := o.pool[f.Pool]; ok {
					events = append(events, o.over(r, orchestrator.Shutdown))
				}
			}
		}
	}
}

func (o *ours) over(r orchestrator.Report, state orchestrator.State) orchestrator.Event {
	delete(o.pool, r.Pool)
	r.State = state
	return r
}

// pass lets a second pass.
func (o *ours) pass() {
	for until := o.now.Add(time.Second); ; o.step(orchestrator.Tick{}) {
		due := o.m.Due()
		if due.IsZero() || due.After(until) {
			o.now = until
			return
		}
		if due.After(o.now) {
			o.now = due
		}
	}
}

func (o *ours) put(w wish) {
	soon := 10 * time.Millisecond
	raw, _ := json.Marshal(w.image) // a text
	condition := orchestrator.Condition(w.condition)
	if condition == "" {
		condition = orchestrator.Any
	}
	s := orchestrator.Spec{Replicas: w.replicas, Concurrent: w.concurrent, Template: raw, Print: w.image,
		Mode:      map[string]orchestrator.Mode{"global": orchestrator.Global, "job": orchestrator.ReplicatedJob}[w.mode],
		Placement: orchestrator.Placement{MostPerNode: w.most}, Restart: orchestrator.Restart{Condition: condition, Delay: soon},
		Update:   orchestrator.Rollout{Parallelism: w.parallel, FailureAction: w.action, Monitor: 100 * time.Millisecond, StartFirst: w.startFirst},
		Rollback: orchestrator.Rollout{Parallelism: 1, Monitor: 100 * time.Millisecond}}
	if w.rack != "" {
		s.Placement.Constraints = []orchestrator.Constraint{{Key: "node.labels.rack", Value: w.rack}}
	}
	if w.spread {
		s.Placement.Spread = []string{"rack"}
	}
	o.step(orchestrator.PutService{Service: orchestrator.Service{ID: "s", Name: "s", Spec: s}})
}

func (o *ours) end(well bool) {
	for _, ask := range slices.Sorted(maps.Keys(o.pool)) {
		o.step(o.over(o.pool[ask], map[bool]orchestrator.State{true: orchestrator.Complete, false: orchestrator.Failed}[well]))
	}
}

func (o *ours) seen() (out sight) {
	for _, t := range o.m.Tasks("s") {
		var image string
		_ = json.Unmarshal(t.Template, &image) // was made from one
		if t.State == orchestrator.Running && t.Wanted {
			out.add(t.Node, o.nodes[t.Node], image)
		}
		if t.State == orchestrator.Complete {
			out.complete++
		}
	}
	if s, _ := o.m.Service("s"); s.Update != nil {
		out.update = s.Update.State
	}
	return out
}

// act is one thing that happens to both.
type act func(put func(wish), avail func(node, to string), end func(well bool))

func put(w wish) act {
	if w.image == "" {
		w.image = "v1"
	}
	return func(put func(wish), _ func(string, string), _ func(bool)) { put(w) }
}

func node(name, to string) act {
	return func(_ func(wish), avail func(string, string), _ func(bool)) { avail(name, to) }
}

func ends(well bool) act {
	return func(_ func(wish), _ func(string, string), end func(bool)) { end(well) }
}

// TestAsSwarmModeDoes: after each thing that happens, when all is quiet, both have the same.
func TestAsSwarmModeDoes(t *testing.T) {
	three := map[string]string{"n1": "a", "n2": "b", "n3": "a"}
	uneven := map[string]string{"n1": "a", "n2": "a", "n3": "a", "n4": "b"}
	for _, test := range []struct {
		name  string
		of    string // what is compared besides images and completions
		nodes map[string]string
		acts  []act
	}{
		{"spread and scale", "nodes", three, []act{put(wish{replicas: 7}), put(wish{replicas: 3}), put(wish{replicas: 10}), put(wish{replicas: 0})}},
		{"constraint", "nodes racks", three, []act{put(wish{replicas: 5, rack: "a"}), put(wish{replicas: 5, rack: "b"})}},
		{"most per node", "nodes", three, []act{put(wish{replicas: 9, most: 2})}},
		{"spread preference", "nodes racks", uneven, []act{put(wish{replicas: 8, spread: true}), put(wish{replicas: 12, spread: true})}},
		{"drain and pause", "nodes", three, []act{put(wish{replicas: 6}), node("n1", "draining"), node("n1", "ready"), put(wish{replicas: 8}), node("n2", "cordoned"), put(wish{replicas: 12})}},
		{"global", "nodes racks", three, []act{put(wish{mode: "global"}), node("n1", "draining"), node("n1", "ready"), put(wish{mode: "global", rack: "a"})}},
		{"any end", "nodes", three, []act{put(wish{replicas: 3}), ends(true), ends(false)}},
		{"on failure", "nodes", three, []act{put(wish{replicas: 3, condition: "on-failure"}), ends(false)}},
		{"no restart", "nodes", three, []act{put(wish{replicas: 3, condition: "none"}), ends(false)}},
		{"job", "nodes", three, []act{put(wish{mode: "job", replicas: 5, concurrent: 2}), ends(true), ends(false), ends(true), ends(true), ends(true)}},
		{"update", "update", three, []act{put(wish{replicas: 5, parallel: 2}), put(wish{replicas: 5, parallel: 2, image: "v2"}), put(wish{replicas: 5, startFirst: true, image: "v3"})}},
		{"update of a global service", "nodes update", three, []act{put(wish{mode: "global", parallel: 1}), put(wish{mode: "global", parallel: 1, image: "v2"})}},
		{"update that rolls back", "nodes update", three, []act{put(wish{replicas: 4, parallel: 1}), put(wish{replicas: 4, parallel: 1, image: "bad", action: "rollback"})}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, o := newPeer(t, test.nodes), newOurs(test.nodes)
			for i, a := range test.acts {
				a(p.put, p.avail, p.end)
				a(o.put, o.avail, o.end)
				theirs := p.settled(test.nodes).less(test.of)
				for range 10 {
					o.pass()
				}
				if got := o.seen().less(test.of); got != theirs {
					t.Errorf("after act %d\nours   %s\ntheirs %s", i+1, got, theirs)
				}
			}
		})
	}
}
