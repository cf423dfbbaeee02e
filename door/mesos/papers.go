package mesos

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/piece"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// papers are what documents say of a framework's tasks in one role of the pool: who may see that role reads them as they are. A task's text
// is made once for every state the task is in: tools ask for all of them every few seconds. The door's mutex guards them.
type papers struct {
	tasks, unreachable, completed piece.List[*task]
	used                          amounts // by tasks that are not over
}

func (p *papers) listOf(s mesosv1.TaskState) *piece.List[*task] {
	if s == mesosv1.TaskState_TASK_UNREACHABLE {
		return &p.unreachable
	}
	return &p.tasks
}

// count adds what a task holds to what is used, or takes it off.
func (p *papers) count(t *task, sign resource.Amount) {
	for kind, a := range t.held() {
		if p.used[kind] += sign * a; p.used[kind] == 0 {
			delete(p.used, kind)
		}
	}
}

// papersOf are the framework's papers in a role of the pool.
func (f *framework) papersOf(path string) *papers {
	p := f.papers[path]
	if p == nil {
		p = &papers{used: amounts{}}
		f.papers[path] = p
	}
	return p
}

// seen are the framework's papers that somebody may see, in order of their roles.
func (f *framework) seen(v viewer) []*papers {
	var out []*papers
	for _, path := range slices.Sorted(maps.Keys(f.papers)) {
		if v.all || v.paths[path] {
			out = append(out, f.papers[path])
		}
	}
	return out
}

// put puts a task on the framework's books.
func (f *framework) put(t *task) {
	if old := f.tasks[t.id()]; old != nil {
		f.drop(old)
	}
	f.tasks[t.id()] = t
	p := f.papersOf(t.path)
	t.shelf = p.listOf(t.state).Add(t)
	if !t.over() {
		p.count(t, +1)
	}
}

// drop takes a task off the framework's books, if it is there.
func (f *framework) drop(t *task) {
	if f.tasks[t.id()] != t {
		return
	}
	delete(f.tasks, t.id())
	t.shelf.Remove(t)
	t.shelf = nil
	if !t.over() {
		f.papers[t.path].count(t, -1)
	}
}

// complete puts a task that is over among those that are remembered.
func (f *framework) complete(t *task) {
	t.shelf = f.papersOf(t.path).completed.Add(t)
	if f.completed = append(f.completed, t); len(f.completed) > maxCompleted {
		f.completed[0].shelf.Remove(f.completed[0])
		f.completed = f.completed[1:]
	}
}

// become gives the task another state, or another status of the same.
func (t *task) become(s mesosv1.TaskState) {
	was := t.state
	t.state = s
	if t.shelf == nil {
		return
	}
	p := t.fw.papers[t.path]
	if terminal(s) && !terminal(was) {
		p.count(t, -1)
	}
	if p.listOf(s) == p.listOf(was) {
		t.shelf.Changed(t)
		return
	}
	t.shelf.Remove(t)
	t.shelf = p.listOf(s).Add(t)
}

// document is the task as /state and /tasks show it.
func (t *task) document() json.RawMessage {
	if t.shelf == nil {
		return t.AppendText(nil)
	}
	return t.shelf.Text(t)
}

// held is what the task takes of its node.
func (t *task) held() amounts {
	if t.takes == nil {
		w, _ := wantedOf(t.info.GetResources()) // it was checked when it was launched
		t.takes = w.amounts
	}
	return t.takes
}

// AppendText implements [piece.Item]: the task as documents show it.
func (t *task) AppendText(dst []byte) []byte {
	x := piece.On(dst)
	x.Open('{')
	x.String("id", t.id())
	x.String("name", t.info.GetName())
	x.String("framework_id", t.fw.id)
	executor := ""
	if t.executor != nil {
		executor = t.executor.id
	}
	x.String("executor_id", executor)
	x.String("slave_id", t.node)
	x.String("state", mesosv1.TaskState_name[int32(t.state)])
	x.String("role", t.role)
	x.With("resources", t.appendResources)
	x.Key("statuses")
	x.Open('[')
	for _, s := range t.statuses {
		t.writeStatus(x, s)
	}
	x.Close(']')
	if len(t.info.GetLabels().GetLabels()) > 0 {
		writeLabels(x, t.info.Labels)
	}
	if t.info.Discovery != nil {
		x.With("discovery", func(dst []byte) []byte { return wire.AppendJSON(dst, t.info.Discovery) })
	}
	if t.info.Container != nil {
		x.With("container", func(dst []byte) []byte { return wire.AppendJSON(dst, t.info.Container) })
	}
	x.Close('}')
	return x.Bytes()
}

