package orchestrator

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"
)

// allows reports whether tasks may be on a node, whatever state it is in.
func (p *Placement) allows(n *Node) bool {
	if p.Only != nil && !slices.Contains(p.Only, n.Name) {
		return false
	}
	for _, c := range p.Constraints {
		if !c.Holds(n) {
			return false
		}
	}
	return true
}

// place finds places for the tasks that wait.
func (m *Machine) place(s *service) {
	s.waiting = false
	m.stamp++
	tallied := false
	for _, t := range s.tasks {
		if t.Wanted && t.State <= Pending && m.itsTurn(s, t) {
			if !tallied {
				m.tally(s)
				tallied = true
			}
			m.placeOne(s, t)
		}
	}
}

// itsTurn reports whether a task waits for nothing but a place.
func (m *Machine) itsTurn(s *service, t *Task) bool {
	if t.After != "" {
		if old := m.tasks[t.After]; old != nil && !old.State.Over() {
			return false
		}
		t.After = ""
		m.touched[t.ID] = true
	}
	if !t.NotBefore.IsZero() {
		if m.now.Before(t.NotBefore) {
			s.wake(t.NotBefore)
			return false
		}
		t.NotBefore = time.Time{}
		m.touched[t.ID] = true
	}
	return true
}

// placeOne chooses a node for a task, or asks the pool for one of those that may have it.
func (m *Machine) placeOne(s *service, t *Task) {
	if t.queued && (t.Pool == "" || t.world == m.worlds) {
		return
	}
	may, why := m.candidates(s, t)
	if len(may) == 0 {
		m.withdraw(t)
		s.waiting = true
		m.become(t, Pending, why)
		return
	}
	if n := m.best(s, may, s.Spec.Needs); n != nil && !t.refused && !t.queued {
		m.reserve(t, n)
		n.Free = n.Free.less(s.Spec.Needs)
		m.become(t, Assigned, "")
		m.doings = append(m.doings, Launch{*t, s.Spec.Needs})
		return
	}
	m.queue(s, t, may)
}

// reserve keeps a place on a node for a task.
func (m *Machine) reserve(t *Task, n *Node) {
	t.Node = n.Name
	m.occupy(t)
	m.count(n, 1)
}

// exclusive reports whether what one task of a service has, another one cannot have: then each waits for a place of its own.
func (s *service) exclusive() bool { return s.Spec.Placement.MostPerNode > 0 || len(s.Spec.Ports) > 0 }

// queue has a task wait in the pool's own queue for a place on one of some nodes.
func (m *Machine) queue(s *service, t *Task, may []*Node) {
	if s.exclusive() && !t.queued {
		may = []*Node{m.best(s, may, Amounts{math.MinInt64, math.MinInt64, math.MinInt64})}
	}
	names := make([]string, len(may))
	for i, n := range may {
		names[i] = n.Name
	}
	t.world = m.worlds
	if t.queued && (t.Among == among(names) || s.exclusive() && slices.Contains(names, t.Node)) {
		return
	}
	m.withdraw(t)
	if s.exclusive() {
		n := may[0]
		names = names[:1]
		m.reserve(t, n)
	}
	t.queued, t.Among = true, among(names)
	m.touched[t.ID] = true
	m.become(t, Pending, cmp.Or(t.Reason, "no node has room for it now"))
	m.doings = append(m.doings, Queue{*t, names})
}

// withdraw takes back what was asked for a task that will be asked for otherwise.
func (m *Machine) withdraw(t *Task) {
	if t.Pool != "" {
		m.doings = append(m.doings, Stop{t.ID, t.Pool})
		t.Pool, t.Former = "", t.Pool
	}
	m.vacate(t)
	t.Node, t.queued = "", false
	m.touched[t.ID] = true
}

// among is the same for the same nodes.
func among(names []string) uint64 {
	h := fnv.New64a()
	for _, n := range names {
		_, _ = h.Write(append([]byte(n), 0)) // never fails
	}
	return h.Sum64()
}

