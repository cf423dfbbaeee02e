package mesos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/store"
)

// What the door keeps in the store, so that a scheduler that comes back after the server was restarted, or another one leads, is
// the framework it was: what it said of itself, its tasks and executors, and the updates it has not acknowledged. A registration
// is durable before its first event; the rest is written behind, [keepRest] later at most. What a crash takes with it is
// found in the pool again, as states, not as updates.

// Where it is.
const (
	keepPrefix      = "/mesos/"
	frameworkPrefix = keepPrefix + "framework/"
	executorPrefix  = keepPrefix + "executor/"
	taskPrefix      = keepPrefix + "task/"
)

// keepRest is how long changes are gathered before they are written.
const keepRest = 20 * time.Millisecond

// flushMost is how long writing may take.
const flushMost = 10 * time.Second

// election is what doors campaign for: one of them at a time writes.
const election = "mesos"

// recorded is something that is kept.
type recorded interface {
	// record is what to write. The door's mutex is held.
	record() ([]byte, error)
}

// frameworkRecord is a framework in the store.
type frameworkRecord struct {
	Info        []byte    `json:"info"` // mesos.v1.FrameworkInfo
	Principal   string    `json:"principal"`
	Suppressed  []string  `json:"suppressed,omitempty"`
	Constraints []byte    `json:"constraints,omitempty"` // mesos.v1.scheduler.OfferConstraints
	Registered  time.Time `json:"registered"`
	Removed     time.Time `json:"removed,omitzero"`
}

// executorRecord is an executor in the store.
type executorRecord struct {
	Framework string `json:"framework"`
	Info      []byte `json:"info"` // mesos.v1.ExecutorInfo
	Node      string `json:"node"`
	Role      string `json:"role"`
	Path      string `json:"path"`
	Native    string `json:"native"`
	Token     string `json:"token"`
}

// taskParts is the first byte of a task's record, before its parts: a taskRecord, a mesos.v1.TaskInfo, and each mesos.v1.TaskStatus. An
// earlier version wrote all of it as JSON.
const taskParts = 2

// taskRecord is a task in the store.
type taskRecord struct {
	Framework string `json:"framework"`
	Node      string `json:"node"`
	Role      string `json:"role"`
	Path      string `json:"path"`
	Native    string `json:"native"`
	Executor  string `json:"executor,omitempty"`
	Group     string `json:"group,omitempty"`
	State     int32  `json:"state"`
	Sent      int32  `json:"sent"`
	Killed    bool   `json:"killed,omitempty"`
	Healthy   string `json:"healthy,omitempty"`
	// Of the statuses that follow, those the task was in, and those that are not acknowledged.
	Was  []int `json:"was,omitempty"`
	Open []int `json:"open,omitempty"`
	// What an earlier version wrote here.
	Info     []byte   `json:"info,omitempty"`
	Statuses [][]byte `json:"statuses,omitempty"`
	Updates  [][]byte `json:"updates,omitempty"`
}

func frameworkKey(id string) string { return frameworkPrefix + url.PathEscape(id) }

func (t *task) storeKey() string {
	if t.key == "" {
		t.key = taskPrefix + url.PathEscape(t.fw.id) + "/" + url.PathEscape(t.id())
	}
	return t.key
}

func (e *executor) storeKey() string {
	return executorPrefix + url.PathEscape(e.fw.id) + "/" + url.PathEscape(e.node) + "/" + url.PathEscape(e.id)
}

func (f *framework) record() ([]byte, error) {
	r := frameworkRecord{Info: encoded(f.info), Principal: f.principal, Registered: f.registered, Removed: f.removed}
	if f.constraints != nil {
		r.Constraints = encoded(f.constraints)
	}
	for _, role := range slices.Sorted(maps.Keys(f.subs)) {
		if f.subs[role].suppressed {
			r.Suppressed = append(r.Suppressed, role)
		}
	}
	return json.Marshal(r)
}

func (e *executor) record() ([]byte, error) {
	return json.Marshal(executorRecord{e.fw.id, encoded(e.info), e.node, e.role, e.path, e.native, e.token})
}

func (t *task) record() ([]byte, error) {
	r := taskRecord{
		Framework: t.fw.id, Node: t.node, Role: t.role, Path: t.path, Native: t.native,
		State: int32(t.state), Sent: int32(t.sent), Killed: t.killed, Healthy: t.healthy,
	}
	if t.executor != nil {
		r.Executor = t.executor.id
	}
	if t.group != nil {
		r.Group = t.group.name
	}
	if t.wire == nil {
		t.wire = encoded(t.info) // it stays as it is
	}
	parts := [][]byte{nil, t.wire}
	for i, s := range t.statuses {
		parts, r.Was = append(parts, nil), append(r.Was, i)
		if !slices.ContainsFunc(t.updates, func(u *update) bool { return u.status == s }) {
			parts[2+i] = encoded(s)
		}
	}
	for _, u := range t.updates {
		at := slices.Index(t.statuses, u.status)
		if at < 0 {
			at, parts = len(parts)-2, append(parts, nil)
		}
		parts[2+at], r.Open = u.encoded(), append(r.Open, at)
	}
	head, err := json.Marshal(r)
	parts[0] = head
	return store.AppendParts([]byte{taskParts}, parts...), err
}

// encoded is a message as bytes. What was decoded, or made here, can be encoded.
func encoded(m proto.Message) []byte {
	out, _ := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
	return out
}

// keep writes something down, or deletes it when x is nil. The mutex is held.
func (d *Door) keep(key string, x recorded) {
	if d.c.Store == nil {
		return
	}
	d.dirty[key] = x
	select {
	case d.unkept <- struct{}{}:
	default:
	}
}

// keepTask writes a task down as it is. One that is still being claimed is not.
func (d *Door) keepTask(t *task) {
	if t.native != "" {
		d.keep(t.storeKey(), t)
	}
}

// durable waits until what was done so far is written down.
func (d *Door) durable(ctx context.Context) error {
	d.mu.Lock()
	open := d.lead != nil
	d.mu.Unlock()
	if !open {
		return nil
	}
	return d.flush(ctx)
}

// keeping writes what changes until ctx ends, and then the rest.
func (d *Door) keeping(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return d.flush(ctx)
		case <-d.lead.Done():
			return errors.New("the leadership of the mesos door was lost; another server's door has it")
		case <-d.unkept:
		}
		time.Sleep(keepRest)
		if err := d.flush(ctx); err != nil {
			return err
		}
	}
}

// flush makes durable what has changed so far, whatever becomes of ctx. The mutex is not held.
func (d *Door) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushMost)
	defer cancel()
	d.flushing.Lock()
	defer d.flushing.Unlock()
	d.mu.Lock()
	ops, err := d.operations()
	d.mu.Unlock()
	for _, part := range store.Cut(ops, store.MaxOps/2, store.MaxBytes/2) {
		if err == nil {
			_, err = d.lead.Update(ctx, store.Txn{Ops: part})
		}
	}
	if err != nil {
		return fmt.Errorf("writing down the books of the mesos door: %w", err)
	}
	return nil
}

// operations takes what is not written. The mutex is held.
func (d *Door) operations() ([]store.Op, error) {
	var ops []store.Op
	for _, key := range slices.Sorted(maps.Keys(d.dirty)) {
		x := d.dirty[key]
		if x == nil {
			ops = append(ops, store.Delete(key))
			continue
		}
		data, err := x.record()
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.Put(key, data))
	}
	clear(d.dirty)
	return ops, nil
}