// appendResources appends what the task has. It is known already unless there is more to say than how much.
func (t *task) appendResources(dst []byte) []byte {
	for _, r := range t.info.GetResources() {
		if r.Revocable != nil || r.Ranges != nil {
			return appendList(dst, t.info.Resources)
		}
	}
	return appendSummed(dst, t.held(), nil, "")
}

func (t *task) writeStatus(x *piece.Text, s *mesosv1.TaskStatus) {
	x.Open('{')
	x.String("state", mesosv1.TaskState_name[int32(s.GetState())])
	x.Number("timestamp", s.GetTimestamp())
	switch c := s.ContainerStatus; {
	case c == nil:
	case c.GetContainerId().GetValue() == t.native && c.ContainerId.Value == &t.native: // contain made it
		x.Key("container_status")
		t.writeContainer(x)
	default:
		x.With("container_status", func(dst []byte) []byte { return wire.AppendJSON(dst, c) })
	}
	if s.Healthy != nil {
		x.Bool("healthy", s.GetHealthy())
	}
	x.Close('}')
}

// writeContainer writes what contain makes, without looking at how messages are made.
func (t *task) writeContainer(x *piece.Text) {
	x.Open('{')
	x.Key("container_id")
	x.Open('{')
	x.String("value", t.native)
	x.Close('}')
	x.Key("network_infos")
	x.Open('[')
	x.Open('{')
	x.Key("ip_addresses")
	x.Open('[')
	x.Open('{')
	x.String("protocol", "IPv4")
	x.String("ip_address", t.ip)
	x.Close('}')
	x.Close(']')
	x.Close('}')
	x.Close(']')
	x.Close('}')
}

func writeLabels(x *piece.Text, l *mesosv1.Labels) {
	x.Key("labels")
	x.Open('[')
	for _, l := range l.GetLabels() {
		x.Open('{')
		x.String("key", l.GetKey())
		x.String("value", l.GetValue())
		x.Close('}')
	}
	x.Close(']')
}

// appendSummed appends amounts as v0 documents have them: the four scalars always, ports as text; what is revocable under names of its own.
func appendSummed(dst []byte, r, revocable amounts, ports string) []byte {
	x := piece.On(dst)
	x.Open('{')
	for _, kind := range everywhere {
		x.Number(mesosName(kind), toScalar(kind, r[kind]))
	}
	for _, kind := range kindsOf(r, everywhere) {
		x.Number(mesosName(kind), toScalar(kind, r[kind]))
	}
	for _, kind := range kindsOf(revocable, nil) {
		x.Number(mesosName(kind)+"_revocable", toScalar(kind, revocable[kind]))
	}
	if ports != "" {
		x.String("ports", "["+strings.ReplaceAll(ports, ",", ", ")+"]")
	}
	x.Close('}')
	return x.Bytes()
}

// everywhere are the kinds that tools expect in every sum.
var everywhere = []string{"cpu", "disk", "gpu", "memory"}

// kindsOf are the kinds of amounts, but for some, in order.
func kindsOf(r amounts, but []string) []string {
	var out []string
	for kind := range r {
		if !slices.Contains(but, kind) {
			out = append(out, kind)
		}
	}
	slices.Sort(out)
	return out
}

// summed is amounts in a document.
func summed(r amounts, ports string) json.RawMessage { return appendSummed(nil, r, nil, ports) }

// appendList appends what a task or executor has.
func appendList(dst []byte, list []*mesosv1.Resource) []byte {
	w, err := wantedOf(list)
	if err != nil {
		return appendSummed(dst, nil, nil, "")
	}
	return appendSummed(dst, w.regular, w.revocable, rangeText(list))
}

// rangeText writes the ports among resources the way the pool does, each range with both ends.
func rangeText(list []*mesosv1.Resource) string {
	var parts []string
	for _, r := range list {
		for _, x := range r.GetRanges().GetRange() {
			parts = append(parts, strconv.FormatUint(x.GetBegin(), 10)+"-"+strconv.FormatUint(x.GetEnd(), 10))
		}
	}
	return strings.Join(parts, ",")
}
