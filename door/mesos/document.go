package mesos

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"polder.dev/polder/door/mesos/piece"
)

// parts are a document that is encoded already, to be written one after the other.
type parts [][]byte

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
	all, err := inParts(parts{[]byte(before)}, doc)
	if err != nil {
		return err
	}
	all = append(all, []byte(after))
	length := 0
	for _, part := range all {
		length += len(part)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(length)) // so it is not copied into chunks
	for _, part := range all {
		_, _ = w.Write(part) // the client is gone if this, or what follows, fails
	}
	return nil
}

// inParts encodes a document, without copying what is encoded already.
func inParts(all parts, doc any) (parts, error) {
	switch x := doc.(type) {
	case parts:
		return append(all, x...), nil
	case object:
		return objectInParts(all, x)
	case []object:
		return listInParts(all, x, objectInParts)
	case []json.RawMessage:
		return listInParts(all, x, func(all parts, data json.RawMessage) (parts, error) { return append(all, data), nil })
	}
	data, err := json.Marshal(doc)
	return append(all, data), err
}

func objectInParts(all parts, o object) (parts, error) {
	between := "{"
	for _, name := range slices.Sorted(maps.Keys(o)) {
		key := append(piece.AppendString([]byte(between), name), ':')
		var err error
		if all, err = inParts(append(all, key), o[name]); err != nil {
			return nil, err
		}
		between = ","
	}
	if between == "{" {
		return append(all, []byte("{}")), nil
	}
	return append(all, []byte("}")), nil
}

var comma = []byte(",")

func listInParts[T any](all parts, list []T, each func(parts, T) (parts, error)) (parts, error) {
	all = append(all, []byte("["))
	for i, x := range list {
		if i > 0 {
			all = append(all, comma)
		}
		var err error
		if all, err = each(all, x); err != nil {
			return nil, err
		}
	}
	return append(all, []byte("]")), nil
}
