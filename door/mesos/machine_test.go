package mesos

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// machine is a node that is not there: every task it is given runs at once. It speaks the agents' protocol as the bytes it is, without a
// client, so that next to nothing of what a benchmark costs is its own. It is the answer's writer and the request's body in one.
type machine struct {
	header http.Header
	joined func()
	told   []byte        // of an envelope that is not whole yet
	mu     sync.Mutex    // guards what follows
	unread []byte        // envelopes that the server has not taken yet
	more   chan struct{} // there are some, or there are no more
	over   bool
}

// run joins a server and stays until ctx ends. It calls joined once it is welcome.
func (m *machine) run(ctx context.Context, server http.Handler, hello *polderv1.Hello, joined func()) {
	m.header, m.joined, m.more = http.Header{}, sync.OnceFunc(joined), make(chan struct{}, 1)
	data, err := proto.Marshal(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Hello{Hello: hello}})
	if err != nil {
		return // it holds text only
	}
	m.unread = appendEnvelope(nil, data)
	defer context.AfterFunc(ctx, func() { m.Close() })()
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: api.AgentServiceSessionProcedure}, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: http.Header{"Content-Type": {"application/connect+proto"}}, Body: m, ContentLength: -1,
	}
	server.ServeHTTP(m, r.WithContext(auth.WithIdentity(ctx, auth.Identity{Kind: auth.Agent, Name: hello.Node})))
}

// appendEnvelope appends a message of a stream as Connect frames it: a byte of flags and the length before it.
func appendEnvelope(b, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(append(b, 0), uint32(len(data))), data...)
}

// Read implements [io.Reader] for the server: what the node says.
func (m *machine) Read(p []byte) (int, error) {
	for {
		m.mu.Lock()
		n, over := copy(p, m.unread), m.over
		m.unread = m.unread[n:]
		m.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case over:
			return 0, io.EOF
		}
		<-m.more
	}
}

// Close implements [io.Closer]: the node is gone.
func (m *machine) Close() error {
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	m.signal()
	return nil
}

func (m *machine) signal() {
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// Header, WriteHeader, Flush, SetReadDeadline and SetWriteDeadline implement [http.ResponseWriter] and what [http.ResponseController] asks for.
func (m *machine) Header() http.Header              { return m.header }
func (m *machine) WriteHeader(int)                  {}
func (m *machine) Flush()                           {}
func (m *machine) SetReadDeadline(time.Time) error  { return nil }
func (m *machine) SetWriteDeadline(time.Time) error { return nil }

// Write implements [http.ResponseWriter]: what the server says.
func (m *machine) Write(p []byte) (int, error) {
	m.told = append(m.told, p...)
	rest := m.told
	for len(rest) >= 5 && len(rest) >= 5+int(binary.BigEndian.Uint32(rest[1:])) {
		size := 5 + binary.BigEndian.Uint32(rest[1:])
		m.hear(rest[5:size])
		rest = rest[size:]
	}
	m.told = append(m.told[:0], rest...)
	return len(p), nil
}

// Fields of polder.v1.
const (
	fieldWelcome    = 1 // ServerMessage
	fieldLaunch     = 2 // ServerMessage
	fieldReport     = 2 // AgentMessage
	fieldAssignment = 1 // TaskReport
	fieldState      = 2 // TaskReport
	fieldStarted    = 5 // TaskReport
	fieldTask       = 1 // Assignment
	fieldSeconds    = 1 // google.protobuf.Timestamp
	fieldNanos      = 2 // google.protobuf.Timestamp
)

// hear takes a message of the server. A launch is answered by a report that the task runs.
func (m *machine) hear(message []byte) {
	field, _, n := protowire.ConsumeTag(message)
	switch field {
	case fieldWelcome:
		m.joined()
	case fieldLaunch:
		body, _ := protowire.ConsumeBytes(message[n:])
		_, _, n := protowire.ConsumeTag(body) // the task's id is the first field there is
		task, _ := protowire.ConsumeBytes(body[n:])
		m.say(runningReport(task, time.Now()))
	}
}

// say queues a message for the server.
func (m *machine) say(message []byte) {
	m.mu.Lock()
	m.unread = appendEnvelope(m.unread, message)
	m.mu.Unlock()
	m.signal()
}

// runningReport is the report that a task runs, as an agent sends it.
func runningReport(task []byte, now time.Time) []byte {
	text := func(field protowire.Number, data []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), data)
	}
	number := func(b []byte, field protowire.Number, n uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
	}
	started := number(number(nil, fieldSeconds, uint64(now.Unix())), fieldNanos, uint64(now.Nanosecond()))
	report := text(fieldAssignment, text(fieldTask, task))
	report = number(report, fieldState, uint64(polderv1.TaskState_TASK_STATE_RUNNING))
	return text(fieldReport, append(report, text(fieldStarted, started)...))
}

// TestMachineSpeaksAsAgents reads what a simulated machine says with the real decoder.
func TestMachineSpeaksAsAgents(t *testing.T) {
	now := time.Unix(1_700_000_000, 42)
	got := &polderv1.AgentMessage{}
	if err := proto.Unmarshal(runningReport([]byte("a.0"), now), got); err != nil {
		t.Fatal(err)
	}
	r := got.GetReport()
	if r.GetAssignment().GetTask() != "a.0" || r.GetState() != polderv1.TaskState_TASK_STATE_RUNNING || !r.GetStarted().AsTime().Equal(now) {
		t.Errorf("it says %v", got)
	}
	m := &machine{more: make(chan struct{}, 1)}
	launch, err := proto.Marshal(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Launch{Launch: &polderv1.Assignment{Task: "a.0", Ask: "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Write(appendEnvelope(appendEnvelope(nil, launch), launch)); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(m.unread[5:len(m.unread)/2], got); err != nil || got.GetReport().GetAssignment().GetTask() != "a.0" {
		t.Errorf("told to launch it says %v, %v", got, err)
	}
}
