package sim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// workload is a work of the scenario going on.
type workload struct {
	*run
	*Work
	chance *rand.Rand
	count  int    // asks so far
	asks   []*job // of a service, oldest first
	want   int    // replicas a service wants
	until  int64
	view   []cluster.NodeView // of a claimer
	seen   int64
}

// job is one ask and how far the work of each of its tasks is.
type job struct {
	*workload
	work     *Work
	spec     cluster.AskSpec
	duration []time.Duration // by task; nil for a service
	kept     []time.Duration // work saved by earlier runs of a task
	waitsAt  []int64         // since when each task waits
	live     map[string]bool // runs that began, to catch a second start
	size     int             // replicas of a service that are still wanted
}

func (r *run) startWork(w *Work) {
	l := &workload{run: r, Work: w, chance: stream(r.seed, "work "+w.Name), until: r.end}
	r.works = append(r.works, l)
	from := int64(0)
	if w.From != "" {
		from = r.sinceText(w.From)
	}
	if w.Until != "" {
		l.until = r.sinceText(w.Until)
	}
	if w.Kind == "service" {
		l.startService()
		return
	}
	r.at(from, normal, l.arrive)
}

// sinceText is a moment that was checked before.
func (r *run) sinceText(moment string) int64 {
	t, err := r.moment(moment)
	if err != nil {
		r.failed = err
	}
	return r.since(t)
}

// arrive submits an ask and lets the next one come. Where the rate swings over the day, candidates come at the peak's rate and
// some are left out, which makes a Poisson process of a varying rate.
func (l *workload) arrive() {
	if l.now >= l.until || l.Asks > 0 && l.count >= l.Asks {
		return
	}
	if l.Daily == nil || l.chance.Float64() < l.Daily.at(l.time().In(l.zone)) {
		n := l.Tasks.draw(l.chance)
		j := l.job(n)
		j.duration = make([]time.Duration, n)
		for i := range j.duration {
			j.duration[i] = l.Duration.draw(l.chance)
		}
		l.submit(j)
	}
	l.after(l.Every.draw(l.chance), l.arrive)
}

// at is the share of the peak at an instant.
func (d *Daily) at(t time.Time) float64 {
	of := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	swing := (1 + math.Cos(2*math.Pi*float64(of-d.peak)/float64(24*time.Hour))) / 2
	return d.Low + (1-d.Low)*swing
}

// job makes the next ask of a work.
func (l *workload) job(n int) *job {
	j := &job{workload: l, work: l.Work, kept: make([]time.Duration, n), waitsAt: make([]int64, n), size: n}
	j.spec = cluster.AskSpec{
		ID: fmt.Sprintf("%s-%d", l.Name, l.count), Role: l.Role, Count: n, Gang: l.Gang, Payload: j,
		Shape: cluster.Shape{
			Resources: l.Resources, Pool: l.Pool, Constraints: l.Constraints, Exclusive: l.Exclusive, Priority: l.Priority, Pinned: l.Pinned,
			Requeue: true,
		},
	}
	if l.ReclaimGrace != nil {
		d := time.Duration(*l.ReclaimGrace)
		j.spec.Shape.ReclaimGrace = &d
	}
	if l.MinRuntime != nil {
		d := time.Duration(*l.MinRuntime)
		j.spec.Shape.MinRuntime = &d
	}
	l.count++
	return j
}

// submit sends an ask, or a claim where the scheduler chooses the nodes.
func (l *workload) submit(j *job) {
	if l.c == nil {
		l.heldUp = append(l.heldUp, func() { l.submit(j) })
		return
	}
	j.spec.Submitted = l.time()
	l.jobs[j.spec.ID] = j
	for i := range j.waitsAt {
		j.waitsAt[i] = l.now
	}
	if l.Kind == "claimer" {
		l.claim(j)
		return
	}
	l.sent(l.step(cluster.Submit{Ask: j.spec}), j)
}

func (l *workload) sent(err error, j *job) {
	var refused *cluster.Refusal
	switch {
	case err == nil:
	case errors.As(err, &refused):
		delete(l.jobs, j.spec.ID)
		l.books.refused(j.spec, refused.Reason)
	default:
		l.failed = err
	}
}

