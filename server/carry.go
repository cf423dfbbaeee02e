package server

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/store"
)

// dirty collects what a turn touched, so that each object is written and published once, as it is at the turn's end. It is cleared before
// it is used.
type dirty struct {
	saved   []cluster.Effect // one Save effect an object, in the order they were first touched
	savedAt map[cluster.Effect]bool
	changed []cluster.Changed
	seen    map[cluster.Changed]bool
}

// keepTouched is how many objects it has room for between turns: as many as a busy door's calls start in one.
const keepTouched = 4096

// clear forgets them all. The room stays for the next turn, unless it was much.
func (d *dirty) clear() {
	if d.savedAt == nil || max(len(d.savedAt), len(d.seen)) > keepTouched {
		*d = dirty{savedAt: map[cluster.Effect]bool{}, seen: map[cluster.Changed]bool{}}
		return
	}
	clear(d.savedAt)
	clear(d.seen)
	clear(d.saved)
	d.saved, d.changed = d.saved[:0], d.changed[:0]
}

func (d *dirty) save(e cluster.Effect) {
	if !d.savedAt[e] {
		d.savedAt[e] = true
		d.saved = append(d.saved, e)
	}
}

func (d *dirty) change(c cluster.Changed) {
	if !d.seen[c] {
		d.seen[c] = true
		d.changed = append(d.changed, c)
	}
}

// carryOut sends commands to agents, collects what must be durable, and publishes the new picture.
func (t *turn) carryOut() error {
	d := &t.touched
	d.clear()
	for _, e := range t.effects {
		if t.command(e) {
			t.batch.urgent = true // what an agent was told is written at once, though not first
		} else if !t.remember(e, d) {
			t.note(e, d)
		}
	}
	t.saveAll(d.saved)
	for _, c := range d.changed {
		t.refresh(c)
	}
	return t.publish()
}

// command sends an effect that is for an agent; it returns false for all others.
func (t *turn) command(e cluster.Effect) bool {
	switch e := e.(type) {
	case cluster.Launch:
		t.tell(e.Task.Node, e.Task.Task, t.launch(&e.Task))
	case cluster.StopTask:
		stop := &polderv1.StopTask{Task: e.Task, Force: e.Force, Reason: reasonProto(e.Reason)}
		if e.Grace != nil {
			stop.Grace = durationpb.New(*e.Grace)
		}
		t.tell(e.Node, e.Task, &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Stop{Stop: stop}})
	case cluster.SendNotice:
		t.tell(e.Node, e.Notice.Task, &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Notice{Notice: &polderv1.NoticeTask{
			Notice: noticeProto(&e.Notice), Grace: durationpb.New(e.Grace),
		}}})
	case cluster.WithdrawNotice:
		t.tell(e.Node, e.Task, &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Withdraw{Withdraw: &polderv1.WithdrawNotice{
			Notice: e.Notice, Task: e.Task,
		}}})
	case cluster.SetFunding:
		t.tell(e.Node, e.Task, &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Funding{Funding: &polderv1.SetFunding{
			Task: e.Task, Funding: e.Funding,
		}}})
	case cluster.ResizeTask:
		t.tell(e.Node, e.Task, &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Resize{Resize: &polderv1.ResizeTask{
			Task: e.Task, Resources: amountsProto(e.Resources),
		}}})
	case cluster.Ack:
		t.acknowledge(e)
	default:
		return false
	}
	return true
}

// send queues a message for a node's agent. One that is away gets what it lacks when it registers again.
func (t *turn) send(node string, m *polderv1.ServerMessage) {
	if s := t.sessions[node]; s != nil {
		s.send(m)
	}
}

// tell sends a node's agent a message about a task, once the task's ask is durable.
func (t *turn) tell(node, task string, m *polderv1.ServerMessage) {
	if s := t.sessions[node]; s != nil {
		t.held.send(s, task, m)
	}
}

// acknowledge lets an agent forget a task once that is durable here.
func (t *turn) acknowledge(e cluster.Ack) {
	s := t.sessions[e.Node]
	if s == nil {
		return
	}
	m := &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Ack{Ack: &polderv1.AckTask{Task: e.Task}}}
	t.batch.then(func() { s.send(m) })
}

