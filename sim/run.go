package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

// Options are how a run is played beside what the scenario says.
type Options struct {
	Seed uint64 // 0 is the scenario's
	// Trace gets every event and effect as a line; nil is nobody. The report has the trace's digest in any case.
	Trace io.Writer
	// Progress is told now and then how far the run is; nil is nobody.
	Progress func(Progress)
	// CheckEvery is after how many turns the invariants are checked; 0 chooses so that checking costs about as much as running.
	CheckEvery int
}

// Progress is how far a run is.
type Progress struct {
	Done    float64 // from 0 to 1, of the scenario's time
	At      time.Time
	Steps   int // events the leader has taken
	Running int
	Pending int
}

// run is a scenario being played.
type run struct {
	*Scenario
	clock
	opt  Options
	seed uint64
	end  int64

	c       *cluster.Cluster // nil while there is no leader
	turnDue bool
	wakeSet int64           // when the earliest wake-up is set; 0 is none
	healing bool            // a new leader is still learning what runs
	awaited map[string]bool // what a new leader waits for before it decides: machines that are written down
	heldUp  []func()
	disk    *disk // nil when no leader ever dies

	nodes   []*machine
	byName  map[string]*machine
	network *rand.Rand
	jobs    map[string]*job
	works   []*workload
	books   *books
	keeper  keeper
	out     *trace
	probes  *probes
	checks  checks
	failed  error
}

// checks is when the invariants are checked, and what they found.
type checks struct {
	turns, debt, done int
	violations        []string
	count             int
}

// maxViolations bounds how many are told; all are counted.
const maxViolations = 20

// Run plays a scenario. The error is that of ctx, or a fault of the scenario that only showed on the way; what the scenario
// expects and did not get is in the report.
func Run(ctx context.Context, s *Scenario, o Options) (*Report, error) {
	r, err := newRun(s, o)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := r.play(ctx); err != nil {
		return nil, err
	}
	return r.report(time.Since(began)), nil
}

func newRun(s *Scenario, o Options) (*run, error) {
	r := &run{
		Scenario: s, opt: o, seed: o.Seed, byName: map[string]*machine{}, jobs: map[string]*job{}, clock: clock{start: s.from},
		end: int64(s.to.Sub(s.from)), out: newTrace(o.Trace), keeper: keeper{rows: map[[2]string]*waste.Account{}},
	}
	if r.seed == 0 {
		r.seed = uint64(max(1, s.Seed))
	}
	r.network = stream(r.seed, "network")
	for _, f := range s.Faults {
		if f.Kind == "leader" {
			r.disk = newDisk()
		}
	}
	var err error
	if r.books, err = newBooks(r); err != nil {
		return nil, err
	}
	r.c = cluster.New()
	r.step(cluster.SetPlan{Plan: &s.Plan, Revision: 1})
	r.boot()
	for i := range s.Work {
		r.startWork(&s.Work[i])
	}
	r.startArrivals()
	for i := range s.Faults {
		r.startFault(&s.Faults[i], i)
	}
	r.probes = newProbes(r)
	r.followCalendar()
	return r, r.failed
}

// reports is how often progress is told.
const progressSteps = 20_000

func (r *run) play(ctx context.Context) error {
	for i := 0; r.next(r.end); i++ {
		if r.failed != nil {
			return r.failed
		}
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if i%progressSteps == 0 && r.opt.Progress != nil {
			r.opt.Progress(r.progress())
		}
	}
	r.check()
	r.takeBook()
	r.balance()
	r.books.settle(r.now)
	if r.opt.Progress != nil {
		r.opt.Progress(r.progress())
	}
	return r.out.flush()
}

func (r *run) progress() Progress {
	return Progress{Done: float64(r.now) / float64(r.end), At: r.time(), Steps: r.out.events, Running: r.books.running, Pending: r.books.waiting}
}

// step gives the leader an event and carries the effects out; the turn comes when all news of the moment is in. It is false
// when there is no leader or it refused.
func (r *run) step(e cluster.Event) error {
	if r.c == nil {
		return errNoLeader
	}
	r.out.event(r.now, e)
	effects, err := r.c.Step(e, r.time())
	for _, f := range effects {
		r.do(f)
	}
	r.save()
	if !r.turnDue {
		r.turnDue = true
		turn := int64(r.Leader.Turn)
		r.at((r.now/turn+1)*turn, decision, r.turn)
	}
	return err
}

var errNoLeader = errors.New("there is no leader")

// turn lets the leader decide.
func (r *run) turn() {
	r.turnDue = false
	if r.c == nil {
		return
	}
	r.out.event(r.now, cluster.Tick{})
	effects, _ := r.c.Step(cluster.Tick{}, r.time())
	for _, f := range effects {
		r.do(f)
	}
	r.save()
	r.books.settle(r.now)
	r.setWake()
	r.dueCheck()
}

// setWake makes sure of a turn when the leader next has something to decide by itself.
func (r *run) setWake() {
	next, ok := r.c.NextWake()
	if !ok {
		return
	}
	at := max(r.since(next), r.now+int64(time.Millisecond))
	if r.wakeSet != 0 && r.wakeSet <= at {
		return
	}
	r.wakeSet = at
	r.at(at, decision, func() {
		if r.wakeSet == at {
			r.wakeSet = 0
			r.turn()
		}
	})
}

