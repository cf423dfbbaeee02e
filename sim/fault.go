package sim

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
)

// startFault lets a fault happen, once or again and again.
func (r *run) startFault(f *Fault, i int) {
	chance := stream(r.seed, fmt.Sprint("fault ", i))
	if f.At != "" {
		r.at(r.sinceText(f.At), normal, func() { r.breaks(f, chance) })
		return
	}
	var again func()
	again = func() {
		r.breaks(f, chance)
		r.after(f.Every.draw(chance), again)
	}
	r.after(f.Every.draw(chance), again)
}

func (r *run) breaks(f *Fault, chance *rand.Rand) {
	r.books.faults++
	back := f.For.draw(chance)
	if f.Kind == "leader" {
		r.killLeader()
		return
	}
	what := f.What
	if what == "" {
		m := r.nodes[chance.IntN(len(r.nodes))]
		what = m.info.Name
		if f.Kind == "rack" {
			what = m.info.Attributes["rack"]
		}
	}
	for _, m := range r.nodes {
		if f.Kind == "rack" && m.info.Attributes["rack"] == what || f.Kind != "rack" && m.info.Name == what {
			m.fail(f.Kind, back)
		}
	}
}

func (m *machine) fail(kind string, back time.Duration) {
	switch kind {
	case "rack", "node":
		m.blackout()
		m.after(back, m.restore)
	case "agent":
		if !m.agent || !m.power {
			return
		}
		m.agent = false
		m.offline()
		m.after(back, func() {
			m.agent = true
			m.session++
			m.join()
		})
	case "connection":
		if m.online {
			m.cut(back)
		}
	}
}

// killLeader ends the leader; after a while another one starts from what was saved.
func (r *run) killLeader() {
	if r.c == nil {
		return
	}
	r.takeBook()
	r.c, r.healing, r.turnDue, r.wakeSet = nil, true, false, 0
	for _, m := range r.nodes {
		m.session++
		m.online = false
		m.absent(true)
	}
	r.disk.crash(r.now, int64(r.Leader.Unsaved))
	r.after(r.Leader.Failover.draw(r.network), r.newLeader)
}

// recovers is how long a new leader waits for the nodes it knows.
const recovers = 30 * time.Second

func (r *run) newLeader() {
	r.c = cluster.New()
	r.step(cluster.SetPlan{Plan: &r.Plan, Revision: 1})
	for _, name := range slices.Sorted(maps.Keys(r.disk.nodes)) {
		r.step(cluster.RestoreNode{Node: r.disk.nodes[name]})
	}
	asks := slices.SortedFunc(maps.Values(r.disk.asks), func(a, b cluster.RestoreAsk) int {
		return cmp.Or(a.Ask.Submitted.Compare(b.Ask.Submitted), cmp.Compare(a.Ask.ID, b.Ask.ID))
	})
	for _, a := range asks {
		r.step(a)
	}
	for _, id := range slices.Sorted(maps.Keys(r.disk.tasks)) {
		r.step(cluster.RestoreTask{Task: r.disk.tasks[id]})
	}
	r.books.resync()
	r.awaited = map[string]bool{}
	for name := range r.disk.nodes {
		r.awaited[name] = true
	}
	for _, m := range r.nodes {
		r.after(r.Agents.Reconnect.draw(r.network), m.join)
	}
	leader := r.c
	r.after(recovers, func() {
		if r.c == leader {
			r.recovered()
		}
	})
	r.resubmit()
}

// joined takes note that a machine has registered. The last that the new leader waits for ends the recovery: as the server does, it waits for all that
// are written down, also for those that have no power, since it does not know; they may run what the old leader launched last.
func (r *run) joined(m *machine) {
	delete(r.awaited, m.Name)
	if len(r.awaited) == 0 {
		r.recovered()
	}
}

func (r *run) recovered() {
	if !r.healing {
		return
	}
	r.healing = false
	r.step(cluster.Recovered{})
	r.books.resync()
	r.books.renew()
}

// resubmit repeats what clients were not answered about: asks that did not reach the disk, and what waited for a leader.
func (r *run) resubmit() {
	for _, id := range slices.Sorted(maps.Keys(r.jobs)) {
		if _, ok := r.disk.asks[id]; !ok {
			j := r.jobs[id]
			delete(r.jobs, id)
			j.submit(j)
		}
	}
	held := r.heldUp
	r.heldUp = nil
	for _, do := range held {
		do()
	}
}

// disk is what a leader has saved. What is younger than the time a write may take is lost with it.
type disk struct {
	asks    map[string]cluster.RestoreAsk
	tasks   map[string]cluster.TaskReport
	nodes   map[string]cluster.NodeInfo
	since   map[string]int64 // when this leader first had an ask to write down, until it is durable
	effects []cluster.Effect // of the step that is being taken
	queue   []write
}

type write struct {
	at int64
	do func(*disk)
}

func newDisk() *disk {
	return &disk{asks: map[string]cluster.RestoreAsk{}, tasks: map[string]cluster.TaskReport{}, nodes: map[string]cluster.NodeInfo{}, since: map[string]int64{}}
}

func (d *disk) note(e cluster.Effect) {
	switch e.(type) {
	case cluster.SaveAsk, cluster.DeleteAsk, cluster.SaveTask, cluster.DeleteTask, cluster.SaveNode, cluster.DeleteNode:
		d.effects = append(d.effects, e)
	}
}

// untilSaved is how long it takes until an ask is durable.
func (d *disk) untilSaved(ask string, now, unsaved int64) time.Duration {
	if _, ok := d.asks[ask]; ok {
		delete(d.since, ask)
		return 0
	}
	since, ok := d.since[ask]
	if !ok {
		since = now
		d.since[ask] = now
	}
	return time.Duration(max(0, since+unsaved-now))
}

// save queues the records of one step, as they are now.
func (r *run) save() {
	if r.disk == nil || r.c == nil {
		return
	}
	for _, e := range r.disk.effects {
		if do := r.record(e); do != nil {
			r.disk.queue = append(r.disk.queue, write{r.now, do})
		}
	}
	r.disk.effects = r.disk.effects[:0]
	r.disk.settle(r.now - int64(r.Leader.Unsaved))
}

func (r *run) record(e cluster.Effect) func(*disk) {
	switch e := e.(type) {
	case cluster.SaveAsk:
		if spec, state, ok := r.c.AskRecord(e.ID); ok {
			return func(d *disk) { d.asks[e.ID] = cluster.RestoreAsk{Ask: spec, State: state} }
		}
	case cluster.DeleteAsk:
		return func(d *disk) { delete(d.asks, e.ID) }
	case cluster.SaveTask:
		if t, ok := r.c.TaskRecord(e.ID); ok {
			return func(d *disk) { d.tasks[e.ID] = t }
		}
	case cluster.DeleteTask:
		return func(d *disk) { delete(d.tasks, e.ID) }
	case cluster.SaveNode:
		if n, ok := r.c.NodeRecord(e.Name); ok {
			return func(d *disk) { d.nodes[e.Name] = n }
		}
	case cluster.DeleteNode:
		return func(d *disk) { delete(d.nodes, e.Name) }
	}
	return nil
}

// settle makes durable what was written before.
func (d *disk) settle(before int64) {
	n := 0
	for n < len(d.queue) && d.queue[n].at <= before {
		d.queue[n].do(d)
		n++
	}
	d.queue = slices.Delete(d.queue, 0, n)
}

// crash loses what was not durable yet.
func (d *disk) crash(now, unsaved int64) {
	d.settle(now - unsaved)
	d.queue, d.effects = nil, nil
	clear(d.since)
}
