package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// world is a cluster with nodes that obey it in virtual time: the machine's side of the contract, written naively. It keeps
// what a server would have saved, so that the leader can be killed between any two messages.
type world struct {
	c       *Cluster
	now     time.Time
	plan    *role.Plan
	nodes   map[string]*machine
	saved   store
	sent    map[string]Notice // every notice ever sent, by ID
	history []string          // effects in words, for golden stories
	faults  []error
	started map[string]int  // launches that began to run, by instance and attempt
	lag     time.Duration   // between a command and its report
	transit time.Duration   // until a notice is on a machine's disk; its deadline is that much later
	grace   time.Duration   // how long a process takes to stop when it is told to, at most
	tape    []recorded      // every step of this leader, for I17
	naive   integrator      // of this leader, against its waste book
	fuse    int             // effects until the leader is killed; zero is never
	halves  int             // leaders killed between two messages of one step
	witness *witness        // judges every decision; nil judges none
	given   map[string]bool // volumes whose end somebody asked for
	stayed  int             // volumes that something else would have left for
	shared  int             // steps after which something was carved out of a reservation
}

// recorded is one step and what came of it.
type recorded struct {
	event   Event
	at      time.Time
	effects []Effect
}

type store struct {
	asks  map[string]RestoreAsk
	tasks map[string]TaskReport
	nodes map[string]NodeInfo
}

// machine is one node.
type machine struct {
	info  NodeInfo
	up    bool
	tasks map[string]*process
}

// process is a task on a machine.
type process struct {
	report TaskReport
	runAt  time.Time // when it begins to run
	killAt time.Time // when it is stopped; zero is never
	endAs  State
}

var epoch = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func newWorld(plan *role.Plan) *world {
	w := &world{
		c: New(), now: epoch, plan: plan, nodes: map[string]*machine{}, sent: map[string]Notice{}, started: map[string]int{}, given: map[string]bool{},
		saved: store{map[string]RestoreAsk{}, map[string]TaskReport{}, map[string]NodeInfo{}}, lag: 100 * time.Millisecond, naive: integrator{sums: map[figure]*big.Int{}},
	}
	w.step(SetPlan{plan, 1})
	return w
}

// step applies an event and carries its effects out.
func (w *world) step(e Event) error {
	effects, err := w.feed(e)
	if w.fuse > 0 {
		if w.fuse -= len(effects); w.fuse <= 0 {
			w.crash(effects, len(effects)+w.fuse)
			return err
		}
	}
	for _, f := range effects {
		w.do(f)
	}
	if _, tick := e.(Tick); !tick {
		if err == nil {
			w.step(Tick{})
		}
		return err
	}
	if w.c.recovering {
		return err // what is not known yet breaks every rule
	}
	w.checkReserved()
	for _, bad := range w.c.Invariants() {
		w.fault("after %T: %v", e, bad)
	}
	if w.witness != nil {
		w.witness.look()
	}
	return err
}

// crash ends the leader when it has sent some of its messages. What a step writes is written as one, or not at all; nothing is
// acknowledged that is not written.
func (w *world) crash(effects []Effect, sent int) {
	durable := w.fuse%2 == 0
	if 0 < sent && sent < len(effects) {
		w.halves++
	}
	for i, e := range effects {
		switch e.(type) {
		case SaveAsk, DeleteAsk, SaveTask, DeleteTask, SaveNode, DeleteNode, Ack:
			if durable {
				w.do(e)
			}
		default:
			if i < sent {
				w.do(e)
			}
		}
	}
	w.failover()
}

