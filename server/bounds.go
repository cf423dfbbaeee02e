package server

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Bounds on what an agent says. One machine that is broken, or not ours any more, must not stop the others' leader.
const (
	maxName    = 4 << 10  // bytes of a string
	maxMessage = 16 << 10 // bytes of a text for people
	maxEntries = 256      // of a map or a list
	maxReports = 1 << 16  // tasks of one node
	maxKinds   = 16       // kinds of resources of one node
	maxAmount  = resource.Amount(1) << 53
)

// Agents' clocks may be wrong, but not by more than this.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const furthest = 10 * 365 * 24 * time.Hour

// texts are the fields that are for people: too long, they are cut. Every other string that is too long is refused.
var texts = map[protoreflect.FullName]int{
	"polder.v1.Reason.message":      maxMessage,
	"polder.v1.Reason.unblocked_by": maxMessage,
	"polder.v1.Hello.warnings":      maxName,
	"polder.v1.TaskReport.health":   maxName,
	"polder.v1.Notice.claimant":     maxName,
	"polder.v1.AgentEvent.message":  maxName,
}

// bound cuts the texts in an agent's message, moves its instants to between the year 2000 and ten years from now, and
// refuses it when anything else in it has no end. Task specs have bounds of their own.
func bound(m proto.Message, now time.Time) error { return bounds{now}.message(m.ProtoReflect(), "") }

// boundReport is bound for a report. One that names its task and says nothing that could be long, as most do, is not walked through.
func boundReport(m *polderv1.AgentMessage, now time.Time) error {
	r, a := m.GetReport(), m.GetReport().GetAssignment()
	if a == nil || len(a.Task) > maxName || a.Ask != "" || a.Role != "" || a.Funding != "" || len(a.Resources)+len(a.Ports) > 0 || a.Spec != nil ||
		a.Created != nil || r.Health != "" || r.Reason != nil || r.Notice != nil {
		return bound(m, now)
	}
	for _, f := range [...]struct {
		t  *timestamppb.Timestamp
		at string
	}{{r.Started, "report.started"}, {r.Ended, "report.ended"}} {
		if f.t == nil {
			continue
		}
		if err := (bounds{now}).instant(f.t, f.at); err != nil {
			return err
		}
	}
	return nil
}

type bounds struct{ now time.Time }

func (b bounds) message(m protoreflect.Message, at string) error {
	switch m.Descriptor().FullName() {
	case "polder.v1.TaskSpec", "google.protobuf.Duration":
		return nil
	case "google.protobuf.Timestamp":
		return b.instant(m.Interface().(*timestamppb.Timestamp), at)
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		path := role.JoinKey(at, string(f.Name()))
		switch {
		case f.IsMap():
			err = b.entries(v.Map(), path)
		case f.IsList():
			err = b.list(f, v.List(), path)
		case f.Message() != nil:
			err = b.message(v.Message(), path)
		case f.Kind() == protoreflect.StringKind:
			var text string
			if text, err = b.text(f, v.String(), path); len(text) != len(v.String()) {
				m.Set(f, protoreflect.ValueOfString(text))
			}
		}
		return err == nil
	})
	return err
}

func (b bounds) entries(m protoreflect.Map, at string) error {
	if m.Len() > maxEntries {
		return invalid(at, "%d entries, at most %d", m.Len(), maxEntries)
	}
	var err error
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		value, isText := v.Interface().(string)
		if len(k.String()) > maxName || isText && len(value) > maxName {
			err = invalid(role.JoinKey(at, clip(k.String(), 80)), "more than %d bytes", maxName)
		}
		return err == nil
	})
	return err
}

func (b bounds) list(f protoreflect.FieldDescriptor, l protoreflect.List, at string) error {
	most := maxEntries
	if f.FullName() == "polder.v1.Hello.tasks" {
		most = maxReports
	}
	if l.Len() > most {
		return invalid(at, "%d entries, at most %d", l.Len(), most)
	}
	for i := range l.Len() {
		path := role.JoinIndex(at, i)
		if f.Message() != nil {
			if err := b.message(l.Get(i).Message(), path); err != nil {
				return err
			}
		} else if f.Kind() == protoreflect.StringKind {
			text, err := b.text(f, l.Get(i).String(), path)
			if err != nil {
				return err
			}
			l.Set(i, protoreflect.ValueOfString(text))
		}
	}
	return nil
}

func (b bounds) text(f protoreflect.FieldDescriptor, s, at string) (string, error) {
	if most, ok := texts[f.FullName()]; ok {
		return clip(s, most), nil
	}
	if len(s) > maxName {
		return s, invalid(at, "%d bytes, at most %d", len(s), maxName)
	}
	return s, nil
}

func (b bounds) instant(t *timestamppb.Timestamp, at string) error {
	if err := t.CheckValid(); err != nil {
		return invalid(at, "%v", err)
	}
	moved := t.AsTime()
	if moved.Before(earliest) {
		moved = earliest
	}
	if last := b.now.Add(furthest); moved.After(last) {
		moved = last
	}
	t.Seconds, t.Nanos = moved.Unix(), int32(moved.Nanosecond())
	return nil
}

// countable refuses amounts of one node or task that a cluster cannot add up.
func countable(r resource.Resources, at string) error {
	if len(r) > maxKinds {
		return invalid(at, "%d kinds of resources, at most %d", len(r), maxKinds)
	}
	for _, name := range r.Names() {
		if r[name] < 0 || r[name] > maxAmount {
			return invalid(role.JoinKey(at, name), "%s is not between 0 and %s", resource.FormatValue(name, r[name]), resource.FormatValue(name, maxAmount))
		}
	}
	return nil
}
