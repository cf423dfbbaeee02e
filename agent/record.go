package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// record is what the agent knows of a task, as it is on disk. State is STARTING, RUNNING or an end; that a task leaves or
// stops follows from Notice and Stop.
type record struct {
	Assignment *polderv1.Assignment
	State      polderv1.TaskState
	ExitCode   *int32
	Reason     *polderv1.Reason
	Started    *moment
	Ended      time.Time
	Notice     *notice
	Stop       *stopOrder
	Signalled  *moment  // when the first stop signal of any notice was sent; no withdrawal takes it back
	Sending    *moment  // since when a stop signal is on its way: whether it was sent is not known after a restart
	Acked      *moment  // when the server took over the report of the end
	GPUs       []string // of the machine's, which the task was given
}

// notice is a notice the agent has taken over.
type notice struct {
	Wire     *polderv1.Notice // as the task sees it: with the deadline that is kept here
	Asked    time.Time        // the deadline as the server last said it, in its own time; may be zero
	Term     moment           // when the task's stop signal is due
	Deadline moment           // what the notice promises; nothing ends the task before, except the stop signal it asked for
	Length   time.Duration    // from when it was recorded first to the deadline
	Told     bool             // of its state: signal sent and callback tried, not repeated after a restart
	Termed   bool             // the stop signal was sent
	Released map[string]string
}

// kill is when SIGKILL is due: at the deadline, or a moment after a stop signal that comes only then.
func (n *notice) kill() moment {
	if n.Term.Since == n.Deadline.Since {
		return n.Deadline.plus(lastWords)
	}
	return n.Deadline
}

// open reports whether the notice still asks for something.
func (n *notice) open() bool { return n != nil && n.Wire.State == noticeOpen }

// forces reports whether its deadline still ends the task.
func (n *notice) forces() bool {
	return n != nil && (n.Wire.State == noticeOpen || n.Wire.State == noticeDone || n.Wire.State == noticeExpired)
}

// withdrawnUnheard reports whether the task may not know yet that it may stay.
func (n *notice) withdrawnUnheard() bool {
	return n != nil && n.Wire.State == noticeWithdrawn && !n.Told
}

// clockGrain is how much too early the time of an end may be: files are stamped by the kernel's tick.
const clockGrain = 10 * time.Millisecond

// obeyed reports whether an end may be what a stop signal brought about: one was sent, and not after the end.
func (r *record) obeyed(ended time.Time) bool {
	return r.Signalled != nil && (ended.IsZero() || !ended.Before(r.Signalled.Wall.Add(-clockGrain)))
}

// crossed reports whether an end may have crossed the withdrawal on its way: until the deadline it was told, a task may be
// leaving for good because of the notice.
func (n *notice) crossed(ended time.Time) bool {
	return n != nil && n.Wire.State == noticeWithdrawn && !ended.IsZero() && ended.Before(n.Deadline.Wall)
}

// States of a notice on the wire.
const (
	noticeOpen      = "open"
	noticeDone      = "done"
	noticeWithdrawn = "withdrawn"
	noticeLeft      = "left"
	noticeExpired   = "expired"
)

// stopOrder is a decision to end a task. The first one says why; later ones may only make it faster.
type stopOrder struct {
	End    polderv1.TaskState // what the task will have been
	Reason *polderv1.Reason
	Kill   moment // when SIGKILL is due
	Termed bool
}

// terminal reports whether a task in this state is over.
func terminal(s polderv1.TaskState) bool { return s >= polderv1.TaskState_TASK_STATE_SUCCEEDED }

// report is the record as the server sees it; health is not worth the disk and comes from memory. Its messages are
// shared with the record: nobody changes them.
func (r *record) report(health string) *polderv1.TaskReport {
	out := &polderv1.TaskReport{
		Assignment: r.Assignment, State: r.shownState(), ExitCode: r.ExitCode, Reason: r.shownReason(), Health: health,
	}
	if r.Started != nil {
		out.Started = timestamppb.New(r.Started.Wall)
	}
	if !r.Ended.IsZero() {
		out.Ended = timestamppb.New(r.Ended)
	}
	if r.Notice != nil {
		out.Notice = r.Notice.Wire
	}
	return out
}

func (r *record) shownState() polderv1.TaskState {
	switch {
	case terminal(r.State):
		return r.State
	case r.Stop != nil:
		return polderv1.TaskState_TASK_STATE_STOPPING
	case r.State == polderv1.TaskState_TASK_STATE_RUNNING && r.Notice.open():
		return polderv1.TaskState_TASK_STATE_LEAVING
	}
	return r.State
}

func (r *record) shownReason() *polderv1.Reason {
	if r.Stop != nil && !terminal(r.State) {
		return r.Stop.Reason
	}
	return r.Reason
}