// checkReserved is I22, added up from what readers see: what is carved is inside its reservation, on its node and its role's, and who looks at a
// node sees everything that is not carved booked there, and nothing else.
func (w *world) checkReserved() {
	views, any := w.c.Tasks(), false
	left, booked := map[string]resource.Resources{}, map[string]resource.Resources{}
	where := map[string]TaskView{}
	for _, t := range views {
		if t.Shape.Reserve {
			left[t.Task], where[t.Task] = amountsOf(t.Resources), t
		}
		if booked[t.Node] == nil {
			booked[t.Node] = resource.Resources{}
		}
	}
	for _, t := range views {
		held := amountsOf(t.Resources)
		of := booked[t.Node]
		if t.Shape.From == "" {
			for kind, x := range held {
				of[kind] += x
			}
			continue
		}
		any = true
		r, ok := where[t.Shape.From]
		if !ok || r.Node != t.Node || r.Role != t.Role {
			w.fault("I22: %s on %s of %s is carved out of %s, which is on %q of %s", t.Task, t.Node, t.Role, t.Shape.From, r.Node, r.Role)
			continue
		}
		for kind, x := range held {
			if left[r.Task][kind] -= x; left[r.Task][kind] < 0 {
				w.fault("I22: more %s is carved out of %s than it has", kind, r.Task)
			}
		}
	}
	for _, n := range w.c.Nodes() {
		for kind, x := range amountsOf(n.Used) {
			if booked[n.Name][kind] != x {
				w.fault("I22: node %s has %s=%d booked, its leases that are not carved hold %d", n.Name, kind, x, booked[n.Name][kind])
			}
		}
	}
	if any {
		w.shared++
	}
}

// gives notes of which volumes an event asks the end.
func (w *world) gives(e Event) {
	for _, t := range w.c.Tasks() {
		if !t.Shape.Volume {
			continue
		}
		if _, gone := e.(RemoveNode); t.Shape.Reserve && !gone && w.uses(t.Task) {
			continue
		}
		switch e := e.(type) {
		case Kill:
			w.given[t.Task] = w.given[t.Task] || e.Task == t.Task
		case Cancel:
			w.given[t.Task] = w.given[t.Task] || e.Ask == t.Ask && !e.KeepRunning
		case Drain:
			if e.Node == t.Node {
				w.stayed++
			}
		case RemoveNode:
			if e.Node == t.Node && !e.LoseVolumes {
				w.stayed++
			}
			w.given[t.Task] = w.given[t.Task] || e.Node == t.Node && e.LoseVolumes
		}
	}
}

// uses reports whether anything is carved out of a reservation, or waits for that.
func (w *world) uses(id string) bool {
	return slices.ContainsFunc(w.c.Tasks(), func(t TaskView) bool { return t.Shape.From == id }) ||
		slices.ContainsFunc(w.c.Asks(), func(a AskView) bool { return a.Shape.From == id && a.Pending > 0 })
}

// feed steps the cluster and keeps the tape.
func (w *world) feed(e Event) ([]Effect, error) {
	w.gives(e)
	if w.witness != nil {
		w.witness.sees(e)
	}
	w.naive.integrate(w.c, w.now)
	effects, err := w.c.Step(e, w.now)
	w.tape = append(w.tape, recorded{e, w.now, effects})
	return effects, err
}

// replay feeds the tape to another cluster: I17, same events, same effects.
func (w *world) replay() {
	again := New()
	for i, r := range w.tape {
		effects, _ := again.Step(r.event, r.at)
		if !reflect.DeepEqual(effects, r.effects) {
			w.fault("I17: step %d, %T, had other effects the second time:\n%+v\n%+v", i, r.event, r.effects, effects)
			return
		}
	}
}

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Errorf("%s: "+format, append([]any{w.clock()}, args...)...))
}

func (w *world) clock() string { return w.now.Sub(epoch).Round(time.Millisecond).String() }

func (w *world) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%-8s ", w.clock())+fmt.Sprintf(format, args...))
}

