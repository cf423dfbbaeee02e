package wire

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// TestAppendJSON: the dialect, one rule a line.
func TestAppendJSON(t *testing.T) {
	tests := []struct {
		name, want string
		m          proto.Message
	}{
		{"defaults are written", `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false}`,
			&mesosv1.FrameworkInfo{User: new("u"), Name: new("n")}},
		{"64-bit integers are numbers", `{"nanoseconds":9007199254740993}`, &mesosv1.TimeInfo{Nanoseconds: new(int64(9007199254740993))}},
		{"whole fractions keep a point", `{"value":2.0}`, &mesosv1.Value_Scalar{Value: new(2.0)}},
		{"fractions are short", `{"value":0.1}`, &mesosv1.Value_Scalar{Value: new(0.1)}},
		{"infinity is a word", `{"value":"Infinity"}`, &mesosv1.Value_Scalar{Value: new(math.Inf(1))}},
		{"enumerations by name, bytes as base64", `{"task_id":{"value":"t"},"state":"TASK_RUNNING","uuid":"AAH/"}`,
			&mesosv1.TaskStatus{TaskId: &mesosv1.TaskID{Value: new("t")}, State: mesosv1.TaskState_TASK_RUNNING.Enum(), Uuid: []byte{0, 1, 255}}},
		{"empty lists are left out, messages kept", `{}`, &mesosv1.Labels{}},
		{"maps are objects", `{"role_constraints":{"a":{}}}`,
			&schedulerv1.OfferConstraints{RoleConstraints: map[string]*schedulerv1.OfferConstraints_RoleConstraints{"a": {}}}},
		{"strings stay on one line", `{"value":"a\"\\\n\u0001ü"}`, &mesosv1.TaskID{Value: new("a\"\\\n\x01ü")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := string(AppendJSON(nil, test.m)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestUnmarshalJSON: what is read leniently, and what is not read at all.
func TestUnmarshalJSON(t *testing.T) {
	tests := []struct {
		name, in, want, err string
	}{
		{"unknown fields", `{"value":1.5,"other":{"a":[1,{"b":null}],"c":"\u00e9"},"third":true}`, `{"value":1.5}`, ""},
		{"camel case is unknown", `{"value":1,"refuseSeconds":3}`, `{"value":1.0}`, ""},
		{"a number in quotes", `{"value":"2.5"}`, `{"value":2.5}`, ""},
		{"infinity", `{"value":"-Infinity"}`, `{"value":"-Infinity"}`, ""},
		{"white space", " {\r\n\t\"value\" : 1 } ", `{"value":1.0}`, ""},
		{"the last of two", `{"value":1,"value":2}`, `{"value":2.0}`, ""},
		{"required and null", `{"value":null}`, "", "required"},
		{"nothing", ``, "", "ends in the middle"},
		{"half", `{"value":1`, "", "ends in the middle"},
		{"more", `{"value":1} x`, "", "something follows"},
		{"a word", `{"value":"NaNo"}`, "", "not a number"},
		{"hexadecimal", `{"value":"0x10"}`, "", "not a number"},
		{"an object", `{"value":{}}`, "", "single value"},
		{"a list", `[]`, "", "belongs"},
		{"deep", `{"x":` + strings.Repeat("[", 10_000), "", "deep"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &mesosv1.Value_Scalar{}
			err := UnmarshalJSON([]byte(test.in), m)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if got := string(AppendJSON(nil, m)); err != nil || got != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// TestLenientKinds: kinds of values beyond a single number.
func TestLenientKinds(t *testing.T) {
	tests := []struct {
		name, in, want, err string
		m                   proto.Message
	}{
		{"a lone value for a list", `{"labels":{"key":"a"}}`, `{"labels":[{"key":"a"}]}`, "", &mesosv1.Labels{}},
		{"a boolean in quotes", `{"user":"u","name":"n","checkpoint":"true"}`, `{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":true}`, "", &mesosv1.FrameworkInfo{}},
		{"an enumeration nobody knows", `{"type":"NEW"}`, `{}`, "", &schedulerv1.Call{}},
		{"an enumeration nobody knows, required", `{"task_id":{"value":"t"},"state":"NEW"}`, "", "no TaskState", &mesosv1.TaskStatus{}},
		{"whole numbers as fractions", `{"nanoseconds":1e3}`, `{"nanoseconds":1000}`, "", &mesosv1.TimeInfo{}},
		{"fractions as whole numbers", `{"nanoseconds":1.5}`, "", "whole number", &mesosv1.TimeInfo{}},
		{"too large", `{"begin":1,"end":18446744073709551616}`, "", "whole number", &mesosv1.Value_Range{}},
		{"negative", `{"begin":-1,"end":1}`, "", "between", &mesosv1.Value_Range{}},
		{"surrogates", `{"value":"\ud83d\ude00\ud83d"}`, "{\"value\":\"😀\uFFFD\"}", "", &mesosv1.TaskID{}},
		{"an escape there is not", `{"value":"\q"}`, "", "no escape", &mesosv1.TaskID{}},
		{"bytes that are none", `{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"*"}`, "", "base64", &schedulerv1.Call_Acknowledge{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := UnmarshalJSON([]byte(test.in), test.m)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if got := string(AppendJSON(nil, test.m)); err != nil || got != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// FuzzJSON: whatever is read is written as JSON on one line that reads as the same message, here and by protobuf's own
// reader; nothing makes it panic.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"framework_id":{"value":"f"},"type":"ACCEPT","accept":{"offer_ids":[{"value":"o"}],"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"a"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5}},{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":2}]}}],"limits":{"cpus":{"value":"Infinity"}}}]}}],"filters":{"refuse_seconds":1e300}}}`,
		`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","capabilities":{"type":"MULTI_ROLE"}},"suppressed_roles":"a"}}`,
		`{"type":2,"x":[[[]]],"y":"\ud800\u00e9"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &schedulerv1.Call{}
		if UnmarshalJSON(data, m) != nil {
			return
		}
		out := AppendJSON(nil, m)
		if !json.Valid(out) || strings.ContainsRune(string(out), '\n') {
			t.Fatalf("not JSON on one line: %s", out)
		}
		for name, read := range map[string]func([]byte, proto.Message) error{
			"here": UnmarshalJSON,
			"protojson": func(b []byte, m proto.Message) error {
				return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
			},
		} {
			again := &schedulerv1.Call{}
			if err := read(out, again); err != nil {
				t.Fatalf("%s cannot read %s: %v", name, out, err)
			}
			if a, b := AppendJSON(nil, m), AppendJSON(nil, again); len(a) != len(b) { // maps have no order
				t.Fatalf("%s reads\n%s\nas\n%s", name, a, b)
			}
		}
	})
}

// FuzzProtobuf: a message that comes as protobuf and goes out as JSON comes back the same.
func FuzzProtobuf(f *testing.F) {
	seed, err := proto.Marshal(&schedulerv1.Call{Type: schedulerv1.Call_KILL.Enum(), Kill: &schedulerv1.Call_Kill{TaskId: &mesosv1.TaskID{Value: new("t")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &schedulerv1.Call{}
		if Protobuf.Unmarshal(data, m) != nil {
			return
		}
		out := AppendJSON(nil, m)
		if !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
	})
}

func offers(n int) *schedulerv1.Event {
	e := &schedulerv1.Event{Type: schedulerv1.Event_OFFERS.Enum(), Offers: &schedulerv1.Event_Offers{}}
	for range n {
		e.Offers.Offers = append(e.Offers.Offers, &mesosv1.Offer{
			Id: &mesosv1.OfferID{Value: new("0b5a2b5e-9a4e-4a50-8a3b-0c8a8e1f9c11-O123456")}, FrameworkId: &mesosv1.FrameworkID{Value: new("0b5a2b5e-9a4e-4a50-8a3b-0c8a8e1f9c11-0001")},
			AgentId: &mesosv1.AgentID{Value: new("node-1234")}, Hostname: new("node-1234"),
			Resources: []*mesosv1.Resource{
				{Name: new("cpus"), Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: new(3.5)}, Role: new("*")},
				{Name: new("mem"), Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: new(4096.0)}, Role: new("*")},
				{Name: new("ports"), Type: mesosv1.Value_RANGES.Enum(), Ranges: &mesosv1.Value_Ranges{Range: []*mesosv1.Value_Range{{Begin: new(uint64(31000)), End: new(uint64(32000))}}}, Role: new("*")},
			},
		})
	}
	return e
}

// BenchmarkWriteOffers compares the ways of writing an event with a hundred offers.
func BenchmarkWriteOffers(b *testing.B) {
	e := offers(100)
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for b.Loop() {
			out = AppendJSON(out[:0], e)
		}
		b.SetBytes(int64(len(out)))
	})
	b.Run("protojson", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (protojson.MarshalOptions{UseProtoNames: true}).Marshal(e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("protobuf", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for b.Loop() {
			out, _ = Protobuf.Append(out[:0], e)
		}
	})
}

// BenchmarkReadOffers compares the ways of reading it.
func BenchmarkReadOffers(b *testing.B) {
	data := AppendJSON(nil, offers(100))
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := UnmarshalJSON(data, &schedulerv1.Event{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("protojson", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := protojson.Unmarshal(data, &schedulerv1.Event{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
