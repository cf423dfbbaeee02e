package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// dialBack opens the stream that the server asked an agent for.
func (w *world) dialBack(a *agent, open *polderv1.OpenRelay) (*connect.BidiStreamForClient[polderv1.RelayUp, polderv1.RelayDown], context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	return w.agentClient(a).agent.Relay(ctx), cancel
}

func TestLogs(t *testing.T) {
	w := newWorld(t, nil)
	one := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"})
	chunk := bytes.Repeat([]byte("x"), 32<<10)
	one.serve = func(open *polderv1.OpenRelay) {
		stream, cancel := w.dialBack(one, open)
		defer cancel()
		for range 100 {
			if err := stream.Send(&polderv1.RelayUp{Id: open.Id, Data: chunk}); err != nil {
				t.Error(err)
			}
		}
		_ = stream.CloseRequest()
		if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("the relay ended with %v", err)
		}
		_ = stream.CloseResponse()
	}
	w.connect(one)
	c := w.as(w.admin)
	ask := w.submit(c, process("default", 1, "1"))
	one.until("a task", func() bool { return len(one.tasks) == 1 })
	stream, err := c.task.Logs(t.Context(), connect.NewRequest(&polderv1.LogsRequest{Task: ask.Id + ".0", Follow: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	n := 0
	for stream.Receive() {
		n += len(stream.Msg().Data)
	}
	if stream.Err() != nil || n != 100*len(chunk) {
		t.Errorf("got %d bytes, %v", n, stream.Err())
	}
}

// TestExec echoes what it gets until its input is closed.
func TestExec(t *testing.T) {
	w := newWorld(t, nil)
	one := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"})
	one.serve = func(open *polderv1.OpenRelay) {
		stream, cancel := w.dialBack(one, open)
		defer cancel()
		if err := stream.Send(&polderv1.RelayUp{Id: open.Id}); err != nil {
			t.Error(err)
		}
		for {
			m, err := stream.Receive()
			if err != nil {
				t.Errorf("input: %v", err)
				return
			}
			if m.CloseStdin {
				break
			}
			if err := stream.Send(&polderv1.RelayUp{Data: m.Stdin}); err != nil {
				t.Error(err)
			}
		}
		code := int32(3)
		_ = stream.Send(&polderv1.RelayUp{ExitCode: &code})
		_ = stream.CloseRequest()
		_, _ = stream.Receive()
		_ = stream.CloseResponse()
	}
	w.connect(one)
	c := w.as(w.admin)
	ask := w.submit(c, process("default", 1, "1"))
	one.until("a task", func() bool { return len(one.tasks) == 1 })
	stream := c.task.Exec(t.Context())
	if err := stream.Send(&polderv1.ExecRequest{Start: &polderv1.ExecStart{Task: ask.Id + ".0", Command: []string{"cat"}}}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := stream.Send(&polderv1.ExecRequest{Stdin: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		got := ""
		for got == "" {
			m, err := stream.Receive()
			if err != nil {
				t.Fatal(err)
			}
			got = string(m.Data)
		}
		if got != text {
			t.Errorf("sent %q, got %q", text, got)
		}
	}
	_ = stream.CloseRequest()
	m, err := stream.Receive()
	if err != nil || m.GetExitCode() != 3 {
		t.Errorf("the end is %v, %v", m, err)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end comes %v", err)
	}
	_ = stream.CloseResponse()
}

// TestAttach: input goes to a task that has one, a client that goes away ends the relay without closing the input, and what
// cannot be attached to is refused with the reason.
func TestAttach(t *testing.T) {
	w := newWorld(t, nil)
	one := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"})
	downs := make(chan *polderv1.RelayDown, 10)
	one.serve = func(open *polderv1.OpenRelay) {
		stream, cancel := w.dialBack(one, open)
		defer cancel()
		defer close(downs)
		if err := stream.Send(&polderv1.RelayUp{Id: open.Id, Data: []byte(open.Attach.Task)}); err != nil {
			t.Error(err)
		}
		for {
			m, err := stream.Receive()
			if err != nil {
				break
			}
			downs <- m
		}
		_ = stream.CloseRequest()
		_ = stream.CloseResponse()
	}
	w.connect(one)
	c := w.as(w.admin)
	deaf := w.submit(c, process("default", 1, "0.5"))
	open := process("default", 1, "0.5")
	open.Task.Stdin = true
	talks := w.submit(c, open)
	one.until("two tasks", func() bool { return len(one.tasks) == 2 })
	for ask, want := range map[string]string{deaf.Id: "was started without an input; attach without input"} {
		stream := c.task.Attach(t.Context())
		if err := stream.Send(&polderv1.AttachRequest{Start: &polderv1.AttachStart{Task: ask + ".0", Stdin: true}}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		_ = stream.CloseRequest()
		_ = stream.CloseResponse()
	}
	ctx, leave := context.WithCancel(t.Context())
	stream := c.task.Attach(ctx)
	if err := stream.Send(&polderv1.AttachRequest{Start: &polderv1.AttachStart{Task: talks.Id + ".0", Stdin: true}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&polderv1.AttachRequest{Stdin: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Receive(); err != nil || string(m.Data) != talks.Id+".0" {
		t.Errorf("got %v, %v", m, err)
	}
	if m := <-downs; string(m.Stdin) != "hello" {
		t.Errorf("the agent got %v", m)
	}
	leave()
	_ = stream.CloseRequest() // without it the transport would not even notice
	for m := range downs {
		t.Errorf("after the client left the agent got %v", m)
	}
	_ = stream.CloseResponse()
}

// TestRelayThatNobodyOpens: the client is told; a relay is for its own node only.
func TestRelayThatNobodyOpens(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RelayWait = 100 * time.Millisecond })
	one := w.newAgent("n1", map[string]string{"cpu": "2", "memory": "8Gi"})
	two := w.newAgent("n2", nil)
	asked := make(chan *polderv1.OpenRelay, 1)
	one.serve = func(open *polderv1.OpenRelay) { asked <- open }
	link := w.connect(one)
	c := w.as(w.admin)
	ask := w.submit(c, process("default", 1, "1"))
	one.until("a task", func() bool { return len(one.tasks) == 1 })
	logs := func() error {
		stream, err := c.task.Logs(t.Context(), connect.NewRequest(&polderv1.LogsRequest{Task: ask.Id + ".0"}))
		if err != nil {
			return err
		}
		defer stream.Close()
		for stream.Receive() {
		}
		return stream.Err()
	}
	if err := logs(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("logs: %v", err)
	}
	foreign, cancel := w.dialBack(two, nil)
	defer cancel()
	if err := foreign.Send(&polderv1.RelayUp{Id: (<-asked).Id}); err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Receive(); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a relay that is over: %v", err)
	}
	_ = foreign.CloseRequest()
	link.close()
	w.until("n1 to be away", func(p *picture) bool { n, _ := p.nodes.Get("n1"); return n.State == "unreachable" })
	if err := logs(); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("logs of a node that is away: %v", err)
	}
}
