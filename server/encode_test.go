package server

import (
	"math"
	"regexp"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// assignmentProto is an assignment as a message, as the generated code encodes it.
func assignmentProto(a cluster.Assignment) *polderv1.Assignment {
	return &polderv1.Assignment{
		Task: a.Task, Ask: a.Ask, Index: uint32(a.Index), Attempt: uint32(a.Attempt), Role: a.Role,
		Resources: amountsProto(a.Resources), Ports: portsProto(a.Ports), Spec: specOf(a.Payload), Funding: a.Funding,
		ReclaimGrace: durationpb.New(a.ReclaimGrace), MinRuntime: durationpb.New(a.MinRuntime),
		Created: timeProto(a.Created), Gang: a.Gang,
	}
}

func reportProto(r cluster.TaskReport) *polderv1.TaskReport {
	return &polderv1.TaskReport{
		Assignment: assignmentProto(r.Assignment), State: polderv1.TaskState(r.State), ExitCode: exitProto(r.ExitCode), Reason: reasonProto(r.Reason),
		Started: timeProto(r.Started), Ended: timeProto(r.Ended), Health: r.Health, Notice: noticeProto(r.Notice), Cost: costProto(r.Cost),
	}
}

// drawTime draws an instant, or none.
func drawTime(t *rapid.T, name string) time.Time {
	if rapid.Bool().Draw(t, name+" is set") {
		return time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, name), rapid.Int64Range(0, 999_999_999).Draw(t, name+" nanos"))
	}
	return time.Time{}
}

func drawReport(t *rapid.T) cluster.TaskReport {
	word, number := rapid.StringMatching(`[a-z]{0,12}`), rapid.IntRange(0, math.MaxUint32)
	length := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, "length"))
	})
	out := cluster.TaskReport{
		Assignment: cluster.Assignment{
			Task: word.Draw(t, "task"), Ask: word.Draw(t, "ask"), Index: number.Draw(t, "index"), Attempt: number.Draw(t, "attempt"),
			Gang: rapid.Bool().Draw(t, "gang"), Role: word.Draw(t, "role"), Funding: word.Draw(t, "funding"),
			ReclaimGrace: length.Draw(t, "grace"), MinRuntime: length.Draw(t, "runtime"), Created: drawTime(t, "created"),
			Resources: rapid.MapOf(word, rapid.Custom(func(t *rapid.T) resource.Amount { return resource.Amount(number.Draw(t, "amount")) })).Draw(t, "resources"),
			Ports:     rapid.MapOf(word, rapid.Uint16()).Draw(t, "ports"),
		},
		State: cluster.State(rapid.IntRange(0, int(cluster.Lost)).Draw(t, "state")), Health: word.Draw(t, "health"),
		Reason: cluster.Reason{Code: word.Draw(t, "code")}, Cost: cluster.Cost{Guarded: rapid.Bool().Draw(t, "guarded")}, Started: drawTime(t, "started"), Ended: drawTime(t, "ended"),
	}
	if rapid.Bool().Draw(t, "has ended") {
		out.ExitCode = new(rapid.IntRange(-1, 255).Draw(t, "exit code"))
	}
	return out
}

func drawSpec(t *rapid.T) *polderv1.TaskSpec {
	text, word := rapid.String(), rapid.StringMatching(`[a-zA-Z_]{0,300}`)
	return &polderv1.TaskSpec{
		Image: text.Draw(t, "image"), Command: rapid.SliceOf(text).Draw(t, "command"), Env: rapid.MapOf(word, text).Draw(t, "env"),
		Labels: rapid.MapOf(word, text).Draw(t, "labels"), Resources: rapid.MapOf(word, text).Draw(t, "resources"), Priority: rapid.Int32().Draw(t, "priority"),
	}
}

// TestEncodedByHand: what is encoded field by field is read as what the generated code would have written.
func TestEncodedByHand(t *testing.T) {
	same := func(t *rapid.T, data []byte, into, want proto.Message) {
		if err := unmarshalProto(data, into); err != nil || !proto.Equal(into, want) {
			t.Fatalf("it is read as %v, %v; want %v", into, err, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		r, spec := drawReport(t), drawSpec(t)
		want := proto.CloneOf(spec)
		wire, err := marshalSpec(spec)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(spec, want) {
			t.Fatalf("writing it down made %v of %v", spec, want)
		}
		same(t, wire, &polderv1.TaskSpec{}, want)
		data, err := appendReport(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		same(t, data, &polderv1.TaskReport{}, reportProto(r))
		if data, err = proto.Marshal(marshalLaunch(&r.Assignment, wire)); err != nil {
			t.Fatal(err)
		}
		r.Payload = spec
		same(t, data, &polderv1.ServerMessage{}, &polderv1.ServerMessage{Body: &polderv1.ServerMessage_Launch{Launch: assignmentProto(r.Assignment)}})
	})
}

// TestSpecIsUTF8: like the generated code, what is written by hand refuses text that is not UTF-8.
func TestSpecIsUTF8(t *testing.T) {
	const bad = "\xff"
	for _, s := range []*polderv1.TaskSpec{
		{Image: bad}, {Env: map[string]string{"A": bad}}, {Labels: map[string]string{bad: "x"}}, {Resources: map[string]string{"cpu": bad}},
	} {
		if _, err := marshalSpec(s); err == nil {
			t.Errorf("%v is written down", s)
		}
	}
}

// TestNames compares how names are checked with what is said of them.
func TestNames(t *testing.T) {
	kinds := map[string]struct {
		form  *regexp.Regexp
		valid func(string) bool
	}{
		"ask":      {regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`), validAskName},
		"port":     {regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`), validPortName},
		"variable": {regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]*$`), func(s string) bool { return validVariable(s, "") }},
		"label":    {regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9_./-]{0,126})$`), func(s string) bool { return validLabel(s, "") }},
	}
	names := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9_./-]{0,130}`), rapid.StringMatching(`[a-z0-9-]{0,42}`), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		name := names.Draw(t, "name")
		for kind, k := range kinds {
			if want := k.form.MatchString(name); k.valid(name) != want {
				t.Fatalf("%q as the name of a %s: %v, want %v", name, kind, !want, want)
			}
		}
	})
}
