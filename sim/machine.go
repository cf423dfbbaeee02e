package sim

import (
	"maps"
	"slices"
	"time"

	"polder.dev/polder/core/cluster"
)

// machine is a node with its agent: it obeys the leader, keeps what it promised while there is none, and reports.
type machine struct {
	*run
	info    cluster.NodeInfo
	session int  // rises when the connection breaks; messages of an earlier one are lost
	online  bool // has sent its registration over this session
	power   bool
	agent   bool  // the agent runs
	sent    int64 // when the last message to the leader arrives: they stay in order
	told    int64 // when the last command arrives
	tasks   map[string]*process
	leases  []*lease // as the books have them
	away    bool     // it does not answer and is not given up
}

// boot starts every machine and lets its agent join at once.
func (r *run) boot() {
	for _, info := range r.machines() {
		m := &machine{run: r, info: info, power: true, agent: true, tasks: map[string]*process{}}
		r.nodes = append(r.nodes, m)
		r.byName[info.Name] = m
		r.books.capacity(m, true)
		m.online = true
		if err := r.step(cluster.Register{Node: info}); err != nil && r.failed == nil {
			r.failed = err
		}
	}
}

// command sends a command of the leader to a node.
func (r *run) command(node string, do func(*machine)) {
	m := r.byName[node]
	if m == nil || !m.online {
		return
	}
	if r.lost() {
		m.cut(r.Agents.Reconnect.draw(r.network))
		return
	}
	session := m.session
	m.told = max(m.told+1, r.now+int64(r.Agents.Latency.draw(r.network)))
	r.at(m.told, normal, func() {
		if m.session == session && m.agent && m.power {
			do(m)
		}
	})
}

// lost reports whether a message is lost.
func (r *run) lost() bool { return r.Agents.Loss > 0 && r.network.Float64() < r.Agents.Loss }

// tell sends news to the leader.
func (m *machine) tell(e cluster.Event) {
	if !m.online {
		return // the next registration says it
	}
	if m.lost() {
		m.cut(m.Agents.Reconnect.draw(m.network))
		return
	}
	session := m.session
	m.sent = max(m.sent+1, m.now+int64(m.Agents.Latency.draw(m.network)))
	m.at(m.sent, normal, func() {
		if m.session == session {
			m.step(e)
		}
	})
}

// cut breaks the connection of an agent that comes back after a while.
func (m *machine) cut(back time.Duration) {
	m.offline()
	session := m.session
	m.after(back, func() {
		if m.session == session {
			m.join()
		}
	})
}

// offline ends the session. The leader notices when the agent stays silent.
func (m *machine) offline() {
	m.session++
	m.online = false
	m.absent(true)
	session := m.session
	m.after(time.Duration(m.Agents.Detect), func() {
		if m.session == session && !m.online {
			m.step(cluster.Disconnect{Node: m.info.Name})
			m.giveUp(session)
		}
	})
}

// absent notes whether the machine is one that does not answer.
func (m *machine) absent(is bool) {
	switch {
	case is && !m.away:
		m.books.away++
	case !is && m.away:
		m.books.away--
	}
	m.away = is
	m.books.excusedAt = m.now
}

// giveUp removes a node that stays away for too long.
func (m *machine) giveUp(session int) {
	if m.Agents.Forget == 0 {
		return
	}
	m.after(time.Duration(m.Agents.Forget), func() {
		if m.session == session && !m.online {
			m.step(cluster.RemoveNode{Node: m.info.Name})
			m.absent(false)
		}
	})
}

// join registers an agent with everything on its node.
func (m *machine) join() {
	if !m.power || !m.agent || m.online || m.c == nil {
		return
	}
	m.online = true
	var tasks []cluster.TaskReport
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		tasks = append(tasks, m.tasks[id].report)
	}
	session := m.session
	m.sent = max(m.sent+1, m.now+int64(m.Agents.Latency.draw(m.network)))
	m.at(m.sent, normal, func() {
		if m.session != session || m.c == nil {
			return
		}
		m.step(cluster.Register{Node: m.info, Tasks: tasks})
		m.absent(false)
		m.run.joined(m)
	})
}

// blackout takes the power: every task is gone.
func (m *machine) blackout() {
	if !m.power {
		return
	}
	m.power = false
	m.books.capacity(m, false)
	m.offline()
	for _, id := range slices.Sorted(maps.Keys(m.tasks)) {
		m.tasks[id].perish()
	}
	clear(m.tasks)
}

// restore brings a machine back, empty.
func (m *machine) restore() {
	if m.power {
		return
	}
	m.power = true
	m.books.capacity(m, true)
	m.session++
	m.after(m.Agents.Reconnect.draw(m.network), m.join)
}

// with applies f to a live process.
func (m *machine) with(task string, f func(*process)) {
	if p := m.tasks[task]; p != nil && !p.report.State.Terminal() {
		f(p)
	}
}

// forget drops an ended task that the leader has on record.
func (m *machine) forget(task string) {
	if p := m.tasks[task]; p != nil && p.report.State.Terminal() {
		delete(m.tasks, task)
	}
}
