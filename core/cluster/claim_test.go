package cluster

import (
	"fmt"
	"testing"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
)

// joinPorts brings a machine with host ports up.
func (w *world) joinPorts(name string, cpus int, ports string, attrs map[string]string) {
	w.nodes[name] = &machine{up: true, tasks: map[string]*process{}, info: NodeInfo{Name: name, Capacity: cpu(cpus), Ports: must(resource.ParsePorts(ports)), Attributes: attrs}}
	w.register(name)
}

// checkApart reports host ports that two tasks of a node have and exclusive asks with two tasks on one node.
func (w *world) checkApart() {
	ports, asks := map[string]string{}, map[string]string{}
	for _, v := range w.live() {
		for _, port := range sortedPorts(v.Ports) {
			key := fmt.Sprintf("%s:%d", v.Node, port)
			if other := ports[key]; other != "" {
				w.fault("%s and %s both have %s", other, v.Task, key)
			}
			ports[key] = v.Task
		}
		if key := v.Node + "/" + v.Ask; v.Shape.Exclusive {
			if other := asks[key]; other != "" {
				w.fault("%s and %s are both on %s", other, v.Task, v.Node)
			}
			asks[key] = v.Task
		}
	}
}

// TestClaimsKeepApart reclaims two full nodes for two tasks that may not share one, alone and as a gang.
func TestClaimsKeepApart(t *testing.T) {
	apart := map[string]func(*Shape){
		"port":      func(s *Shape) { s.Ports = []Port{{"http", 8001}} },
		"exclusive": func(s *Shape) { s.Exclusive = true },
		"spread":    func(s *Shape) { s.Spread = []placement.Spread{{Attribute: "zone", MaxSkew: 1, Hard: true}} },
	}
	for name, shape := range apart {
		for _, gang := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " gang"}[gang], func(t *testing.T) {
				w := newWorld(simplePlan("own 8 -", "batch 0 - - 10s"))
				w.joinPorts("n1", 4, "8000-8010", map[string]string{"zone": "a"})
				w.joinPorts("n2", 4, "8000-8010", map[string]string{"zone": "b"})
				w.step(Submit{askFor("batch", "batch", 8, 1)})
				w.run(time.Second)
				web := askFor("web", "own", 2, 1)
				web.Gang = gang
				shape(&web.Shape)
				w.step(Submit{web})
				w.run(20 * time.Second)
				w.checkApart()
				on := map[string]bool{}
				for _, v := range w.live() {
					if v.Ask == "web" {
						on[v.Node] = true
					}
				}
				if len(on) != 2 {
					r, details, _ := w.c.Explain("web")
					t.Errorf("it runs on %v, want both nodes: %v %v", on, r, details)
				}
				w.check(t)
			})
		}
	}
}

// TestClaimOnANodeThatChanged shrinks the ports of the node a claim waits for: the claim moves to the other one.
func TestClaimOnANodeThatChanged(t *testing.T) {
	w := newWorld(simplePlan("own 8 -", "batch 0 - - 10s"))
	w.joinPorts("n1", 4, "8000-8010", nil)
	w.joinPorts("n2", 4, "8000-8010", nil)
	w.step(Submit{askFor("batch", "batch", 8, 1)})
	w.run(time.Second)
	web := askFor("web", "own", 1, 1)
	web.Shape.Ports = []Port{{"http", 8001}, {"admin", 0}}
	w.step(Submit{web})
	w.run(6 * time.Second)
	claims := w.c.pools[0].claims
	if len(claims) != 1 {
		t.Fatalf("%d claims, want 1", len(claims))
	}
	first := w.c.pools[0].nodes[claims[0].nodes[0]].Name
	w.nodes[first].info.Ports = must(resource.ParsePorts("9000-9010"))
	w.register(first)
	w.run(20 * time.Second)
	v, ok := w.c.Task("web.0")
	if !ok || v.Node == first || v.Ports["http"] != 8001 || v.Ports["admin"] != 8000 {
		t.Errorf("web.0 runs on %q with ports %v, want the other node than %s", v.Node, v.Ports, first)
	}
	w.checkApart()
	w.check(t)
}