// noticeReport is the state of the notice as the server is told, nil without one.
func (r *record) noticeReport() *polderv1.NoticeReport {
	if !r.Notice.forces() {
		return nil
	}
	n := r.Notice
	return &polderv1.NoticeReport{
		Notice: n.Wire.Id, Task: r.Assignment.Task, Accepted: true, Deadline: n.Wire.Deadline,
		Done: n.Wire.State == noticeDone, Released: n.Released,
	}
}

// clone copies what an update may change in place; messages are replaced, never changed.
func (r *record) clone() *record {
	c := *r
	if r.Notice != nil {
		n := *r.Notice
		c.Notice = &n
	}
	if r.Stop != nil {
		s := *r.Stop
		c.Stop = &s
	}
	return &c
}

// stored is the JSON of a record; messages are in their own JSON.
type stored struct {
	Assignment json.RawMessage    `json:"assignment"`
	State      polderv1.TaskState `json:"state"`
	ExitCode   *int32             `json:"exitCode,omitempty"`
	Reason     json.RawMessage    `json:"reason,omitempty"`
	Started    *moment            `json:"started,omitempty"`
	Ended      time.Time          `json:"ended,omitzero"`
	Notice     *storedNotice      `json:"notice,omitempty"`
	Stop       *storedStop        `json:"stop,omitempty"`
	Signalled  *moment            `json:"signalled,omitempty"`
	Sending    *moment            `json:"sending,omitempty"`
	Acked      *moment            `json:"acked,omitempty"`
	GPUs       []string           `json:"gpus,omitempty"`
}

type storedNotice struct {
	Wire     json.RawMessage   `json:"wire"`
	Asked    time.Time         `json:"asked,omitzero"`
	Term     moment            `json:"term"`
	Deadline moment            `json:"deadline"`
	Length   time.Duration     `json:"length"`
	Told     bool              `json:"told,omitempty"`
	Termed   bool              `json:"termed,omitempty"`
	Released map[string]string `json:"released,omitempty"`
}

type storedStop struct {
	End    polderv1.TaskState `json:"end"`
	Reason json.RawMessage    `json:"reason,omitempty"`
	Kill   moment             `json:"kill"`
	Termed bool               `json:"termed,omitempty"`
}

// encode writes r for the journal.
func (r *record) encode() ([]byte, error) {
	var e messageCodec
	s := stored{
		Assignment: e.encode(r.Assignment), State: r.State, ExitCode: r.ExitCode, Reason: e.encode(r.Reason),
		Started: r.Started, Ended: r.Ended, Signalled: r.Signalled, Sending: r.Sending, Acked: r.Acked, GPUs: r.GPUs,
	}
	if n := r.Notice; n != nil {
		s.Notice = &storedNotice{e.encode(n.Wire), n.Asked, n.Term, n.Deadline, n.Length, n.Told, n.Termed, n.Released}
	}
	if o := r.Stop; o != nil {
		s.Stop = &storedStop{o.End, e.encode(o.Reason), o.Kill, o.Termed}
	}
	if e.err != nil {
		return nil, e.err
	}
	return json.Marshal(s)
}

// decodeRecord is the inverse of encode. It refuses unknown fields and a record without a task.
func decodeRecord(data []byte) (*record, error) {
	var s stored
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, err
	}
	var e messageCodec
	r := &record{
		Assignment: &polderv1.Assignment{}, State: s.State, ExitCode: s.ExitCode, Started: s.Started, Ended: s.Ended,
		Signalled: s.Signalled, Sending: s.Sending, Acked: s.Acked, GPUs: s.GPUs,
	}
	e.decode(s.Assignment, r.Assignment)
	r.Reason = e.reason(s.Reason)
	if n := s.Notice; n != nil {
		r.Notice = &notice{&polderv1.Notice{}, n.Asked, n.Term, n.Deadline, n.Length, n.Told, n.Termed, n.Released}
		e.decode(n.Wire, r.Notice.Wire)
	}
	if o := s.Stop; o != nil {
		r.Stop = &stopOrder{o.End, e.reason(o.Reason), o.Kill, o.Termed}
	}
	if e.err == nil && r.Assignment.Task == "" {
		e.err = fmt.Errorf("it names no task")
	}
	return r, e.err
}

// messageCodec turns messages into JSON and back and remembers the first error.
type messageCodec struct{ err error }

func (e *messageCodec) encode(m proto.Message) json.RawMessage {
	if !m.ProtoReflect().IsValid() {
		return nil
	}
	data, err := protojson.Marshal(m)
	if e.err == nil {
		e.err = err
	}
	return data
}

func (e *messageCodec) decode(data json.RawMessage, into proto.Message) {
	if err := protojson.Unmarshal(data, into); err != nil && e.err == nil {
		e.err = err
	}
}

func (e *messageCodec) reason(data json.RawMessage) *polderv1.Reason {
	if data == nil {
		return nil
	}
	r := &polderv1.Reason{}
	e.decode(data, r)
	return r
}
