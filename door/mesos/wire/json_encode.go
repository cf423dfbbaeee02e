package wire

import (
	"encoding/base64"
	"math"
	"strconv"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// AppendJSON appends a message in Mesos' dialect of JSON, on one line.
func AppendJSON(dst []byte, m proto.Message) []byte { return appendMessage(dst, m.ProtoReflect()) }

// field is what there is to know about a field before a message is seen.
type field struct {
	protoreflect.FieldDescriptor
	label []byte // "name":
	shown []byte // its default, when it is written although unset
}

// layouts caches the fields of each message type, in order of number. There are as many as message types.
var layouts sync.Map // protoreflect.MessageDescriptor → *layout

type layout struct {
	fields []field
	byName map[string]protoreflect.FieldDescriptor
}

func layoutOf(d protoreflect.MessageDescriptor) *layout {
	if l, ok := layouts.Load(d); ok {
		return l.(*layout)
	}
	l := &layout{byName: map[string]protoreflect.FieldDescriptor{}}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := field{FieldDescriptor: fd, label: append(appendString(nil, string(fd.Name())), ':')}
		if options, _ := fd.Options().(*descriptorpb.FieldOptions); fd.HasDefault() && !options.GetDeprecated() {
			f.shown = appendScalar(nil, fd, fd.Default())
		}
		l.fields = append(l.fields, f)
		l.byName[string(fd.Name())] = fd
	}
	actual, _ := layouts.LoadOrStore(d, l)
	return actual.(*layout)
}

func appendMessage(dst []byte, m protoreflect.Message) []byte {
	dst = append(dst, '{')
	first := true
	fields := layoutOf(m.Descriptor()).fields
	for i := range fields {
		f := &fields[i]
		has := m.Has(f.FieldDescriptor)
		if !has && f.shown == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.label...)
		if has {
			dst = appendField(dst, f.FieldDescriptor, m.Get(f.FieldDescriptor))
		} else {
			dst = append(dst, f.shown...)
		}
	}
	return append(dst, '}')
}

func appendField(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case fd.IsMap():
		return appendMap(dst, fd, v.Map())
	case fd.IsList():
		dst = append(dst, '[')
		list := v.List()
		for i := range list.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, fd, list.Get(i))
		}
		return append(dst, ']')
	}
	return appendValue(dst, fd, v)
}

func appendMap(dst []byte, fd protoreflect.FieldDescriptor, m protoreflect.Map) []byte {
	dst = append(dst, '{')
	first := true
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendString(dst, k.String()), ':')
		dst = appendValue(dst, fd.MapValue(), v)
		return true
	})
	return append(dst, '}')
}

func appendValue(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	if fd.Message() != nil {
		return appendMessage(dst, v.Message())
	}
	return appendScalar(dst, fd, v)
}

func appendScalar(dst []byte, fd protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool())
	case protoreflect.EnumKind:
		return appendEnum(dst, fd.Enum(), v.Enum())
	case protoreflect.StringKind:
		return appendString(dst, v.String())
	case protoreflect.BytesKind:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
		return append(dst, '"')
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return appendFloat(dst, v.Float())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10)
	}
	return strconv.AppendInt(dst, v.Int(), 10)
}

func appendEnum(dst []byte, ed protoreflect.EnumDescriptor, n protoreflect.EnumNumber) []byte {
	if v := ed.Values().ByNumber(n); v != nil {
		dst = append(dst, '"')
		dst = append(dst, v.Name()...)
		return append(dst, '"')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// appendFloat writes a whole number with ".0", so that readers without types keep it a fraction.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		return append(strconv.AppendFloat(dst, f, 'f', -1, 64), ".0"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

const hex = "0123456789abcdef"

// appendString quotes a string. What is not UTF-8 becomes U+FFFD, since JSON cannot carry it.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		var with string
		switch {
		case c == '"' || c == '\\':
			with = string([]byte{'\\', c})
		case c == '\n':
			with = `\n`
		case c < ' ':
			with = `\u00` + string([]byte{hex[c>>4], hex[c&15]})
		default:
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			with = "\uFFFD"
		}
		dst = append(append(dst, s[start:i]...), with...)
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