// TestCommitBooksPorts commits two tasks that want the same port of one node, and one ask twice.
func TestCommitBooksPorts(t *testing.T) {
	for _, all := range []bool{false, true} {
		w := newWorld(simplePlan("own 8 -"))
		w.joinPorts("n1", 4, "8000-8010", nil)
		x, y := askFor("x", "own", 1, 1), askFor("y", "own", 1, 1)
		x.Shape.Ports, y.Shape.Ports = []Port{{"http", 8001}}, []Port{{"http", 8001}}
		w.step(Commit{Tasks: []Claim{{x, "n1"}, {y, "n1"}}, AllOrNothing: all})
		w.checkApart()
		if want := map[bool]int{false: 1, true: 0}[all]; len(w.live()) != want {
			t.Errorf("all or nothing %v: %d tasks run, want %d", all, len(w.live()), want)
		}
		z := askFor("z", "own", 1, 1)
		z.Shape.Ports = []Port{{"http", 8002}}
		w.step(Commit{Tasks: []Claim{{z, "n1"}, {z, "n1"}}})
		w.checkApart()
		w.check(t)
		w.step(Commit{Tasks: []Claim{{y, "n1"}}})
		if v, ok := w.c.Task("y.0"); ok != all || ok && v.Ports["http"] != 8001 {
			t.Errorf("all or nothing %v: y.0 has ports %v", all, v.Ports)
		}
		w.check(t)
	}
}

// TestClaimAmongHopelessNodes looks for a whole node among more than are ever tried, each with four borrowers of which only one
// may be asked back for room: the one node with a single borrower is found, and without it the search is not repeated.
func TestClaimAmongHopelessNodes(t *testing.T) {
	for _, single := range []bool{false, true} {
		w := newWorld(simplePlan("own 150 -", "batch 0 - - 10s"))
		node := func(name, kind string) {
			w.c.Step(Register{Node: NodeInfo{Name: name, Capacity: cpu(5), Attributes: map[string]string{"kind": kind}}}, w.now)
		}
		on := func(id, kind string, count, cpus int) {
			spec := askFor(id, "batch", count, cpus)
			spec.Shape.Constraints = []placement.Constraint{must(placement.ParseConstraint("kind==" + kind))}
			w.c.Step(Submit{spec}, w.now)
		}
		for i := range 150 {
			node(fmt.Sprintf("n%03d", i), "many")
		}
		on("small", "many", 750, 1)
		if single {
			node("z", "one")
			on("large", "one", 1, 5)
		}
		w.c.Step(Tick{}, w.now)
		per := map[string]int{}
		for _, v := range w.c.Tasks() {
			if per[v.Node]++; per[v.Node] == 5 {
				w.c.Step(Report{v.Node, TaskReport{Assignment: Assignment{Task: v.Task}, State: Succeeded}}, w.now)
			}
		}
		w.c.Step(Submit{askFor("whole", "own", 1, 5)}, w.now)
		w.c.Step(Tick{}, w.now)
		w.now = w.now.Add(6 * time.Second)
		for range 2 {
			w.c.Step(Tick{}, w.now)
			p, a := w.c.pools[0], w.c.asks["whole"]
			if notices := w.c.Notices(); single && (len(notices) != 1 || notices[0].Task != "large.0") {
				t.Errorf("notices %v, want one to large.0", notices)
			}
			if r := w.c.reasonOf(a); !single && (r.Code != "Fragmented" || a.class.impasse.at != p.epoch+1) {
				t.Errorf("it waits because of %v, its claim is to be tried again at epoch %d of %d", r, a.class.impasse.at, p.epoch)
			}
		}
		if !single {
			node("y", "one")
			w.c.Step(Tick{}, w.now)
			if v, _ := w.c.Task("whole.0"); v.Node != "y" {
				t.Errorf("it is on %q, want the node that has joined", v.Node)
			}
		}
	}
}
