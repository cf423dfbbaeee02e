package docker

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/docker/fields"
)

// update changes what a container may use: its lease first where it gets more, its limits first where it gets less, so that at no
// moment it may use what it has not leased. A container that does not run has no lease; its next start claims the new size.
func (d *Door) update(q *request) error {
	ctx := q.Context()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	body, err := d.judged(q, p.role, fields.Update)
	if err != nil {
		return err
	}
	d.recent.take(p.id)
	wanted, err := sizeIn(body)
	if err != nil {
		return err
	}
	set := func() (answer thing, err error) {
		e := errand{p.role, "run", "update container " + short(p.id)}
		return answer, d.onEngine(ctx, p, e, http.MethodPost, "/update", nil, body, &answer)
	}
	answer, err := d.resized(ctx, p, wanted, set)
	if err != nil {
		return err
	}
	reply(q.w, http.StatusOK, answer)
	return nil
}

// sizeIn is what an update says about a lease.
func sizeIn(body thing) (map[string]string, error) {
	cpu, err := cpus(body)
	if err != nil {
		return nil, err
	}
	wanted := map[string]string{}
	if cpu != "" {
		wanted["cpu"] = cpu
	}
	switch memory, _ := number(body, "Memory"); {
	case memory < 0:
		return nil, fail(http.StatusBadRequest, "memory cannot be without a limit: it is leased; say how much")
	case memory > 0:
		wanted["memory"] = strconv.FormatInt(memory, 10)
	}
	return wanted, nil
}

// resized gives the lease of a container its size and has its engine set the limits. When the engine refuses, the lease is as it was.
func (d *Door) resized(ctx context.Context, p place, wanted map[string]string, set func() (thing, error)) (thing, error) {
	t, err := d.taskOn(ctx, p)
	if err != nil {
		return nil, err
	}
	if t == nil {
		if ask, err := d.askOf(ctx, p); err != nil || ask != "" && len(wanted) > 0 {
			return nil, errors.Join(err, fail(http.StatusConflict, "container %s waits for a lease of the size it has: stop it, change it, start it again", p.name))
		}
		return set()
	}
	more, less, before, err := compared(t.Resources, wanted)
	if err != nil {
		return nil, err
	}
	if err := d.resize(ctx, t.Id, more); err != nil {
		return nil, err
	}
	answer, err := set()
	if err != nil {
		return nil, errors.Join(err, d.resize(context.WithoutCancel(ctx), t.Id, before))
	}
	return answer, d.resize(context.WithoutCancel(ctx), t.Id, less)
}

// compared parts what is wanted of a lease into what is more than it holds and what is less, with what it holds of the former.
func compared(held, wanted map[string]string) (more, less, before map[string]string, err error) {
	more, less, before = map[string]string{}, map[string]string{}, map[string]string{}
	have := map[string]string{}
	for name, amount := range held {
		_, kind := resource.SplitName(name)
		have[kind] = amount
	}
	for kind, text := range wanted {
		want, err := resource.ParseValue(kind, text)
		if err != nil {
			return nil, nil, nil, fail(http.StatusBadRequest, "%s: %v", kind, err)
		}
		now, _ := resource.ParseValue(kind, have[kind]) // the pool wrote it; none is zero
		switch {
		case want > now:
			more[kind], before[kind] = text, resource.FormatValue(kind, now)
		case want < now:
			less[kind] = text
		}
	}
	return more, less, before, nil
}

func (d *Door) resize(ctx context.Context, task string, size map[string]string) error {
	if len(size) == 0 {
		return nil
	}
	_, err := d.api.Tasks.Resize(ctx, connect.NewRequest(&polderv1.ResizeRequest{Task: task, Resources: size}))
	return err
}

// limits are the fields of a container's description that an update may have changed since.
var limits = []string{"Memory", "MemoryReservation", "MemorySwap", "NanoCpus", "CpuPeriod", "CpuQuota", "PidsLimit"}

// updated puts the limits that a container has now into what it is started with: docker update may have changed them.
func updated(task *polderv1.TaskSpec, now thing) error {
	body, err := fields.Decode(task.Container.Create)
	if err != nil {
		return err
	}
	host, changed := under(body, "HostConfig"), map[string]bool{}
	for _, name := range limits {
		was, _ := number(host, name)
		value, _ := number(now, name)
		if memory, _ := number(now, "Memory"); name == "MemorySwap" && was == 0 && value == 2*memory {
			continue // what engines make of no value
		}
		if value != was && value > 0 {
			host[name], changed[name] = now[name], true
		}
	}
	if len(changed) == 0 {
		return nil
	}
	size, err := sizeIn(host)
	if err != nil {
		return err
	}
	if changed["NanoCpus"] || changed["CpuPeriod"] || changed["CpuQuota"] {
		task.Resources["cpu"] = size["cpu"]
	}
	if changed["Memory"] {
		task.Resources["memory"] = size["memory"]
	}
	task.Container.Create = []byte(encode(body))
	return nil
}
