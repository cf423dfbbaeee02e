package wire

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// UnmarshalJSON reads a message in Mesos' dialect of JSON into m, which must be empty. Errors name the place; a missing
// required field is one.
func UnmarshalJSON(data []byte, m proto.Message) error {
	d := decoder{scanner{data: data}}
	if err := d.message(m.ProtoReflect(), 0); err != nil {
		return fmt.Errorf("JSON: %w", err)
	}
	if d.peek() != 0 {
		return fmt.Errorf("JSON: %w", d.fail("something follows the message"))
	}
	return proto.CheckInitialized(m)
}

// decoder reads values into messages.
type decoder struct{ scanner }

func (d *decoder) message(m protoreflect.Message, depth int) error {
	if depth > maxDepth {
		return d.fail("nested more than %d deep", maxDepth)
	}
	fields := layoutOf(m.Descriptor()).byName
	return d.each('{', func(key string) error {
		fd, ok := fields[key]
		if !ok {
			return d.skip(depth + 1)
		}
		if d.peek() == 'n' {
			m.Clear(fd)
			return d.word("null")
		}
		if err := d.field(m, fd, depth+1); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
}

func (d *decoder) field(m protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) error {
	switch {
	case fd.IsMap():
		return d.mapping(m.Mutable(fd).Map(), fd, depth)
	case fd.IsList():
		return d.list(m, fd, depth)
	case fd.Message() != nil:
		m.Clear(fd) // of two the last counts
		return d.message(m.Mutable(fd).Message(), depth)
	}
	v, ok, err := d.scalar(fd, depth)
	if err == nil && ok {
		m.Set(fd, v)
	}
	return err
}

// list reads a list, or a lone value as a list of one.
func (d *decoder) list(m protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) error {
	m.Clear(fd)
	list := m.Mutable(fd).List()
	if d.peek() != '[' {
		return d.element(list, fd, depth)
	}
	return d.each('[', func(string) error { return d.element(list, fd, depth) })
}

func (d *decoder) element(list protoreflect.List, fd protoreflect.FieldDescriptor, depth int) error {
	if fd.Message() != nil {
		return d.message(list.AppendMutable().Message(), depth)
	}
	v, ok, err := d.scalar(fd, depth)
	if err == nil && ok {
		list.Append(v)
	}
	return err
}

// mapping reads a map; all of Mesos' have strings for keys.
func (d *decoder) mapping(m protoreflect.Map, fd protoreflect.FieldDescriptor, depth int) error {
	return d.each('{', func(key string) error {
		k, value := protoreflect.ValueOfString(key).MapKey(), fd.MapValue()
		if value.Message() != nil {
			v := m.NewValue()
			if err := d.message(v.Message(), depth+1); err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
			m.Set(k, v)
			return nil
		}
		v, ok, err := d.scalar(value, depth)
		if err == nil && ok {
			m.Set(k, v)
		}
		return err
	})
}

// scalar reads a value that is no message. It is not ok when the value counts as not given: the name of an enumeration that
// nobody knows.
func (d *decoder) scalar(fd protoreflect.FieldDescriptor, depth int) (protoreflect.Value, bool, error) {
	text, quoted, err := d.literal(depth)
	if err != nil {
		return protoreflect.Value{}, false, err
	}
	var v protoreflect.Value
	switch kind := fd.Kind(); kind {
	case protoreflect.StringKind:
		if !quoted {
			return v, false, d.fail("%s is not a string", text)
		}
		return protoreflect.ValueOfString(text), true, nil
	case protoreflect.BytesKind:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !quoted {
			return v, false, d.fail("not base64 in a string")
		}
		return protoreflect.ValueOfBytes(b), true, nil
	case protoreflect.EnumKind:
		return d.enum(fd, text, quoted)
	case protoreflect.BoolKind:
		if text != "true" && text != "false" {
			return v, false, d.fail("%.40q is neither true nor false", text)
		}
		return protoreflect.ValueOfBool(text == "true"), true, nil
	default:
		v, err := number(kind, text)
		if err != nil {
			return v, false, d.fail("%v", err)
		}
		return v, true, nil
	}
}

// literal reads a string, a number, true or false as text.
func (d *decoder) literal(depth int) (text string, quoted bool, err error) {
	switch d.peek() {
	case '"':
		text, err = d.text()
		return text, true, err
	case 't':
		return "true", false, d.word("true")
	case 'f':
		return "false", false, d.word("false")
	case '{', '[':
		return "", false, d.fail("an object or a list where a single value belongs")
	}
	text, err = d.number()
	return text, false, err
}

// enum finds a value by its name, or by its number when it comes as one.
func (d *decoder) enum(fd protoreflect.FieldDescriptor, text string, quoted bool) (v protoreflect.Value, ok bool, err error) {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil && !quoted {
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), fd.Enum().Values().ByNumber(protoreflect.EnumNumber(n)) != nil, nil
	}
	value := fd.Enum().Values().ByName(protoreflect.Name(text))
	if value == nil {
		if fd.Cardinality() == protoreflect.Required {
			return v, false, d.fail("%.40q is no %s", text, fd.Enum().Name())
		}
		return v, false, nil
	}
	return protoreflect.ValueOfEnum(value.Number()), true, nil
}

// number reads a number of a kind; a whole one may be written as a fraction.
func number(kind protoreflect.Kind, text string) (v protoreflect.Value, err error) {
	switch kind {
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		f, err := float(text)
		if kind == protoreflect.FloatKind {
			return protoreflect.ValueOfFloat32(float32(f)), err
		}
		return protoreflect.ValueOfFloat64(f), err
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := whole(text, 0, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return protoreflect.ValueOfUint64(n), nil
		}
		n, err := whole(text, 0, math.MaxInt64)
		return protoreflect.ValueOfUint64(uint64(n)), err
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := whole(text, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(n)), err
	}
	n, err := whole(text, math.MinInt64, math.MaxInt64)
	return protoreflect.ValueOfInt64(n), err
}

func float(text string) (float64, error) {
	switch text {
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.ContainsAny(text, "xXpP_iInN") {
		return 0, fmt.Errorf("%.40q is not a number", text)
	}
	return f, nil
}

func whole(text string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, err := float(text)
		if err != nil {
			return 0, err
		}
		if f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
			return 0, fmt.Errorf("%.40q is not a whole number that fits", text)
		}
		n = int64(f)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%d is not between %d and %d", n, least, most)
	}
	return n, nil
}
