package docker

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	runtime "polder.dev/polder/agent/runtime/docker"
)

// TestListedAsItCame: what the door has nothing to say about reaches the client unchanged, whatever texts are in it, and the rest is the door's.
func TestListedAsItCame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", `"`, `\`, `\"`, `}],{"Id":"x"`, "\u2028", "é", "a b\n"}))
		id, status, user := words.Draw(t, "id"), words.Draw(t, "status"), words.Draw(t, "label")
		other := thing{"Text": words.Draw(t, "text"), "List": []any{true, nil, 1.5, thing{words.Draw(t, "key"): []any{}}}}
		mount := func(at string) thing {
			return thing{"Type": "bind", "Source": words.Draw(t, "source"), "Destination": at}
		}
		row := thing{"Id": id, "Names": []any{"/one", "/one/two"}, "Created": json.Number("17"), "State": "running", "Status": status, "Other": other,
			"Mounts": []any{mount("/data"), mount(runtime.SandboxPath), mount("/more")},
			"Labels": thing{"user": user, labelSpec: words.Draw(t, "spec"), runtime.LabelContainer: "c1", runtime.LabelAgent: "n1", runtime.LabelRole: "team", "polder.node": "forged"}}
		l, err := listedIn([]byte(encode(row)), "e1")
		if err != nil {
			t.Fatal(err)
		}
		leases{}.show(&l)
		if want := (place{id: "c1", name: "one", role: "team", node: "n1", engine: id, host: "e1", weight: 17 + 1<<40}); l.at != want {
			t.Fatalf("it is at %+v, want %+v", l.at, want)
		}
		mounts := row["Mounts"].([]any)
		want := thing{"Id": "c1", "Names": []any{"/one", "/n1/one"}, "Created": 17.0, "State": "running", "Status": status, "Other": other, "Mounts": []any{mounts[0], mounts[2]},
			"Labels": thing{"user": user, runtime.LabelRole: "team", "polder.node": "n1"}}
		var got, expected []any
		if err := json.Unmarshal(inJSON([]listed{l, l}), &got); err != nil {
			t.Fatalf("%v: %s", err, inJSON([]listed{l}))
		}
		if err := json.Unmarshal([]byte(encode([]any{want, want})), &expected); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, expected) {
			t.Fatalf("the client gets %s", inJSON([]listed{l}))
		}
	})
}

// FuzzCut: a list of objects is cut as the JSON decoder cuts it; on what is no JSON it fails or does not, but ends.
func FuzzCut(f *testing.F) {
	for _, s := range []string{`[]`, `null`, ` [ { "a" : [1,{"b":"]}"}] , "c\"d":null }, {} ] `, `[{"a":"\\"},{"b":-1e5}]`, `[{"a"}]`, `[{]`, `["`, `[1 2]`, `[{"a":tru}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got [][2]string
		err := eachElement(data, func(raw []byte) error {
			return eachMember(raw, func(name, raw []byte) error {
				got = append(got, [2]string{unquoted(append(append([]byte{'"'}, name...), '"')), string(raw)})
				return nil
			})
		})
		var want []map[string]json.RawMessage
		if !utf8.Valid(data) || json.Unmarshal(data, &want) != nil {
			return // the decoder mends letters that are none
		}
		if err != nil {
			t.Fatalf("%q is not cut: %v", data, err)
		}
		last := map[string]string{} // of names that come twice the last counts
		n := 0
		for _, object := range want {
			n += len(object)
		}
		for _, m := range got {
			last[m[0]] = m[1]
		}
		if len(want) == 1 {
			for name, raw := range want[0] {
				if !bytes.Equal(raw, []byte(last[name])) {
					t.Fatalf("%q: %q is %q, want %q", data, name, last[name], raw)
				}
			}
		}
		if len(got) < n {
			t.Fatalf("%q has %d members, found are %d", data, n, len(got))
		}
	})
}
