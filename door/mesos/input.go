package mesos

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/agentv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// Bounds of a container's input.
const (
	maxInput    = 1 << 20         // the longest record
	inputLinger = 5 * time.Second // how long what was sent may still be on its way when its sender has left
)

// errNoInput is Mesos' answer, by which its tools know that a task has no terminal.
var errNoInput = answer(http.StatusInternalServerError, "I/O switchboard server was disabled for this container")

// serveInput takes a container's input: a record that names it, then what it is to read. The end of the request is not the end of the
// input, and so says nothing to the container.
func (d *Door) serveInput(who principal, media wire.Media, w http.ResponseWriter, r *http.Request) error {
	if err := onlyPost(w, r); err != nil {
		return err
	}
	in := &input{media: media, records: wire.NewRecordReader(r.Body, maxInput)}
	first, err := in.next()
	if err == io.EOF {
		return badCall(agentCall, "Expecting 'attach_container_input' to be present")
	}
	if err != nil {
		return err
	}
	id := first.GetContainerId()
	if first.GetType() != agentv1.Call_AttachContainerInput_CONTAINER_ID || id == nil {
		return badCall(agentCall, "Expecting 'attach_container_input.container_id' to be present")
	}
	x, err := d.enterable(r.Context(), who, id)
	if err != nil {
		return err
	}
	// A request whose container ends is answered, though its sender has more to say.
	stop := func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now()) }
	if x != nil {
		defer context.AfterFunc(endOf(x.flow), stop)()
		return in.pass(x.talk, x.flow, x.tty)
	}
	return d.inputOfTask(who, id, in, stop, r)
}

// endOf is a context that ends with a flow.
func endOf(f *flow) context.Context { return flowContext{context.Background(), f} }

type flowContext struct {
	context.Context
	f *flow
}

// Done and Err implement [context.Context].
func (c flowContext) Done() <-chan struct{} { return c.f.ended }
func (c flowContext) Err() error {
	if c.f.over() {
		return context.Canceled
	}
	return nil
}

// inputOfTask takes the input of a task's own command. What the command says meanwhile is for those who attach to its output.
func (d *Door) inputOfTask(who principal, id *mesosv1.ContainerID, in *input, stop func(), r *http.Request) error {
	res, err := d.c.API.Tasks.Get(withSelf(r.Context()), connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: id.GetValue()}))
	if err != nil {
		return containerProblem(err)
	}
	spec := res.Msg.Spec
	ctx, cancel := d.whileServed(context.WithoutCancel(r.Context()))
	t, err := d.attachTo(door.As(ctx, who.caller), attachStart(id, true))
	if err != nil {
		cancel()
		var p *problem
		if !spec.GetTty() && !spec.GetStdin() && errors.As(err, &p) && p.status == http.StatusInternalServerError {
			return errNoInput
		}
		return err
	}
	f := newFlow()
	d.calls.Go(func() { f.pump(t) })
	release := context.AfterFunc(endOf(f), stop)
	err = in.pass(t, f, spec.GetTty())
	release()
	_ = t.hangUp()
	time.AfterFunc(inputLinger, cancel)
	return err
}

// attachStart connects to a task's own command.
func attachStart(id *mesosv1.ContainerID, stdin bool) *polderv1.AttachStart {
	return &polderv1.AttachStart{Task: id.GetValue(), Stdin: stdin}
}

// input is the records of a request.
type input struct {
	media   wire.Media
	records *wire.RecordReader
}

// next reads a record; at the end of the request it returns [io.EOF].
func (i *input) next() (*agentv1.Call_AttachContainerInput, error) {
	data, err := i.records.Next()
	switch {
	case errors.Is(err, io.EOF) && !errors.Is(err, wire.ErrRecord):
		return nil, io.EOF
	case err != nil:
		return nil, answer(http.StatusBadRequest, "Failed to read the input: %v", err)
	}
	c := &agentv1.Call{}
	if err := i.media.Unmarshal(data, c); err != nil {
		return nil, answer(http.StatusBadRequest, "Failed to parse a record into Call: %v", err)
	}
	if c.GetType() != agentv1.Call_ATTACH_CONTAINER_INPUT || c.AttachContainerInput == nil {
		return nil, badCall(agentCall, "Expecting 'attach_container_input' to be present")
	}
	return c.AttachContainerInput, nil
}

// pass sends the records on until the request or the command ends.
func (i *input) pass(t *talk, f *flow, tty bool) error {
	for {
		m, err := i.next()
		switch {
		case err == io.EOF, err != nil && f.over():
			return nil
		case err != nil:
			return err
		}
		if m.GetType() != agentv1.Call_AttachContainerInput_PROCESS_IO || m.ProcessIo == nil {
			return badCall(agentCall, "Expecting 'attach_container_input.process_io' to be present")
		}
		if err := passOn(t, m.ProcessIo, tty); err != nil {
			if f.over() || !isBadCall(err) {
				return nil // the command takes no more
			}
			return err
		}
	}
}

// passOn sends one piece of input on. An empty one is its end, but on a terminal, where a key says so.
func passOn(t *talk, m *agentv1.ProcessIO, tty bool) error {
	switch {
	case m.GetType() == agentv1.ProcessIO_CONTROL && m.Control.GetType() == agentv1.ProcessIO_Control_TTY_INFO:
		w := m.Control.GetTtyInfo().GetWindowSize()
		if w == nil {
			return badCall(agentCall, "Expecting 'process_io.control.tty_info.window_size' to be present")
		}
		return t.send(nil, false, &polderv1.TerminalSize{Rows: w.GetRows(), Columns: w.GetColumns()})
	case m.GetType() == agentv1.ProcessIO_CONTROL && m.Control.GetType() == agentv1.ProcessIO_Control_HEARTBEAT:
		return nil
	case m.GetType() == agentv1.ProcessIO_DATA && m.Data.GetType() == agentv1.ProcessIO_Data_STDIN:
		if len(m.Data.Data) == 0 && tty {
			return nil
		}
		return t.send(m.Data.Data, len(m.Data.Data) == 0, nil)
	}
	return badCall(agentCall, "Expecting 'process_io' to be a heartbeat, a terminal's size or data of 'STDIN'")
}

func isBadCall(err error) bool {
	var p *problem
	return errors.As(err, &p)
}