// checkShare is how much a turn pays towards the next check of the invariants, which costs roles times leases.
const checkShare = 200

func (r *run) dueCheck() {
	r.checks.turns++
	if n := r.opt.CheckEvery; n > 0 {
		if r.checks.turns%n == 0 {
			r.check()
		}
		return
	}
	if r.checks.debt += checkShare; r.checks.debt >= len(r.books.roles)*(len(r.books.leases)+len(r.nodes)) {
		r.checks.debt = 0
		r.check()
	}
}

func (r *run) check() {
	if r.c == nil || r.healing {
		return // what is not known yet breaks every rule
	}
	r.checks.done++
	for _, bad := range r.c.Invariants() {
		r.violated("%v", bad)
	}
}

// violated notes a promise that was not kept.
func (r *run) violated(format string, args ...any) {
	r.checks.count++
	if len(r.checks.violations) < maxViolations {
		r.checks.violations = append(r.checks.violations, r.time().UTC().Format(time.RFC3339Nano)+" "+fmt.Sprintf(format, args...))
	}
}

// do carries an effect out.
func (r *run) do(e cluster.Effect) {
	r.out.effect(r.now, e)
	switch e := e.(type) {
	case cluster.Launch:
		r.books.launched(e.Task)
		r.tell(e.Task.Node, e.Task.Task, func(m *machine) { m.launch(e.Task) })
	case cluster.StopTask:
		r.books.stopped(e.Task)
		r.tell(e.Node, e.Task, func(m *machine) { m.stop(e) })
	case cluster.SendNotice:
		r.books.noticed(e.Notice)
		r.tell(e.Node, e.Notice.Task, func(m *machine) { m.notice(e) })
	case cluster.WithdrawNotice:
		r.tell(e.Node, e.Task, func(m *machine) { m.withdraw(e) })
	case cluster.SetFunding:
		r.books.fundedBy(e.Task, e.Funding)
		r.tell(e.Node, e.Task, func(m *machine) { m.with(e.Task, func(p *process) { p.report.Funding = e.Funding }) })
	case cluster.ResizeTask:
		r.tell(e.Node, e.Task, func(m *machine) { m.with(e.Task, func(p *process) { p.report.Resources = e.Resources }) })
	case cluster.Ack:
		r.acknowledge(e)
	case cluster.SaveTask:
		r.books.seen(e.ID)
	case cluster.SaveAsk:
		r.books.queued(e.ID)
	case cluster.DeleteAsk:
		r.books.unqueued(e.ID)
	case cluster.AskEnded:
		delete(r.jobs, e.Ask.ID)
	case cluster.TaskEnded:
		r.books.ended(e.Task)
	case cluster.NoticeClosed:
		r.books.noticeClosed(e.Notice)
	case cluster.Committed:
		r.committed(e)
	}
	if r.disk != nil {
		r.disk.note(e)
	}
}

// tell sends a machine a command about a task once the task's ask is on the leader's disk, as the server does: a leader that dies before would leave
// work that its owner asks for again.
func (r *run) tell(node, task string, do func(*machine)) {
	wait := time.Duration(0)
	if l := r.books.leases[task]; r.disk != nil && l != nil {
		wait = r.disk.untilSaved(l.ask, r.now, int64(r.Leader.Unsaved))
	}
	if wait == 0 {
		r.command(node, do)
		return
	}
	leader := r.c
	r.after(wait, func() {
		if r.c == leader {
			r.command(node, do)
		}
	})
}

// acknowledge lets an agent forget a task once its end is on the leader's disk.
func (r *run) acknowledge(e cluster.Ack) {
	durable := time.Duration(0)
	if r.disk != nil {
		durable = time.Duration(r.Leader.Unsaved)
	}
	leader := r.c
	r.after(durable, func() {
		if r.c == leader {
			r.command(e.Node, func(m *machine) { m.forget(e.Task) })
		}
	})
}

// followCalendar keeps the books' tree that of the moment.
func (r *run) followCalendar() {
	at, ok := role.NextChange(&r.Plan, r.time())
	if !ok {
		return
	}
	r.at(r.since(at), normal, func() {
		r.books.setTree(role.Effective(&r.Plan, r.time(), r.books.kinds))
		r.followCalendar()
	})
}

// machines lists the nodes of the scenario.
func (s *Scenario) machines() []cluster.NodeInfo {
	if s.given != nil {
		return s.given
	}
	var out []cluster.NodeInfo
	for _, n := range s.Nodes {
		for i := range n.Count {
			info := cluster.NodeInfo{Name: fmt.Sprintf("%s-%04d", n.Name, i), Capacity: n.Capacity, Attributes: resource.Attributes{}}
			for k, v := range n.Attributes {
				info.Attributes[k] = v
			}
			if n.Rack > 0 {
				info.Attributes["rack"] = fmt.Sprintf("%s-r%d", n.Name, i/n.Rack)
			}
			out = append(out, info)
		}
	}
	return out
}
