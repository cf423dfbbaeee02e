package server

import (
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// What is written down or sent for each task that starts is encoded here field by field, from what the cluster has: a message with maps
// would be built, walked by reflection, and thrown away, several times a task. A test compares each with the message's own encoding.

// Numbers of the fields that are encoded here.
const (
	launchField = 2 // polder.v1.ServerMessage

	assignmentField = 1 // polder.v1.TaskReport, all that follow
	stateField      = 2
	startedField    = 5
	endedField      = 6
	healthField     = 7

	taskField         = 1 // polder.v1.Assignment, all that follow
	askField          = 2
	indexField        = 3
	attemptField      = 4
	roleField         = 5
	resourcesField    = 6
	portsField        = 7
	specField         = 8
	fundingField      = 9
	reclaimGraceField = 10
	minRuntimeField   = 11
	createdField      = 12
	gangField         = 13

	envField           = 4 // polder.v1.TaskSpec, all that follow
	labelsField        = 8
	specResourcesField = 10
)

func appendBytes(b []byte, field protowire.Number, data []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), data)
}

// appendText appends a string unless it is empty, as proto3 does.
func appendText(b []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

// appendNumber appends a number unless it is zero, as proto3 does.
func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// appendTime appends a google.protobuf.Duration or Timestamp, which are encoded alike, even when it is zero.
func appendTime(b []byte, field protowire.Number, seconds int64, nanos int) []byte {
	var buf [24]byte
	body := appendNumber(appendNumber(buf[:0], 1, uint64(seconds)), 2, uint64(nanos))
	return appendBytes(b, field, body)
}

func appendDuration(b []byte, field protowire.Number, d time.Duration) []byte {
	return appendTime(b, field, int64(d/time.Second), int(d%time.Second))
}

// appendInstant appends a google.protobuf.Timestamp unless it is zero.
func appendInstant(b []byte, field protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendTime(b, field, t.Unix(), t.Nanosecond())
}

// appendPair appends an entry of a map of strings.
func appendPair(b []byte, field protowire.Number, key, value string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(2+protowire.SizeBytes(len(key))+protowire.SizeBytes(len(value))))
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), key)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), value)
}

// appendAssignment appends a polder.v1.Assignment; spec is that of its task as it is written down, nil to leave it out.
func appendAssignment(b []byte, a *cluster.Assignment, spec []byte) []byte {
	b = appendText(appendText(b, taskField, a.Task), askField, a.Ask)
	b = appendNumber(appendNumber(b, indexField, uint64(uint32(a.Index))), attemptField, uint64(uint32(a.Attempt)))
	b = appendText(b, roleField, a.Role)
	for name, amount := range a.Resources {
		b = appendPair(b, resourcesField, name, resource.FormatValue(name, amount))
	}
	for name, port := range a.Ports {
		b = protowire.AppendTag(b, portsField, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(2+protowire.SizeBytes(len(name))+protowire.SizeVarint(uint64(port))))
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), name)
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(port))
	}
	if spec != nil {
		b = appendBytes(b, specField, spec)
	}
	b = appendText(b, fundingField, a.Funding)
	b = appendDuration(appendDuration(b, reclaimGraceField, a.ReclaimGrace), minRuntimeField, a.MinRuntime)
	b = appendInstant(b, createdField, a.Created)
	if a.Gang {
		b = appendNumber(b, gangField, 1)
	}
	return b
}

// assignmentSize is about how many bytes an assignment has beside its spec.
const assignmentSize = 256

// headSize is how many bytes the tag and the length before a message take at most here.
const headSize = 8

// appendMessage appends a message that write appends, as a field. It is written where it stays but for the bytes of its length, which is
// known when it is there.
func appendMessage(b []byte, field protowire.Number, write func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	from := len(b)
	b = write(b)
	var head [headSize]byte
	return slices.Insert(b, from, protowire.AppendVarint(head[:0], uint64(len(b)-from))...)
}

// marshalLaunch is an assignment on its way to an agent: a polder.v1.ServerMessage whose fields the message here does not look into.
func marshalLaunch(a *cluster.Assignment, spec []byte) *polderv1.ServerMessage {
	body := appendMessage(make([]byte, 0, assignmentSize+len(spec)+headSize), launchField, func(b []byte) []byte { return appendAssignment(b, a, spec) })
	out := &polderv1.ServerMessage{}
	out.ProtoReflect().SetUnknown(body)
	return out
}

// appendReport appends a task's polder.v1.TaskReport without the spec.
func appendReport(b []byte, r *cluster.TaskReport) ([]byte, error) {
	b = appendNumber(b, stateField, uint64(r.State))
	b = appendText(b, healthField, r.Health)
	b = appendInstant(appendInstant(b, startedField, r.Started), endedField, r.Ended)
	if r.ExitCode != nil || r.Reason != (cluster.Reason{}) || r.Notice != nil || r.Cost != (cluster.Cost{}) {
		var err error
		if b, err = (proto.MarshalOptions{}).MarshalAppend(b, rareProto(r)); err != nil {
			return nil, err
		}
	}
	return appendMessage(b, assignmentField, func(b []byte) []byte { return appendAssignment(b, &r.Assignment, nil) }), nil
}

// marshalSpec is a spec as it is written down. Nobody else may have it yet: its maps are taken out meanwhile.
func marshalSpec(s *polderv1.TaskSpec) ([]byte, error) {
	maps := []struct {
		field protowire.Number
		in    *map[string]string
	}{{envField, &s.Env}, {labelsField, &s.Labels}, {specResourcesField, &s.Resources}}
	var kept [3]map[string]string
	size := 64
	for i, m := range maps {
		kept[i], *m.in = *m.in, nil
		for key, value := range kept[i] {
			size += len(key) + len(value) + 8
		}
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 0, size), s)
	for i, m := range maps {
		*m.in = kept[i]
		for key, value := range kept[i] {
			if err == nil && !(utf8.ValidString(key) && utf8.ValidString(value)) {
				err = invalid("", "%q holds text that is not UTF-8", clip(key, 80))
			}
			b = appendPair(b, m.field, key, value)
		}
	}
	return b, err
}
