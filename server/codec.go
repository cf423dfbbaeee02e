package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"polder.dev/polder/core/role"
)

// codecs replace the ones of connect with ones that refuse fields they do not know.
func codecs() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithCodec(strictProto{}),
		connect.WithCodec(strictJSON{"json"}),
		connect.WithCodec(strictJSON{"json; charset=utf-8"}),
	}
}

type strictProto struct{}

func (strictProto) Name() string { return "proto" }

func (strictProto) Marshal(message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(m)
}

// MarshalAppend lets connect write a message into a buffer that it has, instead of one of the message's own.
func (strictProto) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

func (strictProto) Unmarshal(data []byte, message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	return unmarshalProto(data, m)
}

// unmarshalProto decodes the binary form; a field that the message does not define is an error that names its path.
func unmarshalProto(data []byte, m proto.Message) error {
	if err := proto.Unmarshal(data, m); err != nil {
		return err
	}
	if r := m.ProtoReflect(); hasUnknown(r) {
		return refuseUnknown(r, "")
	}
	return nil
}

// nested is, by descriptor of a message, its fields that hold messages.
var nested sync.Map

func nestedFields(d protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if known, ok := nested.Load(d); ok {
		return known.([]protoreflect.FieldDescriptor)
	}
	var out []protoreflect.FieldDescriptor
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Message() != nil && (!f.IsMap() || f.MapValue().Message() != nil) {
			out = append(out, f)
		}
	}
	nested.Store(d, out)
	return out
}

// hasUnknown reports whether a message, or one inside it, has a field it does not define. It is asked of every message, so it looks
// only where messages can be, and names nothing.
func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	for _, f := range nestedFields(m.Descriptor()) {
		if m.Has(f) && hasUnknownIn(f, m.Get(f)) {
			return true
		}
	}
	return false
}

func hasUnknownIn(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	switch {
	case f.IsMap():
		found := false
		v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
			found = hasUnknown(e.Message())
			return !found
		})
		return found
	case f.IsList():
		for i := range v.List().Len() {
			if hasUnknown(v.List().Get(i).Message()) {
				return true
			}
		}
		return false
	}
	return hasUnknown(v.Message())
}

// refuseUnknown looks for fields that a message, or one inside it, does not define.
func refuseUnknown(m protoreflect.Message, at string) error {
	if raw := m.GetUnknown(); len(raw) > 0 {
		number, _, _ := protowire.ConsumeTag(raw)
		return fmt.Errorf("unknown field number %d in %s%s", number, m.Descriptor().Name(), inside(at))
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		err = refuseUnknownIn(f, v, role.JoinKey(at, string(f.Name())))
		return err == nil
	})
	return err
}

func refuseUnknownIn(f protoreflect.FieldDescriptor, v protoreflect.Value, at string) error {
	var err error
	switch {
	case f.IsMap():
		if f.MapValue().Message() == nil {
			return nil
		}
		v.Map().Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
			err = refuseUnknown(e.Message(), role.JoinKey(at, k.String()))
			return err == nil
		})
	case f.Message() == nil:
	case f.IsList():
		for i := range v.List().Len() {
			if err = refuseUnknown(v.List().Get(i).Message(), role.JoinIndex(at, i)); err != nil {
				break
			}
		}
	default:
		err = refuseUnknown(v.Message(), at)
	}
	return err
}

func inside(at string) string {
	if at == "" {
		return ""
	}
	return " at " + at
}

type strictJSON struct{ name string }

func (c strictJSON) Name() string { return c.name }

func (strictJSON) Marshal(message any) ([]byte, error) {
	m, err := protoMessage(message)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(m)
}

func (strictJSON) Unmarshal(data []byte, message any) error {
	m, err := protoMessage(message)
	if err != nil {
		return err
	}
	return unmarshalJSON(data, m)
}

// unmarshalJSON decodes the JSON form; a field that the message does not define is an error that names its path and the
// fields there are.
func unmarshalJSON(data []byte, m proto.Message) error {
	if len(strings.TrimSpace(string(data))) == 0 {
		return fmt.Errorf("the body is empty; send at least {}")
	}
	err := protojson.Unmarshal(data, m)
	if err == nil {
		return nil
	}
	var raw any
	if json.Unmarshal(data, &raw) == nil {
		if unknown := findUnknown(raw, m.ProtoReflect().Descriptor(), ""); unknown != nil {
			return unknown
		}
	}
	return fmt.Errorf("%s", strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proto:"), "\u00a0", " "))
}

// findUnknown walks decoded JSON beside the descriptor of its message.
func findUnknown(raw any, d protoreflect.MessageDescriptor, at string) error {
	object, ok := raw.(map[string]any)
	if !ok || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return nil
	}
	keys := make([]string, 0, len(object))
	for k := range object {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		path := role.JoinKey(at, k)
		f := d.Fields().ByJSONName(k)
		if f == nil {
			f = d.Fields().ByTextName(k)
		}
		if f == nil {
			return fmt.Errorf("unknown field %s; known here: %s", path, strings.Join(fieldNames(d), ", "))
		}
		if err := findUnknownIn(object[k], f, path); err != nil {
			return err
		}
	}
	return nil
}

func findUnknownIn(raw any, f protoreflect.FieldDescriptor, at string) error {
	switch value := raw.(type) {
	case []any:
		for i, e := range value {
			if f.IsList() && f.Message() != nil {
				if err := findUnknown(e, f.Message(), role.JoinIndex(at, i)); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			for k, e := range value {
				if err := findUnknown(e, f.MapValue().Message(), role.JoinKey(at, k)); err != nil {
					return err
				}
			}
		case !f.IsMap() && f.Message() != nil:
			return findUnknown(value, f.Message(), at)
		}
	}
	return nil
}

func fieldNames(d protoreflect.MessageDescriptor) []string {
	var out []string
	for i := range d.Fields().Len() {
		out = append(out, d.Fields().Get(i).JSONName())
	}
	return out
}

func protoMessage(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return m, nil
}
