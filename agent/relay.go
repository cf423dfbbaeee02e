package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// relayChunk is the most output one message carries.
const relayChunk = 32 << 10

// relayGoodbye is how long the server has to take the last message of a relay.
const relayGoodbye = 5 * time.Second

type relayStream = Stream[polderv1.RelayUp, polderv1.RelayDown]

// errHungUp is the end of an input whose sender went away without closing it.
var errHungUp = errors.New("the connection ended")

// relay serves one log, exec, attach, file, engine or metrics stream the server asked for. A slow reader slows the task's output down and nothing else.
// The last message up carries the exit code or the error.
func (a *Agent) relay(ctx context.Context, link Link, m *polderv1.OpenRelay) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := link.Relay(ctx)
	if err != nil {
		a.c.Logger.Warn("a relay could not be opened", "relay", m.Id, "error", err)
		return
	}
	defer stream.CloseResponse()
	received := make(chan struct{}) // closed when nothing comes down any more
	defer waitFor(received)
	defer hangUp(ctx, stream)()
	if err := stream.Send(&polderv1.RelayUp{Id: m.Id}); err != nil {
		return
	}
	last := &polderv1.RelayUp{}
	switch {
	case m.Metrics != nil:
		a.drain(stream, received, cancel)
		err = a.relayMetrics(stream)
	case m.Logs != nil:
		err = a.relayLogs(ctx, stream, m.Logs, cancel, received)
	case m.Exec != nil:
		last.ExitCode, err = a.relayExec(ctx, stream, m.Exec, cancel, received)
	case m.Attach != nil:
		last.ExitCode, err = a.relayAttach(ctx, stream, m.Attach, cancel, received)
	case m.ListFiles != nil:
		a.drain(stream, received, cancel)
		err = a.relayFiles(stream, m.ListFiles)
	case m.ReadFile != nil:
		a.drain(stream, received, cancel)
		err = a.relayFile(stream, m.ReadFile)
	case m.Engine != nil:
		err = a.relayEngine(ctx, stream, cancel, received)
	case m.Create != nil:
		err = a.relayCreate(ctx, stream, m.Create, cancel, received)
	default:
		a.drain(stream, received, cancel)
		err = errors.New("the server asked for something this agent does not know; does it have the same version?")
	}
	if err != nil {
		last.ExitCode, last.Error, last.Code = nil, err.Error(), codeOf(err)
	}
	// The server may be gone; then nobody is left to tell.
	_ = stream.Send(last)
}

// waitFor waits, not for ever, until the server has ended its side of a relay: then it has the last message. Closing before
// that would reset the stream, and the reset could overtake the message.
func waitFor(received <-chan struct{}) {
	select {
	case <-received:
	case <-time.After(relayGoodbye):
	}
}

// drain takes what comes down a relay that expects nothing but the end.
func (a *Agent) drain(stream relayStream, received chan<- struct{}, cancel func()) {
	a.running.Go(func() {
		defer close(received)
		for {
			if _, err := stream.Receive(); err != nil {
				cancel()
				return
			}
		}
	})
}

func (a *Agent) relayLogs(ctx context.Context, stream relayStream, m *polderv1.LogsRequest, cancel func(), received chan<- struct{}) error {
	t, err := a.relayed(m.Task)
	a.drain(stream, received, cancel)
	if err != nil {
		return err
	}
	up := &relayWriters{stream: stream, turn: make(chan struct{}, 1)}
	stdout, stderr := io.Writer(up.writer(false)), io.Writer(up.writer(true))
	switch m.Stream {
	case "":
	case "stdout":
		stderr = nil
	case "stderr":
		stdout = nil
	default:
		return fmt.Errorf("stream %q: use stdout, stderr or nothing for both", m.Stream)
	}
	return t.runtime.Logs(ctx, m.Task, runtime.LogOptions{Follow: m.Follow, Tail: int(m.Tail)}, stdout, stderr)
}