// remember notes what must be written; it returns false for other effects.
func (t *turn) remember(e cluster.Effect, d *dirty) bool {
	switch e := e.(type) {
	case cluster.SaveAsk, cluster.SaveTask, cluster.SaveNode:
		d.save(e)
	case cluster.DeleteAsk:
		d.save(cluster.SaveAsk(e))
	case cluster.DeleteTask:
		d.save(cluster.SaveTask(e))
	case cluster.DeleteNode:
		d.save(cluster.SaveNode(e))
	default:
		return false
	}
	return true
}

// saveAll writes the record of each object as it is now, or deletes it when the object is gone. A record that the store
// would not take is left out: it must not take everybody's changes with it.
func (t *turn) saveAll(saved []cluster.Effect) {
	for _, e := range saved {
		key, value, err := t.record(e)
		op := store.Put(key, value)
		if value == nil {
			op = store.Delete(key)
		}
		if err == nil {
			err = op.Validate()
		}
		if err == nil {
			t.batch.add(op)
			continue
		}
		t.log.Error("record left out; it would be missing after a restart", "key", clip(key, 200), "error", err)
		t.happened(cluster.Happened{Kind: "RecordLeftOut", Subject: clip(key, 200), Message: clip(err.Error(), 1024)})
	}
}

// record returns where an object is kept and its record, nil when it is gone.
func (t *turn) record(e cluster.Effect) (key string, value []byte, err error) {
	switch e := e.(type) {
	case cluster.SaveAsk:
		if spec, state, ok := t.cluster.AskRecord(e.ID); ok {
			var wire []byte
			if wire, err = t.wireOf(spec.ID, spec.Payload); err == nil {
				value, err = encodeAsk(spec, state, t.asks[e.ID], wire)
			}
		}
		return askPrefix + e.ID, value, err
	case cluster.SaveTask:
		if report, ok := t.cluster.TaskRecord(e.ID); ok {
			var wire []byte
			if wire, err = t.wireOf(report.Ask, report.Payload); err == nil {
				value, err = encodeTask(&report, wire)
			}
		}
		return taskPrefix + e.ID, value, err
	}
	name := e.(cluster.SaveNode).Name
	if info, ok := t.cluster.NodeRecord(name); ok {
		value, err = encodeNode(info, t.extras[name])
	}
	return nodePrefix + name, value, err
}

// wireOf is an ask's spec as it is written down. It is encoded once: each of the ask's tasks is written down several times.
func (t *turn) wireOf(ask string, payload any) ([]byte, error) {
	extra, known := t.asks[ask]
	if extra.wire != nil {
		return extra.wire, nil
	}
	wire, err := proto.Marshal(specOf(payload))
	if known && err == nil {
		extra.wire = wire
		t.asks[ask] = extra
	}
	return wire, err
}

// launch is an assignment on its way to an agent. One whose spec cannot be encoded goes without: its record says so, too.
func (t *turn) launch(a *cluster.Assignment) *polderv1.ServerMessage {
	wire, err := t.wireOf(a.Ask, a.Payload)
	if err != nil {
		wire = nil
	}
	return marshalLaunch(a, wire)
}

// note takes effects that are for readers.
func (t *turn) note(e cluster.Effect, d *dirty) {
	switch e := e.(type) {
	case cluster.Changed:
		d.change(e)
	case cluster.TaskEnded:
		t.showTask(e.Task)
		if old, ok := t.endedTasks.add(e.Task.Task); ok && t.isOver(old) {
			t.working.tasks.Delete(old)
		}
	case cluster.AskEnded:
		t.showAsk(e.Ask)
		if old, ok := t.endedAsks.add(e.Ask.ID); ok {
			t.working.asks.Delete(old)
		}
		delete(t.asks, e.Ask.ID)
	case cluster.ClaimServed:
		t.meters.served(e)
	case cluster.NoticeClosed:
		t.meters.closed(e.Notice)
		t.showNotice(e.Notice)
		if old, ok := t.closedNotices.add(e.Notice.ID); ok {
			t.working.notices.Delete(old)
		}
	case cluster.Happened:
		t.happened(e)
	}
}