func (w *world) do(e Effect) {
	switch e := e.(type) {
	case SaveAsk:
		if spec, state, ok := w.c.AskRecord(e.ID); ok {
			w.saved.asks[e.ID] = RestoreAsk{spec, state}
		}
	case DeleteAsk:
		delete(w.saved.asks, e.ID)
	case SaveTask:
		if r, ok := w.c.TaskRecord(e.ID); ok {
			if old, known := w.saved.tasks[e.ID]; known && r.Shape.Volume && old.Node != r.Node {
				w.fault("I21: volume %s was on %s and is on %s", e.ID, old.Node, r.Node)
			}
			w.saved.tasks[e.ID] = r
		}
	case DeleteTask:
		if w.saved.tasks[e.ID].Shape.Volume && !w.given[e.ID] {
			w.fault("I21: volume %s is gone and nobody gave it up", e.ID)
		}
		delete(w.saved.tasks, e.ID)
	case SaveNode:
		w.saved.nodes[e.Name], _ = w.c.NodeRecord(e.Name)
	case DeleteNode:
		delete(w.saved.nodes, e.Name)
	case Launch:
		w.launch(e.Task)
	case StopTask:
		if w.saved.tasks[e.Task].Shape.Volume && !w.given[e.Task] {
			w.fault("I21: volume %s is stopped and nobody gave it up", e.Task)
		}
		w.with(e.Node, e.Task, func(p *process) { p.kill(w.now.Add(max(w.lag, w.grace)), Killed) })
	case SendNotice:
		w.receive(e)
	case WithdrawNotice:
		w.with(e.Node, e.Task, func(p *process) {
			if p.report.Notice != nil && p.report.Notice.ID == e.Notice {
				p.report.Notice = nil
				if p.endAs == Reclaimed {
					p.killAt = time.Time{}
				}
			}
		})
	case ResizeTask:
		w.with(e.Node, e.Task, func(p *process) { p.report.Resources = e.Resources })
	case SetFunding:
		w.with(e.Node, e.Task, func(p *process) { p.report.Funding = e.Funding })
	case Ack:
		if m := w.nodes[e.Node]; m != nil && m.up {
			if p := m.tasks[e.Task]; p != nil && p.report.State.Terminal() {
				delete(m.tasks, e.Task)
			}
		}
	case Happened:
		w.note("%s", e.Message)
	}
}

// with applies f to a live process; commands to a machine that is away are lost.
func (w *world) with(node, task string, f func(*process)) {
	if m := w.nodes[node]; m != nil && m.up {
		if p := m.tasks[task]; p != nil && !p.report.State.Terminal() {
			f(p)
		}
	}
}

func (p *process) kill(at time.Time, as State) {
	if p.killAt.IsZero() || at.Before(p.killAt) {
		p.killAt, p.endAs = at, as
	}
}

func (w *world) launch(a Assignment) {
	m := w.nodes[a.Node]
	if m == nil || !m.up || m.tasks[a.Task] != nil {
		return
	}
	w.started[a.Task]++
	if w.started[a.Task] > 1 {
		w.fault("I18: %s started twice", a.Task)
	}
	m.tasks[a.Task] = &process{report: TaskReport{Assignment: a, State: Starting}, runAt: w.now.Add(w.lag)}
}

