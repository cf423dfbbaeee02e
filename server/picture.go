package server

import (
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/role"
	"polder.dev/polder/server/table"
)

// picture is what readers see. The writer keeps one and publishes copies of it; a copy is never written to.
type picture struct {
	revision int64
	tasks    table.Map[string, cluster.TaskView]
	asks     table.Map[string, askRow]
	nodes    table.Map[string, nodeRow]
	notices  table.Map[string, cluster.Notice]
	events   table.Map[int64, *polderv1.Event]
	volumes  table.Map[string, string] // the ask that is a volume, by its name

	reservations table.Map[string, string] // the ask that is a reservation, by its name

	roles   []cluster.RoleView // by path
	tree    *role.Tree         // in force
	plan    planRecord
	history []planRecord // oldest first, the one in force last
}

// askRow is an ask and what the cluster does not know about it.
type askRow struct {
	cluster.AskView
	askExtra
}

type askExtra struct {
	Name string `json:"name,omitempty"` // the prefix its submitter chose
	By   string `json:"by,omitempty"`
	wire []byte // the spec as it is written down, once it was

	mounts []string // volumes, of an ask that nobody has been shown yet
}

// nodeRow is a node and what the cluster does not know about it.
type nodeRow struct {
	cluster.NodeView
	nodeExtra
	seen *atomic.Int64 // last message, unix nanoseconds
}

type nodeExtra struct {
	Runtimes   []string  `json:"runtimes,omitempty"`
	Away       []string  `json:"away,omitempty"` // of Runtimes, those that do not answer
	Version    string    `json:"version,omitempty"`
	Warnings   []string  `json:"warnings,omitempty"`
	Registered time.Time `json:"registered,omitzero"`
	VolumeDir  string    `json:"volumeDir,omitempty"` // has those of its volumes
}

func (p *picture) snapshot() *picture {
	return &picture{
		revision: p.revision, tasks: p.tasks.Snapshot(), asks: p.asks.Snapshot(), nodes: p.nodes.Snapshot(),
		notices: p.notices.Snapshot(), events: p.events.Snapshot(), volumes: p.volumes.Snapshot(), reservations: p.reservations.Snapshot(),
		roles: p.roles, tree: p.tree, plan: p.plan, history: p.history,
	}
}

// someTasks are those of some ids that are there, in order, after one of them.
func (p *picture) someTasks(ids []string) func(after string) iter.Seq2[string, cluster.TaskView] {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return func(after string) iter.Seq2[string, cluster.TaskView] {
		return func(yield func(string, cluster.TaskView) bool) {
			for _, id := range ids {
				if t, ok := p.tasks.Get(id); ok && id > after && !yield(id, t) {
					return
				}
			}
		}
	}
}

// roleView finds a role's numbers.
func (p *picture) roleView(path string) (cluster.RoleView, bool) {
	i, ok := slices.BinarySearchFunc(p.roles, path, func(r cluster.RoleView, s string) int { return strings.Compare(r.Path, s) })
	if !ok {
		return cluster.RoleView{}, false
	}
	return p.roles[i], true
}

// under reports whether a role is top or below it; everything is below "".
func under(path, top string) bool {
	return top == "" || path == top || strings.HasPrefix(path, top+"/")
}

// ended remembers what is over in the order it ended, to forget the oldest.
type ended struct {
	ids  []string
	most int
}

// add remembers an id and returns one to forget, if there are too many.
func (e *ended) add(id string) (string, bool) {
	e.ids = append(e.ids, id)
	if len(e.ids) <= e.most {
		return "", false
	}
	old := e.ids[0]
	e.ids = e.ids[1:]
	return old, true
}

func (p *picture) addPlan(r planRecord) {
	p.plan = r
	p.history = append(slices.Clone(p.history), r)
	if extra := len(p.history) - keepPlans; extra > 0 {
		p.history = p.history[extra:]
	}
}

// planAt finds a revision; zero is the one in force.
func (p *picture) planAt(revision int64) (planRecord, bool) {
	if revision == 0 {
		return p.plan, p.plan.Plan != nil
	}
	i, ok := slices.BinarySearchFunc(p.history, revision, func(r planRecord, n int64) int { return int(r.Revision - n) })
	if !ok {
		return planRecord{}, false
	}
	return p.history[i], true
}