func (t *turn) isOver(task string) bool {
	row, ok := t.working.tasks.Get(task)
	return ok && row.State.Terminal()
}

// refresh takes over how an object looks now. What is gone from the cluster was shown for the last time when it ended.
func (t *turn) refresh(c cluster.Changed) {
	switch c.Object {
	case cluster.ObjectTask:
		if v, ok := t.cluster.Task(c.ID); ok {
			t.showTask(v)
		}
	case cluster.ObjectAsk:
		if v, ok := t.cluster.Ask(c.ID); ok {
			t.showAsk(v)
		}
	case cluster.ObjectNode:
		t.refreshNode(c.ID)
	case cluster.ObjectRole:
		t.rolesDirty = true
	}
}

func (t *turn) refreshNode(name string) {
	v, ok := t.cluster.Node(name)
	if !ok {
		if t.working.nodes.Delete(name) {
			t.watchable(nodeChange{name: name, removed: true})
		}
		delete(t.extras, name)
		delete(t.seen, name)
		return
	}
	row := nodeRow{v, t.extras[name], t.lastSeen(name)}
	t.working.nodes.Set(name, row)
	t.watchable(nodeChange{name: name, row: row})
}

func (t *turn) showTask(v cluster.TaskView) {
	t.working.revision++
	t.working.tasks.Set(v.Task, v)
	t.seeKept(v.Payload, v.Ask, v.State.Terminal())
	if v.Notice != nil && v.Notice.State == cluster.NoticeOpen {
		if old, ok := t.working.notices.Get(v.Notice.ID); !ok || !old.Deadline.Equal(v.Notice.Deadline) || old.State != v.Notice.State {
			t.showNotice(*v.Notice)
		}
	}
}

func (t *turn) showAsk(v cluster.AskView) {
	t.working.revision++
	v.Returned = nil // the cluster goes on writing to it
	t.seeKept(v.Payload, v.ID, v.State != "open")
	t.working.asks.Set(v.ID, askRow{v, t.asks[v.ID]})
}

func (t *turn) showNotice(n cluster.Notice) {
	t.working.notices.Set(n.ID, n)
	t.watchable(n)
}

// watchable adds a change for watchers.
func (t *turn) watchable(value any) {
	t.working.revision++
	t.pending = append(t.pending, change{t.working.revision, value})
}

func (t *turn) happened(h cluster.Happened) {
	t.working.revision++
	e := &polderv1.Event{
		Revision: t.working.revision, Time: timeProto(t.now), Kind: h.Kind, Subject: h.Subject, Role: h.Role, Node: h.Node, Message: h.Message,
	}
	t.working.events.Set(e.Revision, e)
	if t.working.events.Len() > keepEvents {
		for oldest := range t.working.events.All() {
			t.working.events.Delete(oldest)
			break
		}
	}
	t.pending = append(t.pending, change{e.Revision, e})
}

// rolesEvery is how often the roles' numbers are summed up at most: that touches everything that runs.
const rolesEvery = 100 * time.Millisecond

// publish puts up the picture. Revisions are reserved in blocks, so that they go on growing after a restart.
func (t *turn) publish() error {
	if t.rolesDirty && !t.now.Before(t.rolesAt.Add(rolesEvery)) {
		t.working.roles = slices.Clone(t.cluster.Roles())
		slices.SortFunc(t.working.roles, func(a, b cluster.RoleView) int { return strings.Compare(a.Path, b.Path) })
		t.rolesDirty, t.rolesAt = false, t.now
	}
	t.working.tree = t.cluster.Tree()
	if t.working.revision+revisionBlock/2 > t.reserved {
		t.reserved += revisionBlock
		value, err := encodeRecord(revisionRecord{t.reserved})
		if err != nil {
			return err
		}
		t.batch.add(store.Put(revisionKey, value))
	}
	t.board.publish(t.working.snapshot(), t.pending)
	t.pending = nil
	return nil
}