func (a *Agent) relayExec(ctx context.Context, stream relayStream, m *polderv1.ExecStart, cancel func(), received chan<- struct{}) (*int32, error) {
	t, err := a.relayed(m.Task)
	if err == nil && len(m.Command) == 0 {
		err = errors.New("no command is given")
	}
	if err != nil {
		a.drain(stream, received, cancel)
		return nil, err
	}
	stdin, resize := a.inputOf(ctx, stream, cancel, received)
	defer stdin.Close()
	up := &relayWriters{stream: stream, turn: make(chan struct{}, 1)}
	code, err := t.runtime.Exec(ctx, m.Task, runtime.ExecOptions{
		Command: m.Command, TTY: m.Tty, Stdin: stdin, Stdout: up.writer(false), Stderr: up.writer(true), Resize: resize,
	})
	return exitCode(code), err
}

func (a *Agent) relayAttach(ctx context.Context, stream relayStream, m *polderv1.AttachStart, cancel func(), received chan<- struct{}) (*int32, error) {
	t, err := a.relayed(m.Task)
	if err != nil {
		a.drain(stream, received, cancel)
		return nil, err
	}
	stdin, resize := a.inputOf(ctx, stream, cancel, received)
	defer stdin.Close()
	up := &relayWriters{stream: stream, turn: make(chan struct{}, 1)}
	opt := runtime.AttachOptions{Logs: m.Logs, Stdout: up.writer(false), Stderr: up.writer(true), Resize: resize}
	if m.Stdin {
		opt.Stdin = stdin
	} else {
		stdin.Close()
	}
	if err := t.runtime.Attach(ctx, m.Task, opt); err != nil {
		return nil, err
	}
	exit, err := t.runtime.Wait(ctx, m.Task)
	if err == nil && exit.Lost {
		err = errors.New(exit.Reason)
	}
	return exitCode(exit.Code), err
}

func exitCode(code int) *int32 {
	c := int32(code)
	return &c
}

// inputOf starts receiving what comes down a relay that has input.
func (a *Agent) inputOf(ctx context.Context, stream relayStream, cancel func(), received chan<- struct{}) (*io.PipeReader, <-chan runtime.Size) {
	stdin, input := io.Pipe()
	resize := make(chan runtime.Size, 1)
	a.running.Go(func() {
		defer close(received)
		defer cancel()
		relayInput(ctx, stream, input, resize)
	})
	return stdin, resize
}

// relayed finds the task of a relay.
func (a *Agent) relayed(id string) (*task, error) {
	t := a.task(id)
	if t == nil || t.runtime == nil {
		return nil, fmt.Errorf("node %s does not have task %q", a.c.Node, id)
	}
	return t, nil
}

// relayInput hands what comes down to the command, until the server is gone.
func relayInput(ctx context.Context, stream relayStream, input *io.PipeWriter, resize chan runtime.Size) {
	defer input.CloseWithError(errHungUp) // unless it was closed before
	for {
		m, err := stream.Receive()
		if err != nil {
			return
		}
		if len(m.Stdin) > 0 {
			// A command that reads no more does not end the stream: its output may still come.
			_, _ = input.Write(m.Stdin)
		}
		if m.CloseStdin {
			_ = input.Close()
		}
		if r := m.Resize; r != nil {
			select { // only the newest size matters
			case <-resize:
			default:
			}
			select {
			case resize <- runtime.Size{Rows: uint16(r.Rows), Cols: uint16(r.Columns)}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// relayWriters send both outputs of a task on one stream, one message at a time.
type relayWriters struct {
	stream relayStream
	turn   chan struct{}
}

func (w *relayWriters) writer(stderr bool) io.Writer { return relayWriter{w, stderr} }

type relayWriter struct {
	to     *relayWriters
	stderr bool
}

func (w relayWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		chunk := bytes.Clone(p[n:min(len(p), n+relayChunk)])
		w.to.turn <- struct{}{}
		err := w.to.stream.Send(&polderv1.RelayUp{Data: chunk, Stderr: w.stderr})
		<-w.to.turn
		if err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return len(p), nil
}
