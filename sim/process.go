package sim

import (
	"time"

	"polder.dev/polder/core/cluster"
)

// process is a task on a machine: how far its work is, and what it does about its notice.
type process struct {
	*machine
	report cluster.TaskReport
	job    *job

	life     int           // timers set in an earlier one are void
	base     time.Duration // work done before since
	since    int64         // when it last began to work; meaningless while it does not
	working  bool
	saved    time.Duration // work that survives the process
	noticeAt int64         // when its notice arrived
	answered bool
	stopping bool
}

// launch starts a task. Repeating it is harmless.
func (m *machine) launch(a cluster.Assignment) {
	if m.tasks[a.Task] != nil {
		return
	}
	j, _ := a.Payload.(*job)
	p := &process{machine: m, report: cluster.TaskReport{Assignment: a, State: cluster.Starting}, job: j}
	m.tasks[a.Task] = p
	if j != nil && j.started(a) {
		m.violated("I18: %s was started twice", a.Task)
	}
	p.later(m.Agents.Start.draw(m.network), p.begin)
}

// later does something unless the process ended, or changed its course, before.
func (p *process) later(d time.Duration, do func()) {
	life := p.life
	p.after(d, func() {
		if p.life == life && p.power && !p.report.State.Terminal() {
			do()
		}
	})
}

// begin is when the process runs.
func (p *process) begin() {
	p.report.State, p.report.Started = cluster.Running, p.time()
	p.books.began(p.report.Assignment)
	if p.job != nil {
		p.base = p.job.saved(p.report.Index)
		p.saved = p.base
	}
	if p.report.Notice == nil {
		p.work()
	} else {
		p.heed()
	}
	p.news()
}

// work goes on with the work.
func (p *process) work() {
	p.working, p.since = true, p.now
	if p.job == nil || p.job.duration == nil || p.job.duration[p.report.Index] == 0 {
		return
	}
	p.later(p.job.duration[p.report.Index]-p.base, func() { p.finish(cluster.Succeeded) })
}

// rest stops the work where it is, or where it was last saved by itself.
func (p *process) rest() {
	if !p.working {
		return
	}
	p.life++
	p.base += time.Duration(p.now - p.since)
	p.working = false
	if p.job != nil && p.job.work.SaveEach > 0 {
		each := time.Duration(p.job.work.SaveEach)
		p.saved = max(p.saved, p.base/each*each)
	}
}

func (p *process) news() { p.tell(cluster.Report{Node: p.info.Name, Task: p.report}) }

// finish ends the process.
func (p *process) finish(as cluster.State) {
	p.rest()
	p.life++
	p.report.State, p.report.Ended = as, p.time()
	p.account(as == cluster.Succeeded)
	p.news()
}

// perish is the end of a process whose machine is gone.
func (p *process) perish() {
	if p.job != nil {
		p.job.gone(p.report.Task)
	}
	if p.report.State.Terminal() {
		return
	}
	p.rest()
	p.life++
	p.report.State = cluster.Lost
	p.account(false)
}

// account writes down what work is saved and what is lost.
func (p *process) account(finished bool) {
	if p.job == nil || finished {
		return
	}
	p.job.keep(p.report.Index, p.saved)
	if p.job.duration != nil {
		p.books.lost(p.report.Assignment, p.base-p.saved, p.report.Notice != nil)
	}
}

// stop ends a task because the leader says so.
func (m *machine) stop(e cluster.StopTask) {
	m.with(e.Task, func(p *process) {
		n := p.report.Notice
		if n != nil && !p.answered && !e.Force && e.Reason.Code == "Reclaimed" && p.time().Before(n.Deadline) {
			m.books.early(p.report.Assignment)
		}
		if p.stopping {
			return
		}
		p.stopping = true
		p.rest()
		p.life++
		p.later(m.Agents.Stop.draw(m.network), func() { p.finish(cluster.Killed) })
	})
}

// notice tells a task to leave. Its deadline only ever moves later, and it has all its grace from now on.
func (m *machine) notice(e cluster.SendNotice) {
	m.with(e.Notice.Task, func(p *process) {
		deadline := p.time().Add(e.Grace)
		if e.Notice.Deadline.After(deadline) {
			deadline = e.Notice.Deadline
		}
		again := p.report.Notice != nil && p.report.Notice.ID == e.Notice.ID
		if again && p.report.Notice.Deadline.After(deadline) {
			deadline = p.report.Notice.Deadline
		}
		n := e.Notice
		n.Deadline = deadline
		p.report.Notice = &n
		m.tell(cluster.Accepted{Task: n.Task, Notice: n.ID, Deadline: deadline})
		if !again {
			p.noticeAt, p.answered = p.now, false
			m.books.given(p.report.Assignment, deadline.Sub(p.time()))
		}
		p.dueAt(deadline)
		if p.report.State == cluster.Running && !again {
			p.heed()
		}
	})
}

// dueAt stops the process at its deadline.
func (p *process) dueAt(deadline time.Time) {
	p.at(p.clock.since(deadline), normal, func() {
		n := p.report.Notice
		if n == nil || !n.Deadline.Equal(deadline) || !p.power || p.report.State.Terminal() || p.stopping {
			return
		}
		if !p.agent { // nobody is there to do it; the agent will when it is back
			p.after(time.Second, func() { p.dueAt(deadline) })
		} else {
			p.books.expired(p.report.Assignment)
			p.finish(cluster.Reclaimed)
		}
	})
}

// heed does what this kind of task does when it is told to leave.
func (p *process) heed() {
	if p.job == nil || p.answered || p.stopping {
		return
	}
	w := p.job.work
	switch w.OnNotice {
	case "checkpoint", "done":
		p.rest()
		p.later(w.Saves.draw(p.job.chance), func() {
			if w.OnNotice == "checkpoint" {
				p.saved = p.base
			}
			p.answered = true
			said := *p.report.Notice
			said.State = cluster.NoticeDone
			p.report.Notice = &said
			p.tell(cluster.Answer{Task: p.report.Task, Done: true})
		})
	case "leave":
		p.rest()
		p.later(w.Saves.draw(p.job.chance), func() { p.finish(cluster.Failed) })
	}
}

// withdraw lets a task stay.
func (m *machine) withdraw(e cluster.WithdrawNotice) {
	m.with(e.Task, func(p *process) {
		if p.report.Notice == nil || p.report.Notice.ID != e.Notice {
			return
		}
		p.report.Notice = nil
		if p.report.State == cluster.Running && !p.stopping {
			p.rest()
			p.life++
			p.answered = false
			p.work()
		}
	})
}