// receive is a notice that reaches a machine: its deadline never moves forward in time.
func (w *world) receive(e SendNotice) {
	if first, again := w.sent[e.Notice.ID]; again && e.Notice.Deadline.Before(first.Deadline) {
		w.fault("I9: notice %s was shortened", e.Notice.ID)
	}
	w.sent[e.Notice.ID] = e.Notice
	if t, ok := w.c.Task(e.Notice.Task); ok && t.Shape.Volume && !w.given[t.Task] {
		w.fault("I21: volume %s is given notice", t.Task)
	}
	if t, ok := w.c.Task(e.Notice.Task); ok && t.Shape.From != "" && e.Notice.Kind != ForDrain {
		w.fault("I22: %s, carved out of %s, is asked back for %s", t.Task, t.Shape.From, e.Notice.Claimant)
	}
	if w.witness != nil {
		w.witness.told = append(w.witness.told, e.Notice)
	}
	// I4: who pays for the victim is at or above the claimant's own branch, never a stranger to it and never the claimant's
	// funding role or deeper.
	if claimant, _, isClaim := strings.Cut(e.Notice.Claimant, " ("); isClaim && e.Notice.Funding != Borrowed && e.Notice.Kind != ForWindow {
		if !strings.HasPrefix(claimant, e.Notice.Funding+"/") {
			w.fault("I4: %s, paid by %s, is asked back for %s", e.Notice.Task, e.Notice.Funding, claimant)
		}
	}
	w.with(e.Notice.Node, e.Notice.Task, func(p *process) {
		deadline := later(w.now.Add(w.transit+e.Grace), e.Notice.Deadline)
		if old := p.report.Notice; old != nil && old.ID == e.Notice.ID {
			deadline = later(deadline, old.Deadline)
		} else if old != nil {
			w.fault("I9: %s has two notices at once", e.Notice.Task)
		}
		if deadline.Sub(w.now) < p.report.ReclaimGrace {
			w.fault("I9: %s is given %s, its notice is %s", e.Notice.Task, deadline.Sub(w.now), p.report.ReclaimGrace)
		}
		n := e.Notice
		n.Deadline = deadline
		p.report.Notice = &n
		p.kill(deadline, Reclaimed)
		w.feed(Accepted{Task: n.Task, Notice: n.ID, Deadline: deadline})
	})
}

// run lets time pass until d from now, delivering whatever falls due in between.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		next := end
		if at, ok := w.c.NextWake(); ok && at.Before(next) && at.After(w.now) {
			next = at
		}
		for _, m := range w.nodes {
			for _, p := range m.tasks {
				if at, ok := p.next(); ok && at.Before(next) {
					next = later(at, w.now.Add(time.Millisecond)) // what fell due by a command of this instant, soon
				}
			}
		}
		w.now = next
		w.settle()
		w.step(Tick{})
		if !w.now.Before(end) {
			return
		}
	}
}

// next is when a process begins to run or is stopped.
func (p *process) next() (at time.Time, ok bool) {
	switch {
	case p.report.State.Terminal():
		return at, false
	case p.report.State == Starting && (p.killAt.IsZero() || p.runAt.Before(p.killAt)):
		return p.runAt, true
	}
	return p.killAt, !p.killAt.IsZero()
}

// settle moves every machine's processes to where they are at this time and reports the changes.
func (w *world) settle() {
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		m := w.nodes[name]
		for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
			p := m.tasks[id]
			if p == nil || p.report.State.Terminal() {
				continue
			}
			changed := false
			if p.report.State == Starting && !w.now.Before(p.runAt) {
				p.report.State, p.report.Started, changed = Running, p.runAt, true
			}
			if !p.killAt.IsZero() && !w.now.Before(p.killAt) {
				p.report.State, p.report.Ended, changed = p.endAs, w.now, true
			}
			if changed && m.up {
				w.step(Report{name, p.report})
			}
		}
	}
}

// join brings a machine up.
func (w *world) join(name string, capacity resource.Resources, attrs map[string]string) {
	m := w.nodes[name]
	if m == nil {
		m = &machine{tasks: map[string]*process{}, info: NodeInfo{Name: name, Capacity: capacity, Attributes: attrs}}
		w.nodes[name] = m
	}
	m.up = true
	w.register(name)
}

func (w *world) register(name string) {
	m := w.nodes[name]
	var rs []TaskReport
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		rs = append(rs, m.tasks[id].report)
	}
	if err := w.step(Register{m.info, rs}); err != nil {
		w.fault("register %s: %v", name, err)
	}
}

