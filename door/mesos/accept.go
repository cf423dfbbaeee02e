package mesos

import (
	"context"
	"net/http"
	"slices"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// acceptance is one ACCEPT while it is worked off.
type acceptance struct {
	f       *framework
	sub     *subscription
	node    *node
	regular amounts // what is left of the offers
	revoc   amounts
	ports   resource.PortSet
	filters *mesosv1.Filters
	batches []*batch
	places  []*polderv1.GiveUp // kept for the framework, and given up for what it launches
	offers  []*offer
	changed bool // something was launched: what is left is another offer than the one made
}

// batch is what is claimed at once: single tasks, or a group that starts together or not at all.
type batch struct {
	group    bool
	executor *executor // of the framework's own, that gets the group as one
	items    []*launch
}

// launch is a task of the pool to be claimed. Exactly one of task and executor is set.
type launch struct {
	task     *task
	executor *executor
	spec     *polderv1.TaskSpec
	need     wanted
}

// accept works off an ACCEPT: the books first, then the claims, then the books again. It is answered when the claims are
// decided, so that what follows on the same connection finds them.
func (d *Door) accept(f *framework, c *schedulerv1.Call) (int, error) {
	var a *acceptance
	var who door.Caller
	d.with(func() {
		d.counters.accepted++
		a, who = d.begin(f, c.Accept), f.caller
		d.committing++
	})
	ctx, cancel := contextFor(d, who)
	defer cancel()
	places := a.places
	if len(places) > 0 && a.node != nil && len(a.batches) == 0 {
		a.batches = append(a.batches, &batch{}) // what is kept goes back
	}
	for _, b := range a.batches {
		results, revision, err := d.commit(ctx, a.node, b, places)
		places = nil
		d.with(func() { d.settle(a, b, results, revision, err) })
		d.lookAgain(ctx, b)
	}
	d.with(func() {
		if d.committing--; d.committing == 0 {
			clear(d.missed)
		}
		if a.node != nil {
			d.leftovers(a, len(c.Accept.Operations) == 0)
		}
	})
	if len(a.places) > 0 {
		d.settled(ctx, a.places)
	}
	d.nudge()
	return http.StatusAccepted, nil
}

// begin takes the offers off the books and checks the operations. When they are invalid it says why, and there is nothing to claim.
func (d *Door) begin(f *framework, m *schedulerv1.Call_Accept) *acceptance {
	a, reason, err := d.takeOffers(f, m)
	if err != nil {
		d.refuseAll(f, m, reason, err)
		return &acceptance{places: a.places} // they are looked at again
	}
	for _, op := range m.Operations {
		switch op.GetType() {
		case mesosv1.Offer_Operation_LAUNCH:
			a.launchTasks(d, op)
		case mesosv1.Offer_Operation_LAUNCH_GROUP:
			a.launchGroup(d, op)
		default:
			d.refuseOperation(f, op, "operation "+op.GetType().String()+" is not supported: a role's guarantee takes the place of reservations; a volume of the pool is made with polder volume create and mounted by its name, with driver "+volumeDriver)
		}
	}
	return a
}

// takeOffers takes the named offers off the books, whatever comes of them.
func (d *Door) takeOffers(f *framework, m *schedulerv1.Call_Accept) (*acceptance, mesosv1.TaskStatus_Reason, error) {
	a := &acceptance{f: f, regular: amounts{}, revoc: amounts{}, filters: m.Filters}
	invalid := mesosv1.TaskStatus_REASON_INVALID_OFFERS
	var err error
	if len(m.OfferIds) == 0 {
		err = refusal("No offers specified")
	}
	seen := map[string]bool{}
	for _, id := range m.OfferIds {
		o := f.offers[id.GetValue()]
		switch {
		case seen[id.GetValue()]:
			err = refusal("Duplicate offer %s in offer list", id.GetValue())
		case o == nil:
			err = refusal("Offer %s is no longer valid", id.GetValue())
		case a.node != nil && a.node != o.node:
			err = refusal("Aggregated offers must belong to one single agent")
		case a.sub != nil && a.sub != o.to:
			err = refusal("Aggregated offers must be allocated to the same role")
		}
		seen[id.GetValue()] = true
		if o == nil {
			continue
		}
		d.forget(o)
		a.offers = append(a.offers, o)
		if o.demand != nil {
			a.places = append(a.places, o.demand.take(o))
		}
		a.sub, a.node = o.to, o.node
		a.regular, a.revoc = plus(a.regular, o.regular), plus(a.revoc, o.revocable)
		for _, r := range o.ports.Ranges() {
			a.ports.AddRange(r)
		}
	}
	if err == nil && !a.node.offerable() {
		return a, mesosv1.TaskStatus_REASON_AGENT_REMOVED, refusal("Agent %s is %s", a.node.name, a.node.state)
	}
	return a, invalid, err
}

// refuseAll answers every operation of an ACCEPT that came to nothing.
func (d *Door) refuseAll(f *framework, m *schedulerv1.Call_Accept, reason mesosv1.TaskStatus_Reason, why error) {
	for _, op := range m.Operations {
		for _, info := range tasksOf(op) {
			d.sendMade(f, info, f.state(mesosv1.TaskState_TASK_DROPPED), reason, "Task launched with invalid offers: "+why.Error())
		}
		if len(tasksOf(op)) == 0 {
			d.refuseOperation(f, op, why.Error())
		}
	}
}

func tasksOf(op *mesosv1.Offer_Operation) []*mesosv1.TaskInfo {
	if g := op.GetLaunchGroup(); g != nil {
		return g.GetTaskGroup().GetTasks()
	}
	return op.GetLaunch().GetTaskInfos()
}

// refuseOperation tells a framework that asked to be told what became of an operation.
func (d *Door) refuseOperation(f *framework, op *mesosv1.Offer_Operation, why string) {
	if op.Id == nil {
		d.log.Info("operation refused", "framework", f.id, "operation", op.GetType(), "reason", why)
		return
	}
	e := event(schedulerv1.Event_UPDATE_OPERATION_STATUS)
	e.UpdateOperationStatus = &schedulerv1.Event_UpdateOperationStatus{Status: &mesosv1.OperationStatus{
		OperationId: op.Id, State: mesosv1.OperationState_OPERATION_ERROR.Enum(), Message: &why,
	}}
	f.send(e)
}

// take takes what something needs out of what is left, revocable out of revocable.
func (a *acceptance) take(need wanted) error {
	if !fits(need.regular, a.regular) || !fits(need.revocable, a.revoc) {
		return refusal("uses more resources than are left of the offer: it needs %s, left are %s and %s revocable", need.amounts, a.regular, a.revoc)
	}
	for _, p := range need.ports {
		if !a.ports.Contains(p) {
			return refusal("port %d is not, or no longer, offered", p)
		}
	}
	for _, p := range need.ports {
		a.ports.Remove(p)
	}
	less(a.regular, need.regular) // they are the acceptance's own
	less(a.revoc, need.revocable)
	a.changed = true
	return nil
}

// launchTasks checks the tasks of a LAUNCH one by one.
func (a *acceptance) launchTasks(d *Door, op *mesosv1.Offer_Operation) {
	b := &batch{}
	for _, info := range op.GetLaunch().GetTaskInfos() {
		items, err := a.prepare(d, info, op)
		if err != nil {
			d.sendMade(a.f, info, mesosv1.TaskState_TASK_ERROR, mesosv1.TaskStatus_REASON_TASK_INVALID, err.Error())
			continue
		}
		if len(items) == 1 && volumeOf(items[0].spec) != "" { // what is wrong with its volume is not the others' fault
			a.batches = append(a.batches, &batch{items: items})
			continue
		}
		b.items = append(b.items, items...)
	}
	for part := range slices.Chunk(b.items, maxBatch) {
		a.batches = append(a.batches, &batch{items: part})
	}
}

// volumeOf is the first volume of the pool that a task mounts; empty is none.
func volumeOf(s *polderv1.TaskSpec) string {
	for _, m := range s.Mounts {
		if m.Volume != "" {
			return m.Volume
		}
	}
	return ""
}

// maxBatch is how many claims go into one call.
const maxBatch = 500

// prepare checks one task and puts it on the framework's books.
func (a *acceptance) prepare(d *Door, info *mesosv1.TaskInfo, op *mesosv1.Offer_Operation) ([]*launch, error) {
	if op.Id != nil {
		return nil, refusal("Operation.id must not be set on LAUNCH")
	}
	if err := a.checkTask(info); err != nil {
		return nil, err
	}
	need, err := wantedOf(info.Resources)
	if err != nil {
		return nil, err
	}
	if isEmpty(need.amounts) {
		return nil, refusal("Task uses no resources")
	}
	var out []*launch
	t := d.newTask(a, info)
	t.takes = need.amounts
	spec, err := commandSpec(a.f, t, need)
	if info.Executor != nil {
		var e *executor
		if e, out, err = a.prepareExecutor(d, info.Executor, need); err == nil {
			t.executor = e
			spec = holdSpec(a.f, t, need)
		}
	}
	if err != nil {
		return nil, err
	}
	total := need
	for _, l := range out {
		total = total.add(l.need)
	}
	if err := a.take(total); err != nil {
		return nil, refusal("Task %v", err)
	}
	for _, l := range out {
		a.f.executors[l.executor.key()] = l.executor
	}
	a.f.put(t)
	if t.executor != nil {
		t.executor.tasks[t.id()] = t
	}
	return append(out, &launch{task: t, spec: spec, need: need}), nil
}

// commit claims a batch, in place of what is kept there. The mutex is not held.
func (d *Door) commit(ctx context.Context, n *node, b *batch, places []*polderv1.GiveUp) ([]*polderv1.CommitResult, int64, error) {
	req := &polderv1.CommitRequest{AllOrNothing: b.group, GiveUp: places}
	for _, l := range b.items {
		req.Tasks = append(req.Tasks, &polderv1.ClaimTask{Name: l.name(), Role: l.path(), Node: n.name, Task: l.spec})
	}
	if len(req.Tasks) == 0 && len(places) == 0 {
		return nil, 0, nil
	}
	res, err := d.c.API.Claims.Commit(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, 0, err
	}
	return res.Msg.Results, res.Msg.Revision, nil
}

// settle writes down what came of a batch.
func (d *Door) settle(a *acceptance, b *batch, results []*polderv1.CommitResult, revision int64, err error) {
	a.node.notBefore = max(a.node.notBefore, revision)
	if !a.f.removed.IsZero() { // meanwhile: nobody is left to own what was claimed
		var claimed []string
		for _, r := range results {
			claimed = append(claimed, r.Task)
		}
		d.killNative(a.f, false, claimed...)
		return
	}
	failed := map[*executor]string{}
	for i, l := range b.items {
		why := ""
		switch {
		case err != nil:
			why = reasonOf(err).Error()
		case results[i].Conflict != nil:
			if why = results[i].Conflict.Message; volumeOf(l.spec) != "" {
				why += "; it runs on the node of what it mounts: polder volume get " + volumeOf(l.spec)
			}
		}
		if l.executor != nil {
			if why != "" {
				failed[l.executor] = why
				delete(a.f.executors, l.executor.key())
				continue
			}
			l.executor.native = results[i].Task
			d.natives[l.executor.native] = l.executor
			d.keep(l.executor.storeKey(), l.executor)
		} else {
			if why == "" && l.task.executor != nil {
				why = failed[l.task.executor]
			}
			d.settleTask(a, b, l, results, i, why, err)
		}
		if why == "" {
			a.node.free = minus(a.node.free, l.need.amounts)
			a.node.changed()
			for _, p := range l.need.ports {
				a.node.freePorts.Remove(p)
			}
		}
	}
	if b.executor != nil && err == nil {
		b.launchGroup(d)
	}
}

// launchGroup gives the executor the group, when it was claimed.
func (b *batch) launchGroup(d *Door) {
	var list []*task
	for _, l := range b.items {
		if l.task != nil && l.task.native != "" && l.task.executor.tasks[l.task.id()] == l.task {
			list = append(list, l.task)
		}
	}
	if len(list) == 0 {
		return
	}
	b.executor.launchGroup(list)
	for _, t := range list {
		if t.killed { // while it was being claimed
			d.killTask(t, nil)
		}
	}
}

// settleTask writes down what came of one claimed task.
func (d *Door) settleTask(a *acceptance, b *batch, l *launch, results []*polderv1.CommitResult, i int, why string, err error) {
	t := l.task
	if err == nil && results[i].Task != "" {
		t.native = results[i].Task
	}
	if why == "" {
		d.natives[t.native] = t
		d.keepTask(t)
		d.counters.launched++
		a.sub.launched(l.need.regular)
		if d.watched() {
			d.tellTask(t, taskAdded(d.taskProto(t)))
		}
		if t.executor != nil && b.executor == nil {
			t.executor.launch(t)
		}
		if t.killed && b.executor == nil { // while it was being claimed
			d.killTask(t, nil)
		}
		return
	}
	if t.native != "" {
		d.killNative(a.f, true, t.native)
	}
	a.f.drop(t)
	if t.executor != nil {
		delete(t.executor.tasks, t.id())
	}
	state, reason := a.f.state(mesosv1.TaskState_TASK_DROPPED), mesosv1.TaskStatus_REASON_INVALID_OFFERS
	switch code := connect.CodeOf(err); {
	case err != nil && code == connect.CodePermissionDenied:
		state, reason = mesosv1.TaskState_TASK_ERROR, mesosv1.TaskStatus_REASON_TASK_UNAUTHORIZED
	case err != nil && (code == connect.CodeInvalidArgument || code == connect.CodeNotFound): // a volume that is not there
		state, reason = mesosv1.TaskState_TASK_ERROR, mesosv1.TaskStatus_REASON_TASK_INVALID
	}
	d.sendMade(a.f, t.info, state, reason, why)
}

// lookAgain asks what became of claimed tasks meanwhile: news that came before they were on the books were not for us.
func (d *Door) lookAgain(ctx context.Context, b *batch) {
	for _, l := range b.items {
		id := ""
		d.mu.Lock()
		if l.executor != nil {
			id = l.executor.native
		} else {
			id = l.task.native
		}
		runs, news := d.missed[id]
		d.mu.Unlock()
		switch {
		case runs:
			d.runs(id)
		case news:
			d.refresh(withSelf(ctx), id)
		}
	}
}

// leftovers treats what an ACCEPT did not use as declined.
func (d *Door) leftovers(a *acceptance, declined bool) {
	a.sub.refuse(a.node, plus(a.regular, a.revoc), a.filters, d.c.Now())
	d.fresh[a.node] = struct{}{}
	for _, o := range a.offers {
		if declined {
			d.unwanted(o, filterFor(a.filters))
		}
	}
}

// name is what a claim is called in the pool.
func (l *launch) name() string {
	if l.executor != nil {
		return nativeName("executor-" + l.executor.id)
	}
	return nativeName(l.task.info.GetName())
}

func (l *launch) path() string {
	if l.executor != nil {
		return l.executor.path
	}
	return l.task.path
}

// nativeName makes a name of the pool out of any text.
func nativeName(text string) string {
	out := make([]byte, 0, 40)
	for _, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			out = append(out, c)
		case c >= 'A' && c <= 'Z':
			out = append(out, c+'a'-'A')
		case len(out) > 0 && out[len(out)-1] != '-':
			out = append(out, '-')
		}
		if len(out) == 40 {
			break
		}
	}
	for len(out) > 0 && out[len(out)-1] == '-' {
		out = out[:len(out)-1]
	}
	if len(out) == 0 {
		return "task"
	}
	return string(out)
}
