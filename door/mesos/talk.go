package mesos

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire/agentv1"
)

// talk is the input and output of a command in the pool: of a task's own, or of one that was started in a task. Sending may be done by several.
type talk struct {
	sending sync.Mutex
	sends   func(stdin []byte, end bool, size *polderv1.TerminalSize) error
	heard   func() (said, error)
	hangUp  func() error // nothing more is sent; what was sent still arrives
	cancel  context.CancelFunc
}

// said is one piece of output, or the end.
type said struct {
	data   []byte
	stderr bool
	exit   *int32
}

// send passes input on.
func (t *talk) send(stdin []byte, end bool, size *polderv1.TerminalSize) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.sends(stdin, end, size)
}

// open waits until the agent has opened the talk, or somebody has refused it.
func (t *talk) open(err error) (*talk, error) {
	if err == nil || errors.Is(err, io.EOF) { // then receiving says why
		_, err = t.heard()
	}
	if err != nil {
		t.cancel()
		return nil, containerProblem(err)
	}
	return t, nil
}

// execIn starts a command in a task, for who is in the context.
func (d *Door) execIn(ctx context.Context, start *polderv1.ExecStart) (*talk, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := d.c.API.Tasks.Exec(ctx)
	t := &talk{cancel: cancel, hangUp: s.CloseRequest}
	t.sends = func(stdin []byte, end bool, size *polderv1.TerminalSize) error {
		return s.Send(&polderv1.ExecRequest{Stdin: stdin, CloseStdin: end, Resize: size})
	}
	t.heard = func() (said, error) {
		m, err := s.Receive()
		if err != nil {
			return said{}, err
		}
		return said{m.Data, m.Stderr, m.ExitCode}, nil
	}
	return t.open(s.Send(&polderv1.ExecRequest{Start: start}))
}

// attachTo connects to a task's own command, for who is in the context.
func (d *Door) attachTo(ctx context.Context, start *polderv1.AttachStart) (*talk, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := d.c.API.Tasks.Attach(ctx)
	t := &talk{cancel: cancel, hangUp: s.CloseRequest}
	t.sends = func(stdin []byte, end bool, size *polderv1.TerminalSize) error {
		return s.Send(&polderv1.AttachRequest{Stdin: stdin, CloseStdin: end, Resize: size})
	}
	t.heard = func() (said, error) {
		m, err := s.Receive()
		if err != nil {
			return said{}, err
		}
		return said{m.Data, m.Stderr, m.ExitCode}, nil
	}
	return t.open(s.Send(&polderv1.AttachRequest{Start: start}))
}

// flow is the output of a command on its way to whoever looks on. Who is slow slows the command down.
type flow struct {
	mu    sync.Mutex // guards sinks
	sinks map[*sink]struct{}
	ended chan struct{} // closed when what follows is set
	exit  *int32
	err   error // why it ended without an exit code
}

// sink is somebody who looks on.
type sink struct {
	next chan *agentv1.ProcessIO
	gone chan struct{} // closed when nobody takes it any more
}

func newSink() *sink {
	return &sink{next: make(chan *agentv1.ProcessIO), gone: make(chan struct{})}
}

func newFlow(first ...*sink) *flow {
	f := &flow{sinks: map[*sink]struct{}{}, ended: make(chan struct{})}
	for _, s := range first {
		f.sinks[s] = struct{}{}
	}
	return f
}

// watch adds somebody who looks on until the function that is returned is called.
func (f *flow) watch(s *sink) (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sinks[s] = struct{}{}
	return func() { f.leave(s) }
}

func (f *flow) leave(s *sink) {
	close(s.gone)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sinks, s)
}

// pump passes output on until it ends.
func (f *flow) pump(t *talk) {
	defer close(f.ended)
	defer t.cancel()
	for {
		m, err := t.heard()
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			f.err = err
			return
		case m.exit != nil:
			f.exit = m.exit
		case len(m.data) > 0:
			f.give(m)
		}
	}
}

func (f *flow) give(m said) {
	kind := agentv1.ProcessIO_Data_STDOUT
	if m.stderr {
		kind = agentv1.ProcessIO_Data_STDERR
	}
	out := &agentv1.ProcessIO{Type: agentv1.ProcessIO_DATA.Enum(), Data: &agentv1.ProcessIO_Data{Type: kind.Enum(), Data: m.data}}
	f.mu.Lock()
	list := slices.Collect(maps.Keys(f.sinks))
	f.mu.Unlock()
	for _, s := range list {
		select {
		case s.next <- out:
		case <-s.gone:
		}
	}
}

// over reports whether the command has ended.
func (f *flow) over() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}
