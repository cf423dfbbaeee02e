package server

import (
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
)

func TestUnknownFieldsInJSON(t *testing.T) {
	for body, want := range map[string]string{
		`{"asks":[{},{"task":{"comand":["x"]}}]}`:      "asks[1].task.comand",
		`{"asks":[{"task":{"health":{"retries":3}}}]}`: "asks[0].task.health.retries",
		`{"dryRum":true}`: "dryRum",
		`{"asks":[{"task":{"resources":{"cpu":"1"},"x y":1}}]}`:         `asks[0].task["x y"]`,
		`{"asks":[{"task":{"kill":{"grace":"10s","sig":"SIGTERM"}}}]} `: "asks[0].task.kill.sig",
		`{"asks":[{"task":{"priority":"high"}}]}`:                       "invalid value for int32",
		`{"asks":`: "unexpected",
		``:         "empty",
		`{"asks":[{"task":{"env":{"A":"b"},"requeue":true,"ports":1}}]}`: "syntax error",
	} {
		err := unmarshalJSON([]byte(body), &polderv1.SubmitRequest{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	ok := `{"asks":[{"name":"a","task":{"command":["x"],"kill":{"grace":"10s"},"env":{"anything":"goes"}}}],"dry_run":true}`
	if err := unmarshalJSON([]byte(ok), &polderv1.SubmitRequest{}); err != nil {
		t.Error(err)
	}
}

func TestUnknownFieldsInBinary(t *testing.T) {
	extra := protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1)
	spec, err := proto.Marshal(&polderv1.TaskSpec{Image: "x"})
	if err != nil {
		t.Fatal(err)
	}
	ask := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), append(spec, extra...))
	submit := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), ask)
	err = unmarshalProto(submit, &polderv1.SubmitRequest{})
	if err == nil || !strings.Contains(err.Error(), "999") || !strings.Contains(err.Error(), "asks[0].task") {
		t.Errorf("inside: %v", err)
	}
	if err := unmarshalProto(extra, &polderv1.SubmitRequest{}); err == nil || !strings.Contains(err.Error(), "SubmitRequest") {
		t.Errorf("outside: %v", err)
	}
	usage := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), extra)
	entry := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), append([]byte{10, 1, 'a'}, usage...))
	if err := unmarshalProto(entry, &polderv1.Heartbeat{}); err == nil || !strings.Contains(err.Error(), "usage.a") {
		t.Errorf("in a map: %v", err)
	}
}

// TestUnknownFieldsOverTheWire: both codecs are in use, for calls and for streams.
func TestUnknownFieldsOverTheWire(t *testing.T) {
	w := newWorld(t, nil)
	h := w.as(w.admin).http
	for procedure, stream := range map[string]bool{
		"/polder.v1.AccessService/WhoAmI": false, "/polder.v1.EventService/Watch": true, "/polder.v1.TaskService/Exec": true,
	} {
		if code := raw(t, h, procedure, stream, `{"nobody":"knows"}`); code != "invalid_argument" {
			t.Errorf("%s answers %q", procedure, code)
		}
	}
	c := newClient(h, connect.WithProtoJSON())
	if who := call(t, c.access.WhoAmI, &polderv1.WhoAmIRequest{}); who.Name != "admin" {
		t.Errorf("I am %v", who)
	}
	c = newClient(h, connect.WithGRPC())
	if who := call(t, c.access.WhoAmI, &polderv1.WhoAmIRequest{}); who.Name != "admin" {
		t.Errorf("I am %v", who)
	}
	m := &polderv1.WhoAmIRequest{}
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1))
	refusal(t, connect.CodeInvalidArgument, c.access.WhoAmI, m)
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"asks":[{"role":"a","task":{"command":["x"],"resources":{"cpu":"1"}}}]}`))
	f.Add([]byte(`{"asks":[{"x":1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &polderv1.SubmitRequest{}
		if unmarshalJSON(data, m) != nil {
			return
		}
		out, err := strictJSON{"json"}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again := &polderv1.SubmitRequest{}
		if err := unmarshalJSON(out, again); err != nil || !proto.Equal(m, again) {
			t.Fatalf("%s reads back as %v: %v", out, again, err)
		}
		for _, a := range m.Asks {
			shapeOf(a.GetTask(), "task") // must not panic
		}
	})
}

func FuzzProto(f *testing.F) {
	seed, _ := proto.Marshal(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: &polderv1.Hello{
		Node: "n", Capacity: map[string]string{"cpu": "1"}, Tasks: []*polderv1.TaskReport{{Assignment: &polderv1.Assignment{Task: "a.0"}}},
	}}})
	f.Add(seed)
	nobody := func(string) (s cluster.Shape, p *polderv1.TaskSpec, ok bool) { return s, p, false }
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &polderv1.AgentMessage{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		if unknown := refuseUnknown(m.ProtoReflect(), ""); hasUnknown(m.ProtoReflect()) != (unknown != nil) {
			t.Fatalf("%v: %v", m, unknown)
		} else if unknown != nil {
			return
		}
		if h := m.GetHello(); h != nil {
			helloCore(h) // must not panic
			for _, r := range h.Tasks {
				reportCore(h.Node, r, nobody)
			}
		}
		if r := m.GetReport(); r != nil {
			if core, err := reportCore("n", r, nobody); err == nil {
				if again, err := reportCore("n", reportProto(core), nobody); err != nil || again.Task != core.Task || again.State != core.State {
					t.Fatalf("%v reads back as %v: %v", core, again, err)
				}
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("\x01{\"id\":\"a-1\",\"role\":\"a\",\"count\":1,\"spec\":{\"command\":[\"x\"]},\"state\":{}}"))
	f.Add([]byte("\x02\x12{\"node\":\"n\",\"x\":1}\x02\x0a\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := decodeAsk("/ask/a-1", data); err == nil {
			a.spec() // must not panic
		}
		var n nodeRecord
		if decodeRecord("/node/n", data, &n) == nil {
			n.info()
		}
		if k, err := decodeTask("/task/t", data); err == nil {
			k.report(func(string) (s cluster.Shape, p *polderv1.TaskSpec, ok bool) { return s, p, false })
		}
		var p planRecord
		decodeRecord("/plan/1", data, &p)
	})
}
