package fields

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Treatment is what becomes of a field that is set.
type Treatment string

// The treatments. Fields without a value are always fine: clients send many of them.
const (
	Works   Treatment = "works"    // goes to the engine as it is
	Pool    Treatment = "the pool" // the pool sees to it, or the door translates it
	Host    Treatment = "host"     // works for callers with the permission "host" on the role
	Judged  Treatment = "depends"  // on the value
	Refused Treatment = "refused"
	Nested  Treatment = "" // its own fields have rows
)

// Row is a line of a table.
type Row struct {
	Treatment Treatment
	Note      string // why, or how
	// free values are not looked into: maps with keys of the user's choice, lists of words.
	free bool
	// judge decides about a value that is set; it returns the treatment and, when that is Refused, why.
	judge func(v any) (Treatment, string)
	// meant fields mean something even when they are empty; only null is no value.
	meant bool
}

// Table is what may be in a JSON object: rows by path, as in "HostConfig.Mounts[].Type". "*" stands for any key.
type Table map[string]Row

// Verdict is what checking found.
type Verdict struct {
	// Host are the fields that only callers with that permission get.
	Host []string
}

// Error is a field that cannot be.
type Error struct{ Field, Why string }

// Error reads "HostConfig.Privileged: why".
func (e *Error) Error() string { return e.Field + ": " + e.Why }

// Check judges a decoded object; the error is an [*Error] for the first field, in order of name, that is refused.
func (t Table) Check(tree map[string]any) (Verdict, error) {
	v := Verdict{}
	return v, t.object(tree, "", "", &v)
}

func (t Table) object(tree map[string]any, row, path string, v *Verdict) error {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		name := join(row, key)
		if _, ok := t[name]; !ok {
			if _, any := t[join(row, "*")]; any {
				name = join(row, "*")
			}
		}
		if err := t.field(tree[key], name, join(path, key), v); err != nil {
			return err
		}
	}
	return nil
}

func (t Table) field(x any, name, path string, v *Verdict) error {
	row, ok := t[name]
	if !ok {
		return &Error{path, t.unknown(name)}
	}
	if x == nil || Zero(x) && !row.meant && row.Treatment != Nested {
		return nil
	}
	treatment, why := row.Treatment, row.Note
	if row.judge != nil {
		treatment, why = row.judge(x)
	}
	switch treatment {
	case Refused:
		return &Error{path, why}
	case Host:
		v.Host = append(v.Host, path)
	}
	if row.free {
		return nil
	}
	return t.inside(x, name, path, v)
}

// inside looks into a value whose own fields have rows.
func (t Table) inside(x any, name, path string, v *Verdict) error {
	switch x := x.(type) {
	case map[string]any:
		return t.object(x, name, path, v)
	case []any:
		for i, item := range x {
			if m, ok := item.(map[string]any); ok {
				if err := t.object(m, name+"[]", fmt.Sprintf("%s[%d]", path, i), v); err != nil {
					return err
				}
			} else if _, list := item.([]any); list {
				return &Error{path, "a list in a list is nothing the engine knows"}
			}
		}
	}
	return nil
}

// unknown says why a field without a row is refused; an engine would take one that only differs in case.
func (t Table) unknown(name string) string {
	for known := range t {
		if strings.EqualFold(known, name) {
			return "write it " + known[strings.LastIndex(known, ".")+1:]
		}
	}
	return "this is not a field that Polder knows; nothing is dropped silently"
}

// Zero reports whether a JSON value is no more than its default.
func Zero(x any) bool {
	switch x := x.(type) {
	case nil:
		return true
	case bool:
		return !x
	case string:
		return x == ""
	case json.Number:
		f, err := x.Float64()
		return err == nil && f == 0
	case []any:
		return len(x) == 0
	case map[string]any:
		for _, v := range x {
			if !Zero(v) {
				return false
			}
		}
		return len(x) == 0 || !keyed(x)
	}
	return false
}

// keyed reports whether an object's keys are values themselves, as in {"80/tcp": {}}.
func keyed(x map[string]any) bool {
	for key := range x {
		if key == "" || key[0] < 'A' || key[0] > 'Z' {
			return true
		}
	}
	return false
}
