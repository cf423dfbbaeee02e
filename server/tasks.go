package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
)

// tasks serves TaskService.
type tasks struct{ *leader }

func (s tasks) List(ctx context.Context, req *connect.Request[polderv1.TaskServiceListRequest]) (*connect.Response[polderv1.TaskServiceListResponse], error) {
	m, p, v := req.Msg, s.board.look(), s.viewer(callerOf(ctx))
	if len(m.Ids) > maxAsks {
		return nil, invalid("ids", "%d tasks, at most %d in one request", len(m.Ids), maxAsks)
	}
	rows := p.tasks.After
	if len(m.Ids) > 0 {
		rows = p.someTasks(m.Ids)
	}
	out, next, err := pageOf(m, rows, func(t cluster.TaskView) bool {
		state := polderv1.TaskState(t.State)
		switch {
		case len(m.States) > 0 && !slices.Contains(m.States, state):
			return false
		case len(m.States) == 0 && !m.All && t.State.Terminal():
			return false
		}
		return (m.Volumes || !runsNothing(t.Payload)) && (m.Ask == "" || t.Ask == m.Ask) && (m.Node == "" || t.Node == m.Node) && under(t.Role, m.Role) && v.mayView(t.Role)
	}, taskProto)
	return connect.NewResponse(&polderv1.TaskServiceListResponse{Tasks: out, NextPageToken: next, Revision: p.revision}), err
}

func (s tasks) Get(ctx context.Context, req *connect.Request[polderv1.TaskServiceGetRequest]) (*connect.Response[polderv1.TaskServiceGetResponse], error) {
	row, err := s.until(ctx, req.Msg)
	if err != nil {
		return nil, err
	}
	res := &polderv1.TaskServiceGetResponse{Task: taskProto(row), Spec: s.shownTo(callerOf(ctx), row.Role, specOf(row.Payload))}
	if !row.State.Terminal() {
		res.Usage = s.used.of(row.Node, row.Task)
	}
	return connect.NewResponse(res), nil
}

// until finds a task, once it is as the caller wants it or has not become so for a while.
func (s tasks) until(ctx context.Context, m *polderv1.TaskServiceGetRequest) (cluster.TaskView, error) {
	var late <-chan time.Time
	for {
		p, next := s.board.lookAndNext()
		row, ok := p.tasks.Get(m.Id)
		switch {
		case !ok:
			return row, noTask(m.Id)
		case len(m.Until) == 0 || row.State.Terminal() || slices.Contains(m.Until, polderv1.TaskState(row.State)):
			return row, nil
		case late == nil:
			late = time.After(untilMost)
		}
		select {
		case <-next:
		case <-late:
			return row, nil
		case <-ctx.Done():
			return row, context.Cause(ctx)
		case <-s.ctx.Done():
			return row, errStopped
		}
	}
}

