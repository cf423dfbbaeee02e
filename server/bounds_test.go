package server

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestBriefReports: a report that is not walked through is bounded as if it were.
func TestBriefReports(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	text := rapid.SampledFrom([]string{"", "", "a.0", strings.Repeat("x", maxName+1)})
	instant := rapid.Custom(func(t *rapid.T) *timestamppb.Timestamp {
		if rapid.Bool().Draw(t, "none") {
			return nil
		}
		return &timestamppb.Timestamp{
			Seconds: rapid.SampledFrom([]int64{-1 << 62, 0, now.Unix(), 1 << 62}).Draw(t, "seconds"), Nanos: rapid.SampledFrom([]int32{-1, 0, 7}).Draw(t, "nanos"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		r := &polderv1.TaskReport{State: polderv1.TaskState_TASK_STATE_RUNNING, Started: instant.Draw(t, "started"), Health: text.Draw(t, "health")}
		if rapid.Bool().Draw(t, "ended") { // one at a time: which is refused first is open
			r.Started, r.Ended = nil, r.Started
		}
		if rapid.Bool().Draw(t, "assigned") {
			r.Assignment = &polderv1.Assignment{Task: text.Draw(t, "task")}
		}
		m := &polderv1.AgentMessage{Body: &polderv1.AgentMessage_Report{Report: r}}
		want := proto.CloneOf(m)
		err, wantErr := boundReport(m, now), bound(want, now)
		if (err == nil) != (wantErr == nil) || err != nil && r.Started.IsValid() && r.Ended.IsValid() && err.Error() != wantErr.Error() || err == nil && !proto.Equal(m, want) {
			t.Fatalf("it is %v, %v; want %v, %v", m, err, want, wantErr)
		}
	})
}
