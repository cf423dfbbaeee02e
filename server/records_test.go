package server

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// recorded is an ask and a task of it, with the spec as it is written down.
func recorded(t *testing.T) (cluster.AskSpec, cluster.TaskReport, []byte) {
	t.Helper()
	spec := &polderv1.TaskSpec{Command: []string{"x"}, Resources: map[string]string{"cpu": "1"}, Env: map[string]string{"A": "b"}}
	shape, err := shapeOf(spec, "spec")
	if err != nil {
		t.Fatal(err)
	}
	wire, err := proto.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1000, 0).UTC()
	ask := cluster.AskSpec{ID: "a-1", Role: "a", Count: 2, Submitted: at, Shape: shape, Payload: spec}
	task := cluster.TaskReport{Assignment: cluster.Assignment{
		Task: "a-1.1", Ask: "a-1", Index: 1, Role: "a", Node: "n", Resources: resource.Resources{"cpu": 1000}, Shape: shape, Payload: spec, Created: at,
	}, State: cluster.Running, Started: at, Cost: cluster.Cost{Guarded: true, Amount: 3}}
	return ask, task, wire
}

func unknownAsk(string) (s cluster.Shape, p *polderv1.TaskSpec, ok bool) { return s, p, false }

func sameTask(t *testing.T, key string, data []byte, want cluster.TaskReport) {
	t.Helper()
	r, err := decodeTask(key, data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.report(unknownAsk)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(reportProto(got), reportProto(want)) || got.Node != want.Node {
		t.Errorf("reads back as %v, want %v", got, want)
	}
}

func sameAsk(t *testing.T, data []byte, want cluster.AskSpec) {
	t.Helper()
	r, err := decodeAsk("/ask/a-1", data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.spec()
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(specOf(got.Payload), specOf(want.Payload)) || got.ID != want.ID || got.Count != want.Count || !got.Submitted.Equal(want.Submitted) || r.Name != "nightly" {
		t.Errorf("reads back as %+v by %+v, want %+v", got, r.askExtra, want)
	}
}

// TestRecordsReadBack: what is written down of asks and tasks is what is read, with the ask's record beside it or without.
func TestRecordsReadBack(t *testing.T) {
	ask, task, wire := recorded(t)
	data, err := encodeAsk(ask, cluster.AskState{}, askExtra{Name: "nightly"}, wire)
	if err != nil {
		t.Fatal(err)
	}
	sameAsk(t, data, ask)
	if data, err = encodeTask(&task, wire); err != nil {
		t.Fatal(err)
	}
	sameTask(t, "/task/a-1.1", data, task)
	for n := range data {
		if _, err := decodeTask("/task/a-1.1", data[:n]); err == nil {
			t.Errorf("a record of %d bytes is read although %d are missing", n, len(data)-n)
		}
	}
}

// TestLaunchOnTheWire: an agent reads the assignment it would get if its spec were not encoded apart.
func TestLaunchOnTheWire(t *testing.T) {
	_, task, _ := recorded(t)
	turn := &turn{leader: &leader{asks: map[string]askExtra{task.Ask: {}}}}
	want := assignmentProto(task.Assignment)
	for range 2 {
		data, err := proto.Marshal(turn.launch(&task.Assignment))
		if err != nil {
			t.Fatal(err)
		}
		got := &polderv1.ServerMessage{}
		if err := unmarshalProto(data, got); err != nil || !proto.Equal(got.GetLaunch(), want) {
			t.Errorf("it reads %v, %v; want %v", got, err, want)
		}
	}
}

// TestRecordsOfEarlierVersions: asks and tasks that were written as JSON are read.
func TestRecordsOfEarlierVersions(t *testing.T) {
	ask, task, _ := recorded(t)
	spec, err := protojson.Marshal(specOf(ask.Payload))
	if err != nil {
		t.Fatal(err)
	}
	data, err := encodeRecord(askRecord{ID: ask.ID, Role: ask.Role, Count: ask.Count, Submitted: ask.Submitted, Spec: spec, askExtra: askExtra{Name: "nightly"}})
	if err != nil {
		t.Fatal(err)
	}
	sameAsk(t, data, ask)
	task.Cost = cluster.Cost{} // costs are younger
	report, err := protojson.Marshal(reportProto(task))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = encodeRecord(taskRecord{Node: task.Node, Report: report}); err != nil {
		t.Fatal(err)
	}
	sameTask(t, "/task/a-1.1", data, task)
}

// TestHeads: the heads of records are what encoding/json would have written.
func TestHeads(t *testing.T) {
	text, number := rapid.String(), rapid.IntRange(0, 1<<40)
	rapid.Check(t, func(t *rapid.T) {
		same := func(got []byte, v any) {
			if want, err := json.Marshal(v); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("it is written as %s, want %s, %v", got, want, err)
			}
		}
		node := text.Draw(t, "node")
		same(appendTaskHead(nil, node), taskRecord{Node: node})
		r := askRecord{
			ID: text.Draw(t, "id"), Role: text.Draw(t, "role"), Count: number.Draw(t, "count"), Gang: rapid.Bool().Draw(t, "gang"), Earmark: rapid.Bool().Draw(t, "earmark"),
			Submitted: drawTime(t, "submitted").UTC(), askExtra: askExtra{Name: text.Draw(t, "name"), By: text.Draw(t, "by")},
			State: cluster.AskState{
				Next: number.Draw(t, "next"), Succeeded: number.Draw(t, "succeeded"), Failed: number.Draw(t, "failed"), Killed: number.Draw(t, "killed"),
				Cancelled: rapid.Bool().Draw(t, "cancelled"), Restarts: number.Draw(t, "restarts"),
			},
		}
		if rapid.Bool().Draw(t, "some wait again") {
			r.State.Returned = []cluster.Instance{{Index: 1}}
		}
		got, err := r.appendHead(nil)
		if err != nil {
			t.Fatal(err)
		}
		same(got, r)
	})
}