// claim commits an ask's tasks on nodes the scheduler chose; what conflicts waits as demand.
func (l *workload) claim(j *job) {
	if l.view == nil || l.now-l.seen > int64(l.View.draw(l.chance)) {
		l.view, l.seen = l.c.Nodes(), l.now
	}
	if len(l.view) == 0 { // no machine has joined yet, or all are gone
		l.after(time.Second, func() { l.submit(j) })
		return
	}
	var e cluster.Commit
	e.LeaveDemand = true
	for i := range j.spec.Count {
		one := *j
		one.spec.ID, one.spec.Count, one.spec.Gang = fmt.Sprintf("%s.%d", j.spec.ID, i), 1, false
		one.duration, one.kept, one.waitsAt, one.live = j.duration[i:i+1], make([]time.Duration, 1), []int64{l.now}, nil
		one.spec.Payload = &one
		l.jobs[one.spec.ID] = &one
		e.Tasks = append(e.Tasks, cluster.Claim{Ask: one.spec, Node: l.choose(j.spec.Shape)})
	}
	delete(l.jobs, j.spec.ID)
	l.books.claims += len(e.Tasks)
	l.step(e)
}

// choose takes a node of the view that seems to have room, from a random one on, and remembers what it took.
func (l *workload) choose(shape cluster.Shape) string {
	from := l.chance.IntN(len(l.view))
	for i := range l.view {
		n := &l.view[(from+i)%len(l.view)]
		if n.State == "ready" && n.Pool == shape.Pool && takeFrom(n, shape.Resources) {
			return n.Name
		}
	}
	return l.view[from].Name
}

func takeFrom(n *cluster.NodeView, need resource.Resources) bool {
	for name, a := range need {
		if n.Available[resource.JoinName(n.Pool, name)] < a {
			return false
		}
	}
	for name, a := range need {
		name = resource.JoinName(n.Pool, name)
		n.Available[name] = n.Available[name].Sub(a)
	}
	return true
}

// committed is what became of claims.
func (r *run) committed(e cluster.Committed) {
	for _, c := range e.Results {
		if c.Conflict != nil {
			r.books.conflicts++
		}
	}
}

// started notes that a run of a task begins, and reports whether it had begun before.
func (j *job) started(a cluster.Assignment) bool {
	if j.live == nil {
		j.live = map[string]bool{}
	}
	twice := j.live[a.Task]
	j.live[a.Task] = true
	return twice
}

// gone forgets a run whose machine lost its power, and its journal with it: a launch that the leader has not heard of may be sent again.
func (j *job) gone(task string) { delete(j.live, task) }

func (j *job) saved(i int) time.Duration { return j.kept[i] }

func (j *job) keep(i int, work time.Duration) { j.kept[i] = max(j.kept[i], work) }

// startService follows the replicas a service wants.
func (l *workload) startService() {
	for _, step := range l.Replicas {
		l.at(l.sinceText(step.At), normal, func() {
			l.want = step.Count
			l.scale()
		})
	}
	if l.Daily != nil {
		l.after(swingEvery, l.swing)
	}
}

// swingEvery is how often a service follows the time of day.
const swingEvery = 5 * time.Minute

func (l *workload) swing() {
	l.scale()
	l.after(swingEvery, l.swing)
}

// scale brings a service to the replicas it wants now.
func (l *workload) scale() {
	want := l.want
	if l.Daily != nil {
		want = int(math.Round(float64(want) * l.Daily.at(l.time().In(l.zone))))
	}
	have := 0
	for _, j := range l.asks {
		have += j.size
	}
	if want > have {
		j := l.job(want - have)
		l.asks = append(l.asks, j)
		l.submit(j)
	}
	for have > want {
		have -= l.shrink(have - want)
	}
}

// shrink takes at most n replicas away, of the youngest ask, and returns how many.
func (l *workload) shrink(n int) int {
	j := l.asks[len(l.asks)-1]
	if n >= j.size {
		l.asks = l.asks[:len(l.asks)-1]
		l.whenLed(func() { l.step(cluster.Cancel{Ask: j.spec.ID}) })
		return j.size
	}
	j.size -= n
	l.whenLed(func() { l.killSome(j, n) })
	return n
}

// killSome stops n replicas of an ask: those with the highest numbers that have a lease.
func (l *workload) killSome(j *job, n int) {
	ids := l.books.of(j.spec.ID)
	slices.Reverse(ids)
	for _, id := range ids[:min(n, len(ids))] {
		l.step(cluster.Kill{Task: id})
	}
}

// whenLed does something now, or as soon as there is a leader.
func (r *run) whenLed(do func()) {
	if r.c == nil {
		r.heldUp = append(r.heldUp, do)
		return
	}
	do()
}
