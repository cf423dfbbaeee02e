package console

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "polder.dev/polder/api/polder/v1"
)

// evil is in every text of every answer.
const evil = `"'><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>{{7*7}}` + "\u202e"

// liar is a server whose every text is evil.
func liar(w http.ResponseWriter, r *http.Request) {
	service, method, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
	if m == nil || m.IsStreamingServer() {
		http.NotFound(w, r)
		return
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer := kind.New()
	lie(answer, 0)
	marshal := proto.Marshal
	if r.Header.Get("Content-Type") == "application/json" {
		marshal = protojson.Marshal
	}
	data, err := marshal(answer.Interface())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	_, _ = w.Write(data) // the test is over if this fails
}

// lie fills a message: texts are evil, numbers are large, lists and maps have one entry. There is no next page.
func lie(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Name() == "next_page_token" || depth > 6 || f.ContainingOneof() != nil && !f.HasOptionalKeyword():
		case f.IsMap():
			v := m.Mutable(f).Map()
			value := v.NewValue()
			if f.MapValue().Message() != nil {
				lie(value.Message(), depth+1)
			} else {
				value = lieOf(f.MapValue())
			}
			v.Set(protoreflect.ValueOfString(evil).MapKey(), value)
		case f.IsList() && f.Message() != nil:
			e := m.Mutable(f).List().AppendMutable()
			lie(e.Message(), depth+1)
		case f.IsList():
			m.Mutable(f).List().Append(lieOf(f))
		case f.Message() != nil:
			lie(m.Mutable(f).Message(), depth+1)
		default:
			m.Set(f, lieOf(f))
		}
	}
}

func lieOf(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(evil)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(evil))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(1e30)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1e300)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1 << 30)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1 << 30)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1 << 29)
	}
	return f.Default()
}

// TestHostileNames: whatever is in a name, it stays text, and no page breaks.
func TestHostileNames(t *testing.T) {
	p := before(t, http.HandlerFunc(liar))
	b := p.open(t, false)
	b.visit("/")
	b.fill("#token", "anything")
	b.press("Log in")
	b.sees("h1", "Overview")
	inPath, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	var encoded string
	b.eval(`encodeURIComponent(`+string(inPath)+`)`, &encoded)
	for _, path := range []string{"/", "/roles", "/roles/" + encoded, "/plan", "/plan?view=Edit", "/plan?view=History", "/lending", "/nodes", "/nodes/" + encoded, "/tasks", "/tasks/" + encoded, "/queue", "/frameworks", "/events", "/events?view=Audit", "/access", "/doors", "/roles?find=" + encoded, "/login?then=" + encoded} {
		b.visit(path)
		b.until(path+" shows something", func() bool { return b.text("h1") != "" })
		if !strings.HasPrefix(path, "/login") && !strings.Contains(path, "find=") {
			b.sees("body", "<img src=x")
		}
		var bad bool
		b.eval(`!!window.pwned || !!document.querySelector("img, script:not([src])")`, &bad)
		if bad {
			t.Errorf("%s lets a name become code", path)
		}
	}
}
