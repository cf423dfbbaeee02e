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
		a.f.tasks[l.task.id()] = l.task
	}
	a.batches = append(a.batches, b)
}

func (a *acceptance) prepareGroup(d *Door, op *mesosv1.Offer_Operation, g *mesosv1.Offer_Operation_LaunchGroup) (*batch, error) {
	total, err := a.checkGroupExecutor(op, g)
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

func (a *acceptance) checkGroupExecutor(op *mesosv1.Offer_Operation, g *mesosv1.Offer_Operation_LaunchGroup) (wanted, error) {
	e := g.GetExecutor()
	need, err := wantedOf(e.GetResources())
	switch {
	case err != nil:
		return need, err
	case op.Id != nil:
		return need, refusal("Operation.id must not be set on LAUNCH_GROUP")
	case e.Type == nil:
		return need, refusal("'ExecutorInfo.type' must be set")
	case e.GetType() != mesosv1.ExecutorInfo_DEFAULT:
		return need, refusal("a task group with an executor of its own is not supported; use type DEFAULT")
	case e.Command != nil || e.GetContainer().GetDocker() != nil:
		return need, refusal("'ExecutorInfo.command' and '.container.docker' must not be set for 'DEFAULT' executor")
	case need.amounts["cpu"] < leastOffer["cpu"] || need.amounts["memory"] < leastOffer["memory"] || need.amounts["disk"] == 0:
		return need, refusal("Executor must have at least cpus:0.01, mem:32 and some disk")
	case len(g.GetTaskGroup().GetTasks()) == 0:
		return need, refusal("Task group cannot be empty")
	}
	return need, nil
}

func (a *acceptance) prepareMember(d *Door, e *mesosv1.ExecutorInfo, info *mesosv1.TaskInfo, seen map[string]bool) (*launch, error) {
	switch {
	case info.Executor != nil && info.GetExecutor().GetExecutorId().GetValue() != e.GetExecutorId().GetValue():
		return nil, refusal("The 'ExecutorInfo' of the task differs from the group's")
	case info.GetContainer().GetType() == mesosv1.ContainerInfo_DOCKER && info.Container != nil:
		return nil, refusal("Docker ContainerInfo is not supported on the task")
	case seen[info.TaskId.GetValue()]:
		return nil, refusal("Task has duplicate ID")
	}
	seen[info.TaskId.GetValue()] = true
	info.Executor = nil
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
	if info.Container == nil {
		info.Container = e.Container
	}
	t := d.newTask(a, info)
	spec, err := commandSpec(a.f, t, need)
	return &launch{task: t, spec: spec, need: need}, err
}
