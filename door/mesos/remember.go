package mesos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
	"polder.dev/polder/store"
)

// remember reads what an earlier life of the door wrote down. Its frameworks are away from now on: that is when their failover
// timeout begins.
func (d *Door) remember(ctx context.Context) error {
	snap, err := d.c.Store.View(ctx, keepPrefix)
	if err != nil {
		return fmt.Errorf("reading the books of the mesos door: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range snap.Entries {
		if e.Key == maintenanceKey {
			if err := d.rememberMaintenance(e.Value); err != nil {
				return fmt.Errorf("record %s of the mesos door cannot be read: %w", e.Key, err)
			}
		}
	}
	for _, kind := range []struct {
		prefix string
		read   func(*Door, []byte) error
	}{{frameworkPrefix, (*Door).rememberFramework}, {executorPrefix, (*Door).rememberExecutor}, {taskPrefix, (*Door).rememberTask}} {
		for _, e := range snap.Entries {
			if !strings.HasPrefix(e.Key, kind.prefix) {
				continue
			}
			if err := kind.read(d, e.Value); err != nil {
				return fmt.Errorf("record %s of the mesos door cannot be read: %w; if a newer version wrote it start that one, else delete it", e.Key, err)
			}
		}
	}
	return nil
}

// strictly decodes a record.
func strictly(data []byte, into any) error {
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	return in.Decode(into)
}

func decoded[M any, P interface {
	*M
	proto.Message
}](data []byte) (P, error) {
	m := P(new(M))
	return m, proto.UnmarshalOptions{AllowPartial: true}.Unmarshal(data, m)
}

func (d *Door) rememberFramework(data []byte) error {
	var r frameworkRecord
	if err := strictly(data, &r); err != nil {
		return err
	}
	info, err := decoded[mesosv1.FrameworkInfo](r.Info)
	if err != nil {
		return err
	}
	f := newFramework(info.GetId().GetValue())
	f.info, f.principal, f.registered, f.awaySince, f.removed = info, r.Principal, r.Registered, d.c.Now(), r.Removed
	f.caller = self // until it is back: what its failover timeout says is done in the door's name
	if !r.Removed.IsZero() {
		d.gone = append(d.gone, f)
		return nil
	}
	var constraints *schedulerv1.OfferConstraints
	if len(r.Constraints) > 0 {
		if constraints, err = decoded[schedulerv1.OfferConstraints](r.Constraints); err != nil {
			return err
		}
	}
	d.frameworks[f.id] = f
	return d.subscribe(f, r.Suppressed, constraints)
}

func (d *Door) rememberExecutor(data []byte) error {
	var r executorRecord
	if err := strictly(data, &r); err != nil {
		return err
	}
	info, err := decoded[mesosv1.ExecutorInfo](r.Info)
	f := d.frameworks[r.Framework]
	if err != nil || f == nil {
		return err
	}
	e := &executor{
		fw: f, info: info, id: info.GetExecutorId().GetValue(), node: r.Node, role: r.Role, path: r.Path, native: r.Native, token: r.Token,
		tasks: map[string]*task{},
	}
	f.executors[e.key()], d.natives[e.native] = e, e
	return nil
}

// decodeTask reads a task's record: its head, what the task is, and its statuses.
func decodeTask(data []byte) (r taskRecord, info *mesosv1.TaskInfo, statuses []*mesosv1.TaskStatus, err error) {
	var parts [][]byte
	if len(data) > 0 && data[0] == taskParts {
		if parts, err = store.Parts(data[1:]); err == nil && len(parts) < 2 {
			err = fmt.Errorf("it has %d parts", len(parts))
		}
		if err == nil {
			err = strictly(parts[0], &r)
		}
	} else if err = strictly(data, &r); err == nil {
		parts = r.parts()
	}
	if err != nil {
		return r, nil, nil, err
	}
	if info, err = decoded[mesosv1.TaskInfo](parts[1]); err != nil {
		return r, nil, nil, err
	}
	for _, part := range parts[2:] {
		s, err := decoded[mesosv1.TaskStatus](part)
		if err != nil {
			return r, nil, nil, err
		}
		statuses = append(statuses, s)
	}
	for _, i := range slices.Concat(r.Was, r.Open) {
		if i < 0 || i >= len(statuses) {
			return r, nil, nil, fmt.Errorf("it names status %d of %d", i, len(statuses))
		}
	}
	return r, info, statuses, nil
}

// parts are what an earlier version wrote in the record itself.
func (r *taskRecord) parts() [][]byte {
	out := append([][]byte{nil, r.Info}, r.Statuses...)
	for i := range r.Statuses {
		r.Was = append(r.Was, i)
	}
	for i := range r.Updates {
		r.Open = append(r.Open, len(r.Statuses)+i)
	}
	return append(out, r.Updates...)
}

func (d *Door) rememberTask(data []byte) error {
	r, info, statuses, err := decodeTask(data)
	f := d.frameworks[r.Framework]
	if err != nil || f == nil {
		return err
	}
	t := &task{
		fw: f, info: info, node: r.Node, role: r.Role, path: r.Path, native: r.Native, ip: "127.0.0.1",
		state: mesosv1.TaskState(r.State), sent: mesosv1.TaskState(r.Sent), killed: r.Killed, healthy: r.Healthy,
	}
	for _, i := range r.Was {
		t.statuses = append(t.statuses, statuses[i])
	}
	for _, i := range r.Open {
		t.updates = append(t.updates, &update{status: statuses[i]})
	}
	if r.Executor != "" {
		if t.executor = f.executors[executorKey{t.node, r.Executor}]; t.executor != nil {
			t.executor.tasks[t.id()] = t
		}
	}
	if r.Group != "" {
		t.join(r.Group)
	}
	f.put(t)
	if !t.over() {
		d.natives[t.native] = t
	}
	return nil
}

// join puts a task back into its group. The group is named by one of its tasks.
func (t *task) join(name string) {
	for _, o := range t.fw.tasks {
		if o.group != nil && o.group.name == name {
			t.group = o.group
		}
	}
	if t.group == nil {
		t.group = &group{name: name}
	}
	t.group.tasks = append(t.group.tasks, t)
}
