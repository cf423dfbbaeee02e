package orchestrator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// world is a pool for a machine: it answers effects, keeps what is written down, and checks what must hold at every step.
type world struct {
	t interface {
		Helper()
		Fatalf(string, ...any)
	}
	m        *Machine
	now      time.Time
	nodes    map[string]*Node
	room     map[string]int       // places on each node
	services map[string][]byte    // what is written down
	tasks    map[string][]byte    // what is written down
	pool     map[string]*Report   // by ask: what runs or waits in the pool
	among    map[string][]string  // by ask that waits: where it may go
	fails    func(task Task) bool // whether a task ends badly as soon as it runs; nil is never
	holds    func(task Task) bool // whether a task never gets to run
	launched map[string]int       // by task: times it was asked for while nothing of it was there
	ids      int
}

func newWorld(t interface {
	Helper()
	Fatalf(string, ...any)
}, nodes, room int) *world {
	w := &world{t: t, now: time.Unix(1_000_000, 0).UTC(), nodes: map[string]*Node{}, room: map[string]int{}, services: map[string][]byte{}, tasks: map[string][]byte{},
		pool: map[string]*Report{}, among: map[string][]string{}, launched: map[string]int{}}
	w.m = New(w.id)
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		w.nodes[name] = &Node{Name: name, ID: "id-" + name, Engine: name, State: "ready", Free: Amounts{1 << 40, 1 << 60, 0}, Labels: map[string]string{"rack": fmt.Sprint(i % 2)}}
		w.room[name] = room
	}
	w.start()
	return w
}

func (w *world) id() string {
	w.ids++
	return fmt.Sprintf("t%05d", w.ids)
}

// start tells a machine what there is.
func (w *world) start() {
	var all Batch
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		all = append(all, PutNode{*w.nodes[name]})
	}
	for _, ask := range slices.Sorted(maps.Keys(w.pool)) {
		all = append(all, *w.pool[ask])
	}
	w.step(append(all, Synced{}))
}

// restart forgets everything but what was written down.
func (w *world) restart() {
	var services []Service
	var tasks []Task
	for _, id := range slices.Sorted(maps.Keys(w.services)) {
		services = append(services, decoded[Service](w, w.services[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		tasks = append(tasks, decoded[Task](w, w.tasks[id]))
	}
	w.m = New(w.id)
	w.m.Load(services, tasks)
	w.start()
}

func decoded[T any](w *world, data []byte) (v T) {
	if err := json.Unmarshal(data, &v); err != nil {
		w.t.Fatalf("what was written down: %v", err)
	}
	return v
}

func (w *world) encoded(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		w.t.Fatalf("writing down: %v", err)
	}
	return data
}

// step feeds an event and everything that comes of it at once.
func (w *world) step(e Event) {
	w.t.Helper()
	for events := []Event{e}; len(events) > 0; events = events[1:] {
		effects := w.m.Step(events[0], w.now)
		var back Batch
		for _, f := range effects {
			back = append(back, w.carryOut(f)...)
		}
		w.check()
		if len(back) > 0 {
			events = append(events, back)
		}
	}
}

// carryOut does what an effect says and returns what comes of it.
func (w *world) carryOut(f Effect) Batch {
	switch f := f.(type) {
	case SaveService:
		w.services[f.Service.ID] = w.encoded(f.Service)
	case DropService:
		delete(w.services, f.ID)
	case SaveTask:
		w.tasks[f.Task.ID] = w.encoded(f.Task)
	case DropTask:
		delete(w.tasks, f.Task.ID)
	case Launch:
		return w.launch(f)
	case Queue:
		w.known(f.Task)
		ask := w.ask()
		w.pool[ask] = &Report{Task: f.Task.ID, Pool: ask, State: Pending, Reason: "full"}
		w.among[ask] = f.Nodes
		first := *w.pool[ask]
		return append(Batch{first}, w.serveQueue()...)
	case Stop:
		return w.end(f.Pool, Shutdown, false)
	}
	return nil
}

func (w *world) ask() string {
	w.ids++
	return fmt.Sprintf("a%05d", w.ids)
}

// known checks that what is asked for was written down before, and that the pool has nothing of it.
func (w *world) known(t Task) {
	w.t.Helper()
	if w.tasks[t.ID] == nil {
		w.t.Fatalf("task %s is asked for and not written down", t.ID)
	}
	for ask, r := range w.pool {
		if r.Task == t.ID && r.State != Pending {
			w.t.Fatalf("task %s is asked for and runs as %s", t.ID, ask)
		}
	}
}

func (w *world) launch(f Launch) Batch {
	w.known(f.Task)
	n := w.nodes[f.Task.Node]
	s, _ := w.m.Service(f.Task.Service)
	if n == nil || n.State != "ready" || !s.Spec.Placement.allows(n) || f.Task.Bound != "" && f.Task.Bound != n.Name {
		w.t.Fatalf("task %s of %s is placed on %s, which may not have it", f.Task.ID, f.Task.Service, f.Task.Node)
	}
	if w.used(n.Name) >= w.room[n.Name] {
		return Batch{Refused{Task: f.Task.ID, Reason: "no room", Room: true}}
	}
	ask := w.ask()
	w.pool[ask] = &Report{Task: f.Task.ID, Pool: ask, Node: n.Name, State: Starting}
	first := *w.pool[ask]
	return append(Batch{first}, w.run(ask)...)
}

// run lets what has its place run.
func (w *world) run(ask string) Batch {
	r := w.pool[ask]
	t, _ := w.m.Task(r.Task)
	if w.holds != nil && w.holds(t) {
		return nil
	}
	r.State, r.Reason = Running, ""
	out := Batch{*r}
	if w.fails != nil && w.fails(t) {
		out = append(out, w.end(ask, Failed, false)...)
	}
	return out
}

func (w *world) used(node string) (n int) {
	for _, r := range w.pool {
		if r.Node == node {
			n++
		}
	}
	return n
}

// end ends what the pool has under an ask.
func (w *world) end(ask string, state State, forced bool) Batch {
	r := w.pool[ask]
	if r == nil {
		return nil
	}
	delete(w.pool, ask)
	delete(w.among, ask)
	out := *r
	out.State, out.Forced = state, forced
	return append(Batch{out}, w.serveQueue()...)
}

// serveQueue gives places that became free to who waits.
func (w *world) serveQueue() (out Batch) {
	for _, ask := range slices.Sorted(maps.Keys(w.among)) {
		for _, name := range w.among[ask] {
			if n := w.nodes[name]; n != nil && n.State == "ready" && w.used(name) < w.room[name] {
				w.pool[ask].Node, w.pool[ask].State = name, Starting
				delete(w.among, ask)
				out = append(out, *w.pool[ask])
				out = append(out, w.run(ask)...)
				break
			}
		}
	}
	return out
}

// check checks what must hold at every moment.
func (w *world) check() {
	w.t.Helper()
	live := map[string]string{}
	for ask, r := range w.pool {
		if other := live[r.Task]; other != "" {
			if t, ok := w.m.Task(r.Task); !ok || !t.queued && t.Wanted { // while an ask is replaced by another both may be there
				w.t.Fatalf("task %s is in the pool twice, as %s and %s", r.Task, ask, other)
			}
		}
		live[r.Task] = ask
	}
	for _, s := range w.m.services {
		w.checkService(s)
	}
	w.checkNodes()
}

// checkNodes compares who is known to be on which node with all tasks.
func (w *world) checkNodes() {
	w.t.Helper()
	on := map[string]map[string]*Task{}
	for id, t := range w.m.tasks {
		if t.Node != "" && !t.State.Over() {
			if on[t.Node] == nil {
				on[t.Node] = map[string]*Task{}
			}
			on[t.Node][id] = t
		}
	}
	if !maps.EqualFunc(on, w.m.on, maps.Equal[map[string]*Task, map[string]*Task]) {
		w.t.Fatalf("on nodes are %v, and known to be %v", on, w.m.on)
	}
	for _, n := range w.m.nodes {
		if n.tasks != len(on[n.Name]) {
			w.t.Fatalf("on %s are %d tasks, and %d are counted", n.Name, len(on[n.Name]), n.tasks)
		}
	}
}

func (w *world) checkService(s *service) {
	w.t.Helper()
	on := map[string]int{}
	for _, t := range s.tasks {
		if t.Wanted && !t.State.Over() && t.Node != "" && t.State != Pending {
			on[t.Node]++
		}
	}
	most := int(s.Spec.Placement.MostPerNode)
	for name, n := range on {
		if most > 0 && n > most && s.Previous == nil {
			w.t.Fatalf("service %s has %d tasks on %s, at most %d", s.ID, n, name, most)
		}
	}
}

// pass lets time pass, waking the machine whenever it wants.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for until := w.now.Add(d); ; {
		due := w.m.Due()
		if due.IsZero() || due.After(until) {
			w.now = until
			return
		}
		if due.After(w.now) {
			w.now = due
		}
		w.step(Tick{})
	}
}

