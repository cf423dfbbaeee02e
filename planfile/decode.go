package planfile

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// maxValues bounds how many values one file may hold, aliases expanded.
const maxValues = 1 << 18

// decoder fills Go values from YAML nodes by the same json tags that the plan's JSON form goes by. It notes the line of
// every value and goes on after a problem, so that all are found at once. How deep it recurses is bounded by the types.
type decoder struct {
	what     string // what the file is, for people
	problems []Problem
	lines    map[string]int // by path
	budget   int            // values left
}

func (d *decoder) fail(n *yaml.Node, at, format string, args ...any) {
	d.problems = append(d.problems, Problem{n.Line, role.Problem{Path: at, Message: fmt.Sprintf(format, args...)}})
}

// decode reads node n into v; at is the path of both.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, at string) {
	if d.budget--; d.budget <= 0 {
		if d.budget == 0 {
			d.fail(n, at, "the %s holds more than %d values", d.what, maxValues)
		}
		return
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if _, ok := d.lines[at]; !ok {
		d.lines[at] = n.Line
	}
	switch target := v.Addr().Interface().(type) {
	case *resource.Resources:
		d.resources(n, target, at)
		return
	case *role.Share:
		if n.Kind == yaml.MappingNode {
			d.resources(n, &target.Amounts, at)
			return
		}
	}
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), at)
	case isScalar(v):
		d.scalar(n, v, at)
	case isNull(n): // an entry with nothing written, as in "corp:"
	case v.Kind() == reflect.Struct:
		d.object(n, v, at)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, at)
	default:
		d.list(n, v, at)
	}
}

// isScalar reports whether values of v's type are written as one word.
func isScalar(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler, json.Unmarshaler:
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Int, reflect.Bool, reflect.Float64:
		return true
	}
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// scalar reads one word as its type does: what YAML would make of it (a date, a number, a boolean) does not matter.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, at string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.fail(n, at, "want one value, not %s", describe(n))
		return
	}
	var err error
	switch target := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		err = target.UnmarshalText([]byte(n.Value))
	case json.Unmarshaler:
		quoted, _ := json.Marshal(n.Value) // of a string: cannot fail
		err = target.UnmarshalJSON(quoted)
	default:
		err = setBasic(v, n.Value)
	}
	if err != nil {
		d.fail(n, at, "%v", err)
	}
}

func setBasic(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
		return nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(f)
		return nil
	}
	i, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a whole number", text)
	}
	v.SetInt(i)
	return nil
}

// entries calls f for every key of a mapping, once; path is that of its value.
func (d *decoder) entries(n *yaml.Node, at string, f func(key, path string, k, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, at, "want a mapping such as {name: value}, not %s", describe(n))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		path := role.JoinKey(at, k.Value)
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			d.fail(k, at, "a key is one word; %s is not", describe(k))
			continue
		}
		if line, dup := first[k.Value]; dup {
			d.fail(k, path, "given twice, first in line %d", line)
			continue
		}
		first[k.Value] = k.Line
		d.lines[path] = k.Line
		f(k.Value, path, k, value)
	}
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, at string) {
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue // not for files
		}
		fields[name] = i
		names = append(names, name)
	}
	d.entries(n, at, func(key, path string, k, value *yaml.Node) {
		if i, ok := fields[key]; ok {
			d.decode(value, v.Field(i), path)
		} else {
			d.fail(k, path, "unknown field %q; known here: %s", key, strings.Join(names, ", "))
		}
	})
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, at string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(n, at, func(key, path string, _, value *yaml.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, elem, path)
		v.SetMapIndex(reflect.ValueOf(key), elem)
	})
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, at string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, at, "want a list, not %s", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.decode(item, v.Index(i), role.JoinIndex(at, i))
	}
}

// resources reads amounts key by key, so that each has its line.
func (d *decoder) resources(n *yaml.Node, r *resource.Resources, at string) {
	*r = resource.Resources{}
	d.entries(n, at, func(key, path string, _, value *yaml.Node) {
		d.budget--
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind != yaml.ScalarNode {
			d.fail(value, path, "want an amount such as 2, 500m or 4Gi, not %s", describe(value))
			return
		}
		a, err := resource.ParseValue(key, value.Value)
		if err != nil {
			d.fail(value, path, "%v", err)
		}
		(*r)[key] = a
	})
}

// describe says in words what a node is.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case isNull(n):
		return "nothing"
	}
	return fmt.Sprintf("%q", n.Value)
}
