package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func drawMoment(t *rapid.T, label string) moment {
	return moment{
		BootID: rapid.StringMatching(`[a-f0-9]{4}`).Draw(t, label),
		Since:  time.Duration(rapid.Int64Range(0, 1e18).Draw(t, label)),
		Wall:   time.Unix(0, rapid.Int64Range(0, 4e18).Draw(t, label)).UTC(),
	}
}

func drawRecord(t *rapid.T) *record {
	r := &record{
		Assignment: assignment(rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "task")),
		State:      polderv1.TaskState(rapid.IntRange(2, 11).Draw(t, "state")),
	}
	if rapid.Bool().Draw(t, "ended") {
		code, acked := rapid.Int32().Draw(t, "code"), drawMoment(t, "acked")
		r.ExitCode, r.Acked, r.Ended = &code, &acked, drawMoment(t, "ended").Wall
		r.Reason = &polderv1.Reason{Code: rapid.StringMatching(`[A-Z][a-z]*`).Draw(t, "reason")}
	}
	if rapid.Bool().Draw(t, "started") {
		started := drawMoment(t, "started")
		r.Started = &started
	}
	if rapid.Bool().Draw(t, "notice") {
		r.Notice = &notice{
			Wire: &polderv1.Notice{Id: "n", State: noticeOpen, Kind: "window", Opens: timestamppb.New(drawMoment(t, "opens").Wall)}, Asked: drawMoment(t, "asked").Wall, Term: drawMoment(t, "term"), Deadline: drawMoment(t, "deadline"),
			Length: time.Duration(rapid.Int64().Draw(t, "length")), Told: rapid.Bool().Draw(t, "told"), Termed: rapid.Bool().Draw(t, "termed"),
			Released: rapid.SampledFrom([]map[string]string{nil, {"cpu": "1"}}).Draw(t, "released"),
		}
	}
	if rapid.Bool().Draw(t, "stop") {
		r.Stop = &stopOrder{End: killed, Reason: &polderv1.Reason{Code: "Killed"}, Kill: drawMoment(t, "kill"), Termed: rapid.Bool().Draw(t, "stop termed")}
	}
	if rapid.Bool().Draw(t, "gpus") {
		r.GPUs = []string{"0", "GPU-1f"}
	}
	if rapid.Bool().Draw(t, "signalled") {
		signalled := drawMoment(t, "signalled")
		r.Signalled = &signalled
	}
	if rapid.Bool().Draw(t, "sending") {
		sending := drawMoment(t, "sending since")
		r.Sending = &sending
	}
	return r
}

func TestRecordIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		data, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, protocmp.Transform()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"assignment":{"task":"t1"},"state":3}`))
	f.Add([]byte(`{"assignment":{"task":"t1"},"notice":{"wire":{}},"stop":{"kill":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeRecord(again); err != nil {
			t.Fatalf("wrote what it cannot read: %s: %v", again, err)
		}
	})
}
