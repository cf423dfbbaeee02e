package mesos

import (
	"bufio"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// taskDocs are documents of tasks, each by its task's id. They are put in order when they are written, which is after the books are let go.
type taskDocs []taskDocument

type taskDocument struct {
	id   string
	data json.RawMessage
}

// document is the task as /state and /tasks show it. It is made once for every state the task is in: tools ask for all of them every few seconds.
// The door's mutex is held.
func (t *task) document() json.RawMessage {
	if t.doc == nil {
		var err error
		if t.doc, err = json.Marshal(taskDoc(t)); err != nil { // a number that JSON has none for, from an executor
			t.doc, _ = json.Marshal(object{"id": t.id(), "framework_id": t.fw.id, "slave_id": t.node, "state": t.state.String()})
		}
	}
	return t.doc
}

// held is what the task takes of its node.
func (t *task) held() amounts {
	if t.takes == nil {
		w, _ := wantedOf(t.info.GetResources()) // it was checked when it was launched
		t.takes = w.amounts
	}
	return t.takes
}

// writeDoc writes a document, as a script when a page asks for one.
func writeDoc(w http.ResponseWriter, r *http.Request, doc any) error {
	name := r.URL.Query().Get("jsonp")
	kind, before, after := "application/json", "", ""
	switch {
	case name == "":
	case callback.MatchString(name):
		kind, before, after = "text/javascript", name+"(", ");"
	default:
		return answer(http.StatusBadRequest, "jsonp: %.40q is not the name of a function", name)
	}
	rest, err := inParts(nil, doc)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.WriteString(before) // the client is gone if this, or what follows, fails
	for _, part := range rest {
		_, _ = out.Write(part)
	}
	_, _ = out.WriteString(after)
	_ = out.Flush()
	return nil
}

// inParts encodes a document, without copying what is encoded already.
func inParts(parts [][]byte, doc any) ([][]byte, error) {
	switch x := doc.(type) {
	case object:
		return objectInParts(parts, x)
	case []object:
		return listInParts(parts, x, func(parts [][]byte, o object) ([][]byte, error) { return objectInParts(parts, o) })
	case taskDocs:
		slices.SortFunc(x, func(a, b taskDocument) int { return strings.Compare(a.id, b.id) })
		return listInParts(parts, x, func(parts [][]byte, t taskDocument) ([][]byte, error) { return append(parts, t.data), nil })
	case []json.RawMessage:
		return listInParts(parts, x, func(parts [][]byte, data json.RawMessage) ([][]byte, error) { return append(parts, data), nil })
	}
	data, err := json.Marshal(doc)
	return append(parts, data), err
}

func objectInParts(parts [][]byte, o object) ([][]byte, error) {
	between := "{"
	for _, name := range slices.Sorted(maps.Keys(o)) {
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		if parts, err = inParts(append(parts, slices.Concat([]byte(between), key, []byte(":"))), o[name]); err != nil {
			return nil, err
		}
		between = ","
	}
	if between == "{" {
		return append(parts, []byte("{}")), nil
	}
	return append(parts, []byte("}")), nil
}

var comma = []byte(",")

func listInParts[T any](parts [][]byte, list []T, each func([][]byte, T) ([][]byte, error)) ([][]byte, error) {
	parts = append(parts, []byte("["))
	for i, x := range list {
		if i > 0 {
			parts = append(parts, comma)
		}
		var err error
		if parts, err = each(parts, x); err != nil {
			return nil, err
		}
	}
	return append(parts, []byte("]")), nil
}