// candidates are the nodes that may have a task now, room aside. Without any it says why.
func (m *Machine) candidates(s *service, t *Task) (out []*Node, why string) {
	if s.fitsAt != m.worlds {
		s.fits = s.fits[:0]
		for _, n := range m.nodes {
			if n.State == "ready" && s.Spec.Placement.allows(n) {
				s.fits = append(s.fits, n)
			}
		}
		s.fitsAt = m.worlds
	}
	if t.Bound == "" && s.Spec.Placement.MostPerNode == 0 && len(s.Spec.Ports) == 0 {
		out = s.fits
	} else {
		for _, n := range s.fits {
			if (t.Bound == "" || t.Bound == n.Name) && (t.Node == n.Name || !m.crowded(s, n) && !m.taken(s, n)) {
				out = append(out, n)
			}
		}
	}
	switch {
	case len(out) > 0:
		return out, ""
	case len(m.nodes) == 0:
		return nil, "no suitable node: no node with a container engine is there"
	case len(s.fits) == 0:
		return nil, fmt.Sprintf("no suitable node: none of %d nodes is ready and %s", len(m.nodes), s.Spec.Placement.words())
	case s.Spec.Placement.MostPerNode > 0:
		return nil, fmt.Sprintf("no suitable node: max replicas per node limit exceeded (%d)", s.Spec.Placement.MostPerNode)
	}
	return nil, "no suitable node: its host-mode ports are in use everywhere it may be"
}

// words says what placement asks of nodes.
func (p *Placement) words() string {
	if len(p.Constraints) == 0 {
		return "may have it"
	}
	var all []string
	for _, c := range p.Constraints {
		all = append(all, c.String())
	}
	return "satisfies " + strings.Join(all, ", ")
}

// tally counts the service's tasks by node.
func (m *Machine) tally(s *service) {
	for _, t := range s.tasks {
		if t.Wanted && !t.State.Over() && t.Node != "" {
			if n := m.node(t.Node); n != nil {
				m.count(n, 1)
			}
		}
	}
}

// count is how many tasks of the service that is being placed a node has, after adding some.
func (m *Machine) count(n *Node, more int) int {
	if n.stamp != m.stamp {
		n.mine, n.stamp = 0, m.stamp
	}
	n.mine += more
	return n.mine
}

// crowded reports whether a node has as many of the service's tasks as it may.
func (m *Machine) crowded(s *service, n *Node) bool {
	most := s.Spec.Placement.MostPerNode
	return most > 0 && uint64(m.count(n, 0)) >= most
}

// taken reports whether a node's machine has given one of the service's ports away.
func (m *Machine) taken(s *service, n *Node) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p Port) bool { return m.ports[n.Engine][p] != "" })
}

// best is the node with room where fewest tasks of the service are, counted by the spread labels first; then the one with fewest
// tasks of all, then the one with most memory left. Nil when no node has room for what is needed.
func (m *Machine) best(s *service, may []*Node, needs Amounts) *Node {
	spread := m.spreads(s, may)
	var best *Node
	for _, n := range may {
		if n.Free.holds(needs) && (best == nil || m.better(s, spread, n, best)) {
			best = n
		}
	}
	return best
}

func (m *Machine) better(s *service, spread []map[string]int, a, b *Node) bool {
	path, other := "", ""
	for i, label := range s.Spec.Placement.Spread {
		path, other = path+"\x00"+a.label(label), other+"\x00"+b.label(label)
		if path != other && spread[i][path] != spread[i][other] {
			return spread[i][path] < spread[i][other]
		}
	}
	return cmp.Or(cmp.Compare(m.count(a, 0), m.count(b, 0)), cmp.Compare(a.tasks, b.tasks),
		cmp.Compare(b.Free.Memory, a.Free.Memory)) < 0
}

// spreads counts the service's tasks by the values of each spread label, below those of the labels before it.
func (m *Machine) spreads(s *service, may []*Node) []map[string]int {
	out := make([]map[string]int, len(s.Spec.Placement.Spread))
	for i := range out {
		out[i] = map[string]int{}
	}
	if len(out) == 0 {
		return out
	}
	for _, n := range may {
		path := ""
		for i, label := range s.Spec.Placement.Spread {
			path += "\x00" + n.label(label)
			out[i][path] += m.count(n, 0)
		}
	}
	return out
}
