package mesos

import (
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// launchGroup checks a pod: its tasks start together on the node or not at all, and end together. The default executor is this door;
// what its executor is given is added to the first task's lease.
func (a *acceptance) launchGroup(d *Door, op *mesosv1.Offer_Operation) {
	g := op.GetLaunchGroup()
	b, err := a.prepareGroup(d, op, g)
	if err != nil {
		for _, info := range g.GetTaskGroup().GetTasks() {
			d.sendMade(a.f, info, mesosv1.TaskState_TASK_ERROR, mesosv1.TaskStatus_REASON_TASK_GROUP_INVALID, err.Error())
		}
		return
	}
	for _, l := range b.items {
		if l.executor != nil {
			a.f.executors[l.executor.key()] = l.executor
			continue
		}
		a.f.put(l.task)
		if l.task.executor != nil {
			l.task.executor.tasks[l.task.id()] = l.task
		}
	}
	a.batches = append(a.batches, b)
}

// prepareGroup checks a pod. One with an executor of the framework's own holds a lease for each task, as for the executor itself.
func (a *acceptance) prepareGroup(d *Door, op *mesosv1.Offer_Operation, g *mesosv1.Offer_Operation_LaunchGroup) (*batch, error) {
	if err := checkGroup(op, g); err != nil {
		return nil, err
	}
	if g.Executor.GetType() == mesosv1.ExecutorInfo_CUSTOM {
		return a.prepareCustomGroup(d, g)
	}
	total, err := a.checkGroupExecutor(g)
	if err != nil {
		return nil, err
	}
	b, pod := &batch{group: true}, &group{name: g.GetTaskGroup().GetTasks()[0].GetTaskId().GetValue()}
	seen := map[string]bool{}
	for i, info := range g.GetTaskGroup().GetTasks() {
		l, err := a.prepareMember(d, g.Executor, info, seen)
		if err != nil {
			return nil, refusal("Task '%s' is invalid: %v", info.TaskId.GetValue(), err)
		}
		if i == 0 {
			l.need = l.need.add(total)
			l.spec.Resources = texts(l.need.amounts)
			total = l.need
		} else {
			total = total.add(l.need)
		}
		l.task.group = pod
		pod.tasks = append(pod.tasks, l.task)
		b.items = append(b.items, l)
	}
	return b, a.take(total)
}

// prepareCustomGroup checks a pod that an executor of the framework's own runs: it gets all of the tasks at once.
func (a *acceptance) prepareCustomGroup(d *Door, g *mesosv1.Offer_Operation_LaunchGroup) (*batch, error) {
	e, items, err := a.prepareExecutor(d, g.Executor, wanted{})
	if err != nil {
		return nil, err
	}
	b, total, seen := &batch{group: true, executor: e, items: items}, wanted{}, map[string]bool{}
	for _, l := range items {
		total = total.add(l.need)
	}
	for _, info := range g.GetTaskGroup().GetTasks() {
		need, err := a.checkCustomMember(g.Executor, info, seen)
		if err != nil {
			return nil, refusal("Task '%s' is invalid: %v", info.TaskId.GetValue(), err)
		}
		t := d.newTask(a, info)
		t.executor = e
		total = total.add(need)
		b.items = append(b.items, &launch{task: t, spec: holdSpec(a.f, t, need), need: need})
	}
	return b, a.take(total)
}

// checkCustomMember checks a task that its executor knows how to run, with a command or without.
func (a *acceptance) checkCustomMember(e *mesosv1.ExecutorInfo, info *mesosv1.TaskInfo, seen map[string]bool) (wanted, error) {
	if err := checkMember(e, info, seen); err != nil {
		return wanted{}, err
	}
	if info.Executor = nil; info.Command == nil {
		info.Executor = e
	}
	if err := a.checkTask(info); err != nil {
		return wanted{}, err
	}
	return wantedOfTask(info)
}

// checkMember is what holds of every task of a pod.
func checkMember(e *mesosv1.ExecutorInfo, info *mesosv1.TaskInfo, seen map[string]bool) error {
	switch {
	case info.Executor != nil && info.GetExecutor().GetExecutorId().GetValue() != e.GetExecutorId().GetValue():
		return refusal("The 'ExecutorInfo' of the task differs from the group's")
	case info.GetContainer().GetType() == mesosv1.ContainerInfo_DOCKER && info.Container != nil:
		return refusal("Docker ContainerInfo is not supported on the task")
	case seen[info.TaskId.GetValue()]:
		return refusal("Task has duplicate ID")
	}
	seen[info.TaskId.GetValue()] = true
	return nil
}

// wantedOfTask is what a task takes of an offer, which is something.
func wantedOfTask(info *mesosv1.TaskInfo) (wanted, error) {
	need, err := wantedOf(info.Resources)
	if err == nil && isEmpty(need.amounts) {
		err = refusal("Task uses no resources")
	}
	return need, err
}

// checkGroup is what holds of every pod.
func checkGroup(op *mesosv1.Offer_Operation, g *mesosv1.Offer_Operation_LaunchGroup) error {
	switch {
	case op.Id != nil:
		return refusal("Operation.id must not be set on LAUNCH_GROUP")
	case g.GetExecutor().Type == nil:
		return refusal("'ExecutorInfo.type' must be set")
	case len(g.GetTaskGroup().GetTasks()) == 0:
		return refusal("Task group cannot be empty")
	}
	return nil
}

func (a *acceptance) checkGroupExecutor(g *mesosv1.Offer_Operation_LaunchGroup) (wanted, error) {
	e := g.GetExecutor()
	need, err := wantedOf(e.GetResources())
	switch {
	case err != nil:
		return need, err
	case e.GetType() != mesosv1.ExecutorInfo_DEFAULT:
		return need, refusal("'ExecutorInfo.type' must be 'DEFAULT' or 'CUSTOM'")
	case e.Command != nil || e.GetContainer().GetDocker() != nil:
		return need, refusal("'ExecutorInfo.command' and '.container.docker' must not be set for 'DEFAULT' executor")
	case need.amounts["cpu"] < leastOffer["cpu"] || need.amounts["memory"] < leastOffer["memory"] || need.amounts["disk"] == 0:
		return need, refusal("Executor must have at least cpus:0.01, mem:32 and some disk")
	}
	return need, nil
}

func (a *acceptance) prepareMember(d *Door, e *mesosv1.ExecutorInfo, info *mesosv1.TaskInfo, seen map[string]bool) (*launch, error) {
	if err := checkMember(e, info, seen); err != nil {
		return nil, err
	}
	info.Executor = nil
	if err := a.checkTask(info); err != nil {
		return nil, err
	}
	need, err := wantedOfTask(info)
	if err != nil {
		return nil, err
	}
	if info.Container == nil {
		info.Container = e.Container
	}
	t := d.newTask(a, info)
	spec, err := commandSpec(a.f, t, need)
	return &launch{task: t, spec: spec, need: need}, err
}