// failover kills the leader and starts another from what was saved; agents register again.
func (w *world) failover() {
	w.replay()
	w.checkWaste()
	w.c, w.tape, w.naive, w.fuse = New(), nil, integrator{sums: map[figure]*big.Int{}}, 0
	w.step(SetPlan{w.plan, 1})
	for _, name := range slices.Sorted(maps.Keys(w.saved.nodes)) {
		w.feed(RestoreNode{w.saved.nodes[name]})
	}
	asks := slices.SortedFunc(maps.Values(w.saved.asks), func(a, b RestoreAsk) int {
		return cmp.Or(a.Ask.Submitted.Compare(b.Ask.Submitted), cmp.Compare(a.Ask.ID, b.Ask.ID))
	})
	for _, a := range asks {
		w.feed(a)
	}
	for _, id := range slices.Sorted(maps.Keys(w.saved.tasks)) {
		w.feed(RestoreTask{w.saved.tasks[id]})
	}
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		if w.nodes[name].up {
			w.register(name)
		}
	}
	w.step(Recovered{})
}

// ends makes a running task end by itself.
func (w *world) ends(id string, as State) {
	for _, m := range w.nodes {
		if p := m.tasks[id]; p != nil && m.up && p.report.State == Running {
			p.report.State, p.report.Ended = as, w.now
			w.step(Report{m.info.Name, p.report})
			return
		}
	}
}

// live lists what runs, by ID.
func (w *world) live() []TaskView { return w.c.Tasks() }

func cpu(n int) resource.Resources {
	return resource.Resources{"cpu": resource.Amount(n) * resource.Milli}
}

func dur(d time.Duration) *time.Duration { return &d }

// simple is a plan with the given roles, written as "path guarantee limit lendGrace reclaimGrace"; "-" leaves a field out.
func simplePlan(lines ...string) *role.Plan {
	p := &role.Plan{Roles: map[string]role.RoleSpec{}}
	for _, l := range lines {
		f := strings.Fields(l)
		var s role.RoleSpec
		if f[1] != "-" {
			s.Guarantee, _ = resource.Parse("cpu=" + f[1])
		}
		if f[2] != "-" {
			s.Limit, _ = resource.Parse("cpu=" + f[2])
		}
		for i, into := range []**role.Duration{&s.LendGrace, &s.ReclaimGrace} {
			if len(f) > 3+i && f[3+i] != "-" {
				d, err := role.ParseDuration(f[3+i])
				if err != nil {
					panic(err)
				}
				*into = &d
			}
		}
		p.Roles[f[0]] = s
	}
	return p
}

func askFor(id, path string, count, cpus int) AskSpec {
	return AskSpec{ID: id, Role: path, Count: count, Submitted: epoch, Shape: Shape{Resources: cpu(cpus), Requeue: true}}
}

// dump describes units and claims, for a failing property.
func (w *world) dump() string {
	var b strings.Builder
	for _, p := range w.c.pools {
		for _, u := range p.units {
			fmt.Fprintf(&b, "unit %s leaf %s at %s %v leaving=%v state=%v notice=%v\n", u.tasks[0].id, w.c.tree.Roles[u.charge.Leaf].Path, w.c.fundingName(u.charge.At), u.charge.Amount[:2], u.leaving, u.tasks[0].viewState(), u.tasks[0].notice != nil)
		}
		for _, k := range p.claims {
			fmt.Fprintf(&b, "claim %s at %s %v by %s\n", k.ask.ID, w.c.fundingName(k.charge.At), k.charge.Amount[:2], k.by.Sub(epoch))
		}
		for id, r := range w.c.tree.Roles {
			q := p.ledger.Quota(role.ID(id))
			if id > 0 && q.Guarantee.IsZero() && p.ledger.Used(role.ID(id)).IsZero() {
				continue
			}
			fmt.Fprintf(&b, "role %q g=%v lim=%v borrow=%v lend=%v funded=%v inflow=%v used=%v lendGrace=%s\n", r.Path, q.Guarantee[:2], q.Limit[:2], q.Borrow[:2], q.Lend[:2], p.ledger.Funded(role.ID(id))[:2], p.ledger.Borrowed(role.ID(id))[:2], p.ledger.Used(role.ID(id))[:2], r.LendGrace)
		}
	}
	return strings.ReplaceAll(b.String(), fmt.Sprint(int64(resource.Unlimited)), "∞")
}
