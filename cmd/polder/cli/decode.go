package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// maxNodes bounds how much one document may hold after its aliases are followed.
const maxNodes = 200_000

// decodeAsks reads asks from YAML or JSON: each document is one ask, or a list of them under "asks". It is strict:
// unknown fields, fields given twice and values of the wrong kind are errors with file, line and path.
func decodeAsks(file string, r io.Reader) ([]*polderv1.AskSpec, error) {
	var out []*polderv1.AskSpec
	err := documents(file, r, func(d *decoder, n *yaml.Node) error {
		if isList(n) {
			var req polderv1.SubmitRequest
			if err := d.message(n, req.ProtoReflect(), ""); err != nil {
				return err
			}
			if req.DryRun || req.IdempotencyKey != "" {
				return d.errorf(n, "", "dryRun and idempotencyKey are flags of the command, not fields of the file")
			}
			out = append(out, req.Asks...)
			return nil
		}
		ask := &polderv1.AskSpec{}
		out = append(out, ask)
		return d.message(n, ask.ProtoReflect(), "")
	})
	if err == nil && len(out) == 0 {
		err = fail(exitUsage, "Write at least role, task.resources and task.command.", "%s: no asks in it", file)
	}
	return out, err
}

// isList reports whether a document is a list of asks.
func isList(n *yaml.Node) bool {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == "asks" {
			return true
		}
	}
	return false
}

// decodeOne reads a single document into m, as strictly.
func decodeOne(file string, r io.Reader, m proto.Message) error {
	seen := 0
	err := documents(file, r, func(d *decoder, n *yaml.Node) error {
		if seen++; seen > 1 {
			return d.errorf(n, "", "one document is enough")
		}
		return d.message(n, m.ProtoReflect(), "")
	})
	if err == nil && seen == 0 {
		err = fail(exitUsage, "", "%s is empty", file)
	}
	return err
}

// documents calls f for each YAML document that is not empty.
func documents(file string, r io.Reader, f func(*decoder, *yaml.Node) error) error {
	dec := yaml.NewDecoder(r)
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fail(exitUsage, "Correct the YAML there.", "%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue
		}
		if err := f(&decoder{file: file}, doc.Content[0]); err != nil {
			return err
		}
	}
}

// decoder fills messages from YAML nodes by the messages' own descriptors. Field names are those of the API's JSON.
type decoder struct {
	file  string
	nodes int
}

func (d *decoder) errorf(n *yaml.Node, path, format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	if path != "" {
		why = path + ": " + why
	}
	return fail(exitUsage, "Correct that line and try again.", "%s:%d: %s", d.file, n.Line, why)
}

// follow resolves an alias and counts what was visited: aliases of aliases can make a short text huge.
func (d *decoder) follow(n *yaml.Node, path string) (*yaml.Node, error) {
	if d.nodes++; d.nodes > maxNodes {
		return nil, d.errorf(n, path, "more than %d values", maxNodes)
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias, nil
	}
	return n, nil
}

// pairs calls f for each key of a mapping; keys are scalars and no key comes twice.
func (d *decoder) pairs(n *yaml.Node, path string, f func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return d.errorf(n, path, "want fields, not %s", describe(n))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return d.errorf(key, path, "a field's name must be a word")
		}
		if seen[key.Value] {
			return d.errorf(key, join(path, key.Value), "given twice")
		}
		seen[key.Value] = true
		value, err := d.follow(value, join(path, key.Value))
		if err == nil {
			err = f(key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) message(n *yaml.Node, m protoreflect.Message, path string) error {
	return d.pairs(n, path, func(key, value *yaml.Node) error {
		at := join(path, key.Value)
		fd := m.Descriptor().Fields().ByJSONName(key.Value)
		if fd == nil {
			return d.errorf(key, at, "unknown field%s", suggestion(m.Descriptor(), key.Value))
		}
		if value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
			return d.errorf(value, at, "has no value; leave the line out or give one")
		}
		switch {
		case fd.IsMap():
			return d.mapping(value, m.Mutable(fd).Map(), fd, at)
		case fd.IsList():
			return d.sequence(value, m.Mutable(fd).List(), fd, at)
		}
		v, err := d.value(value, fd, m.NewField(fd), at)
		if err == nil {
			m.Set(fd, v)
		}
		return err
	})
}

func (d *decoder) mapping(n *yaml.Node, m protoreflect.Map, fd protoreflect.FieldDescriptor, path string) error {
	return d.pairs(n, path, func(key, value *yaml.Node) error {
		v, err := d.value(value, fd.MapValue(), m.NewValue(), join(path, key.Value))
		if err == nil {
			m.Set(protoreflect.ValueOfString(key.Value).MapKey(), v)
		}
		return err
	})
}

func (d *decoder) sequence(n *yaml.Node, l protoreflect.List, fd protoreflect.FieldDescriptor, path string) error {
	if n.Kind != yaml.SequenceNode {
		return d.errorf(n, path, "want a list, not %s", describe(n))
	}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		item, err := d.follow(item, at)
		if err != nil {
			return err
		}
		v, err := d.value(item, fd, l.NewElement(), at)
		if err != nil {
			return err
		}
		l.Append(v)
	}
	return nil
}

// value reads one value of the field's kind; empty is a new, empty value of it.
func (d *decoder) value(n *yaml.Node, fd protoreflect.FieldDescriptor, empty protoreflect.Value, path string) (protoreflect.Value, error) {
	if fd.Kind() == protoreflect.MessageKind {
		if _, ok := empty.Message().Interface().(*durationpb.Duration); ok {
			return d.duration(n, path)
		}
		return empty, d.message(n, empty.Message(), path)
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return empty, d.errorf(n, path, "want %s, not %s", fd.Kind(), describe(n))
	}
	v, err := scalar(n, fd.Kind())
	if err != nil {
		return empty, d.errorf(n, path, "%q is not a valid %s", n.Value, fd.Kind())
	}
	return v, nil
}

// scalar reads a number, a truth value or a text. Any plain scalar is a text as written, so that "cpu: 2" needs no quotes.
func scalar(n *yaml.Node, kind protoreflect.Kind) (protoreflect.Value, error) {
	switch kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(n.Value), nil
	case protoreflect.BoolKind:
		b, err := strconv.ParseBool(n.Value)
		if n.Tag != "!!bool" {
			err = strconv.ErrSyntax
		}
		return protoreflect.ValueOfBool(b), err
	case protoreflect.Uint32Kind:
		u, err := strconv.ParseUint(n.Value, 10, 32)
		return protoreflect.ValueOfUint32(uint32(u)), err
	case protoreflect.Int32Kind:
		i, err := strconv.ParseInt(n.Value, 10, 32)
		return protoreflect.ValueOfInt32(int32(i)), err
	case protoreflect.Int64Kind:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		return protoreflect.ValueOfInt64(i), err
	}
	return protoreflect.Value{}, fmt.Errorf("no way to write a %s", kind)
}

func (d *decoder) duration(n *yaml.Node, path string) (protoreflect.Value, error) {
	t, err := time.ParseDuration(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return protoreflect.Value{}, d.errorf(n, path, "want a duration such as 30s or 5m, not %s", describe(n))
	}
	return protoreflect.ValueOfMessage(durationpb.New(t).ProtoReflect()), nil
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "fields"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// suggestion names the field that was probably meant.
func suggestion(m protoreflect.MessageDescriptor, name string) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	best, bestAt := "", 3
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i).JSONName()
		if n := distance(plain(field), plain(name)); n < bestAt {
			best, bestAt = field, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of letters to insert, delete or replace to make b of a. Words that differ a lot in length are
// not compared.
func distance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
