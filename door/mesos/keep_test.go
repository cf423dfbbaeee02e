package mesos

import (
	"encoding/json"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door/mesos/wire/mesosv1"
)

func keptTask() *task {
	f := newFramework("f-1")
	t := &task{
		fw: f, info: &mesosv1.TaskInfo{Name: new("t"), TaskId: &mesosv1.TaskID{Value: new("t1")}, AgentId: &mesosv1.AgentID{Value: new("n1")}},
		node: "n1", role: "a", path: "a", native: "x-1.0", state: mesosv1.TaskState_TASK_RUNNING, sent: mesosv1.TaskState_TASK_STAGING, ip: "127.0.0.1",
	}
	starting, running := t.status(mesosv1.TaskState_TASK_STARTING, ""), t.status(mesosv1.TaskState_TASK_RUNNING, "it runs")
	lost := t.status(mesosv1.TaskState_TASK_RUNNING, "replaced since")
	t.statuses, t.updates = []*mesosv1.TaskStatus{starting, running}, []*update{{status: lost}, {status: running}}
	return t
}

// sameKept reads a task's record and compares.
func sameKept(t *testing.T, data []byte, want *task) {
	t.Helper()
	r, info, statuses, err := decodeTask(data)
	if err != nil {
		t.Fatal(err)
	}
	pick := func(at []int) (out []*mesosv1.TaskStatus) {
		for _, i := range at {
			out = append(out, statuses[i])
		}
		return out
	}
	same := func(a, b *mesosv1.TaskStatus) bool { return proto.Equal(a, b) }
	var open []*mesosv1.TaskStatus
	for _, u := range want.updates {
		open = append(open, u.status)
	}
	if !proto.Equal(info, want.info) || r.Native != want.native || !slices.EqualFunc(pick(r.Was), want.statuses, same) || !slices.EqualFunc(pick(r.Open), open, same) {
		t.Errorf("reads back as %+v with %v", r, statuses)
	}
}

// TestTaskRecord: a task reads back as it was written, in this version's way and in the one before; a record that is cut off is refused.
func TestTaskRecord(t *testing.T) {
	want := keptTask()
	data, err := want.record()
	if err != nil {
		t.Fatal(err)
	}
	sameKept(t, data, want)
	for n := range data {
		if r, _, statuses, err := decodeTask(data[:n]); err == nil && (len(statuses) != 3 || r.Native != want.native) {
			t.Errorf("%d of %d bytes are taken for a task with %d statuses", n, len(data), len(statuses))
		}
	}
	r := taskRecord{Framework: "f-1", Native: want.native, Info: encoded(want.info)}
	for _, s := range want.statuses {
		r.Statuses = append(r.Statuses, encoded(s))
	}
	for _, u := range want.updates {
		r.Updates = append(r.Updates, encoded(u.status))
	}
	if data, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	sameKept(t, data, want)
}

func FuzzTaskRecord(f *testing.F) {
	if data, err := keptTask().record(); err == nil {
		f.Add(data)
	}
	f.Add([]byte(`{"framework":"f","info":"CgA=","updates":[""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _, statuses, err := decodeTask(data)
		if err != nil {
			return
		}
		for _, i := range slices.Concat(r.Was, r.Open) {
			if i < 0 || i >= len(statuses) {
				t.Fatalf("status %d of %d", i, len(statuses))
			}
		}
	})
}