func (w *world) put(id string, change func(*Spec)) {
	w.t.Helper()
	s, ok := w.m.Service(id)
	if !ok {
		s = Service{ID: id, Name: id, Role: "default", Spec: Spec{Template: json.RawMessage("{}"), Print: "v1", Needs: Amounts{1, 1, 0},
			Restart: Restart{Condition: Any, Delay: 5 * time.Second}, Update: Rollout{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: "pause"},
			Rollback: Rollout{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: "pause"}}}
	}
	change(&s.Spec)
	w.step(PutService{Service: s})
}

// running are the tasks of a service that run, by node.
func (w *world) running(id string) map[string]int {
	out := map[string]int{}
	for _, t := range w.m.Tasks(id) {
		if t.State == Running {
			out[t.Node]++
		}
	}
	return out
}

func (w *world) count(id string) (n int) {
	for _, c := range w.running(id) {
		n += c
	}
	return n
}

// prints are the templates of the tasks that run.
func (w *world) prints(id string) map[string]int {
	out := map[string]int{}
	for _, t := range w.m.Tasks(id) {
		if t.State == Running {
			out[t.Print]++
		}
	}
	return out
}

func (w *world) setNode(name, state string) {
	w.t.Helper()
	w.nodes[name].State = state
	w.step(append(Batch{PutNode{*w.nodes[name]}}, w.serveQueue()...))
}

// lose takes a node away with everything on it.
func (w *world) lose(name string) {
	w.t.Helper()
	delete(w.nodes, name)
	all := Batch{RemoveNode{name}}
	for _, ask := range slices.Sorted(maps.Keys(w.pool)) {
		if r := w.pool[ask]; r != nil && r.Node == name {
			all = append(all, w.end(ask, Orphaned, true)...)
		}
	}
	w.step(all)
}

// askOf is what the pool has of a task.
func (w *world) askOf(task string) string {
	for ask, r := range w.pool {
		if r.Task == task {
			return ask
		}
	}
	return ""
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