// Kill stops tasks for good. One that is over is shown as it ended.
func (s tasks) Kill(ctx context.Context, req *connect.Request[polderv1.KillRequest]) (*connect.Response[polderv1.KillResponse], error) {
	grace, err := durationCore(req.Msg.Grace, "grace")
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, func(t *turn) error {
		for _, id := range req.Msg.Ids {
			v, ok := t.cluster.Task(id)
			if !ok {
				continue
			}
			if err := noProcess(v.Payload, "task "+id); err != nil {
				return err
			}
			if _, err := t.step(cluster.Kill{Task: id, Force: req.Msg.Force, Grace: grace}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out, p := &polderv1.KillResponse{}, s.board.look()
	for _, id := range req.Msg.Ids {
		if row, ok := p.tasks.Get(id); ok {
			out.Tasks = append(out.Tasks, taskProto(row))
		}
	}
	return connect.NewResponse(out), nil
}

// Resize makes the lease of a door's container larger or smaller. It answers when that is durable: who is told of more may use it.
func (s tasks) Resize(ctx context.Context, req *connect.Request[polderv1.ResizeRequest]) (*connect.Response[polderv1.ResizeResponse], error) {
	wanted, err := kindAmounts(req.Msg.Resources, "resources")
	if err != nil {
		return nil, err
	}
	if len(wanted) == 0 {
		return nil, invalid("resources", "say what the lease is to hold")
	}
	out := &polderv1.ResizeResponse{}
	err = s.change(ctx, func(t *turn) error {
		v, ok := t.cluster.Task(req.Msg.Task)
		if err := noProcess(v.Payload, "task "+req.Msg.Task); err != nil {
			return err
		}
		if ok && specOf(v.Payload).GetContainer() == nil {
			return refused("InvalidArgument", "stop it and ask again with the size it needs",
				"task %s is no container of a door: the limits it was started with would stay as they are", v.Task)
		}
		if _, err := t.step(cluster.Resize{Task: req.Msg.Task, Resources: wanted}); err != nil {
			return err
		}
		v, _ = t.cluster.Task(req.Msg.Task) // it is there: the step was not refused
		out.Task = taskProto(v)
		return nil
	})
	return connect.NewResponse(out), err
}

// SetCosts notes what it costs to lose tasks. Those that are over meanwhile are passed over: their owner could not know.
func (s tasks) SetCosts(ctx context.Context, req *connect.Request[polderv1.SetCostsRequest]) (*connect.Response[polderv1.SetCostsResponse], error) {
	err := s.change(ctx, func(t *turn) error {
		for _, id := range slices.Sorted(maps.Keys(req.Msg.Costs)) {
			if _, ok := t.cluster.Task(id); !ok {
				continue
			}
			if _, err := t.step(cluster.SetCost{Task: id, Cost: costCore(req.Msg.Costs[id])}); err != nil {
				return err
			}
		}
		return nil
	})
	return connect.NewResponse(&polderv1.SetCostsResponse{}), err
}

// Logs streams what a task wrote, from the agent that has it.
func (s tasks) Logs(ctx context.Context, req *connect.Request[polderv1.LogsRequest], stream *connect.ServerStream[polderv1.LogsResponse]) error {
	if !slices.Contains([]string{"", "stdout", "stderr"}, req.Msg.Stream) {
		return invalid("stream", "%q is neither stdout nor stderr", clip(req.Msg.Stream, 40))
	}
	row, err := s.running(req.Msg.Task)
	if err != nil {
		return err
	}
	callerOf(ctx).patient = true
	return s.join(ctx, row.Node, &polderv1.OpenRelay{Logs: req.Msg}, func(x *relay) error {
		return x.output(ctx, s.leader, func(m *polderv1.RelayUp) error {
			if len(m.Data) == 0 {
				return nil
			}
			return stream.Send(&polderv1.LogsResponse{Data: m.Data, Stderr: m.Stderr})
		})
	})
}

// ListFiles lists a directory of a task's sandbox, on the agent that has it.
func (s tasks) ListFiles(ctx context.Context, req *connect.Request[polderv1.ListFilesRequest]) (*connect.Response[polderv1.ListFilesResponse], error) {
	row, err := s.running(req.Msg.Task)
	if err != nil {
		return nil, err
	}
	out := &polderv1.ListFilesResponse{}
	err = s.join(ctx, row.Node, &polderv1.OpenRelay{ListFiles: req.Msg}, func(x *relay) error {
		return x.output(ctx, s.leader, func(m *polderv1.RelayUp) error {
			if len(out.Files)+len(m.Files) > maxFiles {
				return refused("TooMany", "list a directory below it", "node %s lists more than %d files", row.Node, maxFiles)
			}
			out.Files = append(out.Files, m.Files...)
			return nil
		})
	})
	return connect.NewResponse(out), err
}

// maxFiles is how many files of a directory are listed; agents have the same bound.
const maxFiles = 10_000

// ReadFile streams a piece of a file in a task's sandbox.
func (s tasks) ReadFile(ctx context.Context, req *connect.Request[polderv1.ReadFileRequest], stream *connect.ServerStream[polderv1.ReadFileResponse]) error {
	row, err := s.running(req.Msg.Task)
	if err != nil {
		return err
	}
	callerOf(ctx).patient = true
	return s.join(ctx, row.Node, &polderv1.OpenRelay{ReadFile: req.Msg}, func(x *relay) error {
		first := true
		return x.output(ctx, s.leader, func(m *polderv1.RelayUp) error {
			if m.Size == 0 && len(m.Data) == 0 {
				return nil
			}
			out := &polderv1.ReadFileResponse{Data: m.Data}
			if first {
				out.Size, first = m.Size, false
			}
			return stream.Send(out)
		})
	})
}

// running finds a task that runs something, or did.
func (s tasks) running(id string) (cluster.TaskView, error) {
	row, ok := s.board.look().tasks.Get(id)
	if !ok {
		return row, noTask(id)
	}
	return row, noProcess(row.Payload, "task "+id)
}

// living finds one that is not over.
func (s tasks) living(id string) (cluster.TaskView, error) {
	row, err := s.running(id)
	switch {
	case err != nil:
		return row, err
	case row.State.Terminal():
		return row, refused("Ended", "read what it wrote from its logs", "task %s is over: %s", row.Task, row.State)
	}
	return row, nil
}

// Exec runs a command inside a task.
func (s tasks) Exec(ctx context.Context, stream *connect.BidiStream[polderv1.ExecRequest, polderv1.ExecResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	row, err := s.living(first.Start.GetTask())
	if err != nil {
		return err
	}
	callerOf(ctx).patient = true
	return s.join(ctx, row.Node, &polderv1.OpenRelay{Exec: first.Start}, func(x *relay) error {
		return s.converse(ctx, x, func() (*polderv1.RelayDown, error) {
			m, err := stream.Receive()
			if err != nil {
				return nil, err
			}
			return &polderv1.RelayDown{Stdin: m.Stdin, CloseStdin: m.CloseStdin, Resize: m.Resize}, nil
		}, func(m *polderv1.RelayUp) error {
			return stream.Send(&polderv1.ExecResponse{Data: m.Data, Stderr: m.Stderr, ExitCode: m.ExitCode})
		})
	})
}

var errLeft = errors.New("nothing more is sent")

// Attach connects to a task's own input and output.
func (s tasks) Attach(ctx context.Context, stream *connect.BidiStream[polderv1.AttachRequest, polderv1.AttachResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	row, err := s.interactive(first.Start)
	if err != nil {
		return err
	}
	callerOf(ctx).patient = true
	return s.join(ctx, row.Node, &polderv1.OpenRelay{Attach: first.Start}, func(x *relay) error {
		return s.converse(ctx, x, func() (*polderv1.RelayDown, error) {
			m, err := stream.Receive()
			if errors.Is(err, io.EOF) { // a client that leaves may end its stream in good order; the task's input is not over
				err = errLeft
			}
			if err != nil {
				return nil, err
			}
			return &polderv1.RelayDown{Stdin: m.Stdin, CloseStdin: m.CloseStdin, Resize: m.Resize}, nil
		}, func(m *polderv1.RelayUp) error {
			return stream.Send(&polderv1.AttachResponse{Data: m.Data, Stderr: m.Stderr, ExitCode: m.ExitCode})
		})
	})
}

// interactive finds the task to attach to, if it has what is to be connected.
func (s tasks) interactive(start *polderv1.AttachStart) (cluster.TaskView, error) {
	row, err := s.living(start.GetTask())
	if spec := specOf(row.Payload); err == nil && start.GetStdin() && !spec.GetStdin() && !spec.GetTty() {
		err = refused("NoInput", "attach without input, or run it anew with stdin or tty set", "task %s was started without an input", row.Task)
	}
	return row, err
}

// converse passes input on to the agent and output to the client, until the agent has said how it ended.
func (s tasks) converse(ctx context.Context, x *relay, next func() (*polderv1.RelayDown, error), send func(*polderv1.RelayUp) error) error {
	var input sync.WaitGroup
	over := make(chan struct{})
	defer input.Wait()
	defer callerOf(ctx).unread()
	defer close(over)
	input.Go(func() { x.input(over, next) })
	exited := false
	err := x.output(ctx, s.leader, func(m *polderv1.RelayUp) error {
		exited = exited || m.ExitCode != nil
		return send(m)
	})
	if err == nil && !exited {
		err = connect.NewError(connect.CodeUnavailable, fmt.Errorf("node %s ended the stream before the command had ended", x.node))
	}
	return err
}
