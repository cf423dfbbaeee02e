package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"polder.dev/polder/agent/fetch"
	"polder.dev/polder/agent/health"
	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// errNotStarted is the outcome of a start that was called off before the runtime was asked to run anything.
var errNotStarted = errors.New("the task was stopped before it started")

// News from the runtime.
type (
	// found is what the runtime knows of a restored task; status is nil when it does not know it.
	found struct{ status *runtime.Status }
	// started is the outcome of preparing and starting.
	started struct {
		status runtime.Status
		err    error
	}
	// exited is the end of the task.
	exited struct{ exit runtime.Exit }
	// checked is a change of health; nil is healthy.
	checked struct{ err error }
)

// launch records a new task and starts it. What cannot be recorded is not started.
func (t *task) launch(ctx context.Context) {
	gpus, short := t.a.gpus.take(t.rec.Assignment)
	if err := t.commit(func(r *record) { r.GPUs = gpus }); err != nil {
		t.volatile = true
		t.finish(polderv1.TaskState_TASK_STATE_FAILED, nil, &polderv1.Reason{
			Code: "NoCheckpoint", Message: fmt.Sprintf("node %s could not record the task and did not start it: %v", t.a.c.Node, err),
			UnblockedBy: "free space on the disk of " + t.a.c.Dir,
		})
		return
	}
	if short != nil {
		t.finish(polderv1.TaskState_TASK_STATE_FAILED, nil, &polderv1.Reason{Code: "GPUsTaken", Message: fmt.Sprintf("node %s: %v", t.a.c.Node, short)})
		return
	}
	t.start(ctx)
}

// adopt goes on where the record of an earlier agent ends.
func (t *task) adopt(ctx context.Context, m found) {
	t.restored = false
	if m.status != nil && m.status.State == runtime.Starting {
		m.status = nil // made, and not started yet
	}
	if terminal(t.rec.State) {
		return
	}
	t.resumeNotice()
	t.signalAgain()
	switch {
	case m.status != nil:
		t.onStarted(ctx, started{status: *m.status})
	case t.volume != "" && t.rec.State == polderv1.TaskState_TASK_STATE_RUNNING && t.rec.Stop == nil:
		// Nobody asked for its end, so its disk is more likely to be missing than what is in it. It is not made anew either.
		t.a.warn("task "+t.id, fmt.Sprintf("volume %s is not in %s any more; mount the disk it is on and start the agent again, or delete it",
			t.volume, volumesDir(t.a.c.Dir)))
	case t.rec.State == polderv1.TaskState_TASK_STATE_RUNNING:
		t.finish(polderv1.TaskState_TASK_STATE_LOST, nil, &polderv1.Reason{
			Code:    "Vanished",
			Message: fmt.Sprintf("runtime %s of node %s does not have the task any more: it was removed, or the machine was reset", t.runtime.Name(), t.a.c.Node),
		})
	default:
		t.start(ctx)
	}
}

// start begins to prepare the task, or ends it when it was told to stop meanwhile.
func (t *task) start(ctx context.Context) {
	if t.runtime == nil {
		t.fail("NoRuntime", fmt.Errorf("node %s has no runtime %q", t.a.c.Node, runtimeName(t.rec.Assignment.Spec)))
		return
	}
	spec, err := specOf(t.rec.Assignment, t.a.c.Node, sandboxOf(t.a.c.Dir, t.rec.Assignment), t.a.mountable())
	if err != nil {
		code := "InvalidTask"
		if errors.Is(err, runtime.ErrNotFound) || errors.Is(err, runtime.ErrUnavailable) { // it was there when the task was placed here
			code = "VolumeMissing"
		}
		t.fail(code, err)
		return
	}
	spec.GPUs, spec.Gate = t.rec.GPUs, t.a.gateAddr()
	prepare, cancel := context.WithCancel(ctx)
	t.begin = cancel
	stopped, assignment := t.rec.Stop != nil, t.rec.Assignment // the record goes on changing
	t.a.running.Go(func() {
		defer cancel()
		if stopped {
			t.post(ctx, started{err: t.undo(ctx)})
			return
		}
		status, err := t.begun(ctx, prepare, spec, assignment)
		t.post(ctx, started{status, err})
	})
}

// begun prepares under a context that a stop cancels, and starts under one that it does not: whether something was
// started must not stay unknown.
func (t *task) begun(ctx, prepare context.Context, spec runtime.Spec, a *polderv1.Assignment) (runtime.Status, error) {
	if err := makeSandbox(spec.Sandbox, a); err != nil {
		return runtime.Status{}, fmt.Errorf("making the sandbox: %w", err)
	}
	if err := makeMountPoints(spec); err != nil {
		return runtime.Status{}, &runtime.Error{Kind: runtime.ErrStart, Op: "mount", Task: t.id, Cause: err}
	}
	err := t.runtime.Prepare(prepare, spec, t.progress())
	if err == nil {
		err = t.fetch(prepare, spec.Sandbox, a.GetSpec())
	}
	if prepare.Err() != nil {
		return runtime.Status{}, errNotStarted
	}
	if err != nil {
		return runtime.Status{}, err
	}
	return t.runtime.Start(ctx, spec)
}

// undo makes sure that an earlier try, whose outcome the engine did not tell, leaves nothing running.
func (t *task) undo(ctx context.Context) error {
	err := t.runtime.Kill(ctx, t.id)
	if err == nil || errors.Is(err, runtime.ErrNotFound) || errors.Is(err, runtime.ErrNotRunning) {
		return errNotStarted
	}
	return err
}

// progress tells the server about the steps of a long preparation, not about every byte.
func (t *task) progress() func(runtime.Progress) {
	step := ""
	return func(p runtime.Progress) {
		if p.Step != step {
			step = p.Step
			t.a.outbox.event(&polderv1.AgentEvent{Kind: "Preparing", Task: t.id, Message: p.Step + " " + p.Item})
		}
	}
}

// fail ends a task that did not start.
func (t *task) fail(code string, err error) {
	t.finish(polderv1.TaskState_TASK_STATE_FAILED, nil, &polderv1.Reason{Code: code, Message: err.Error()})
}

// onStarted goes on after the runtime has started the task, or not.
func (t *task) onStarted(ctx context.Context, m started) {
	t.begin = nil
	switch {
	case m.err == nil:
		t.awaitEnd(ctx, m.status)
	case errors.Is(m.err, errNotStarted):
		t.onExit(runtime.LostExit(m.err.Error()))
	case away(m.err):
		t.waitForEngine(m.err)
	case t.rec.Stop != nil:
		t.onExit(runtime.LostExit(m.err.Error()))
	default:
		t.fail(startCode(m.err), m.err)
	}
}

// waitForEngine tries again later: an engine that is away says nothing about the task.
func (t *task) waitForEngine(err error) {
	t.backoff = min(max(2*t.backoff, retryFirst), retryMost)
	t.retryIn(t.a.c.Jitter(t.backoff))
	t.apply(func(r *record) { r.Reason = &polderv1.Reason{Code: "EngineUnavailable", Message: err.Error()} })
}

func startCode(err error) string {
	switch {
	case errors.Is(err, runtime.ErrImage):
		return "ImageUnavailable"
	case errors.Is(err, runtime.ErrInvalid):
		return "InvalidTask"
	case errors.Is(err, runtime.ErrUnsupported):
		return "Unsupported"
	}
	return "StartFailed"
}

// awaitEnd notes that the task runs and waits for its end, whatever else happens.
func (t *task) awaitEnd(ctx context.Context, s runtime.Status) {
	t.live = true
	if t.rec.State == polderv1.TaskState_TASK_STATE_RUNNING && t.rec.Started != nil {
		t.publish()
	} else {
		now := after(t.a.c.Clock, 0)
		t.apply(func(r *record) { r.State, r.Reason, r.Started = polderv1.TaskState_TASK_STATE_RUNNING, nil, &now })
	}
	if s.State == runtime.Exited {
		t.onExit(*s.Exit) // now: a stop signal that is due comes after it
		return
	}
	t.a.running.Go(func() { t.wait(ctx) })
	alive, cancel := context.WithCancel(ctx)
	t.quiet = cancel
	t.watchHealth(alive)
	if n := t.rec.Notice; n.open() || n.withdrawnUnheard() {
		t.deliver(ctx, false)
	}
}

// wait hands the end of the task to the owner. An engine that is away is asked again.
func (t *task) wait(ctx context.Context) {
	for delay := retryFirst; ; delay = min(2*delay, retryMost) {
		exit, err := t.runtime.Wait(ctx, t.id)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			t.post(ctx, exited{exit})
			return
		case errors.Is(err, runtime.ErrNotFound):
			t.post(ctx, exited{runtime.LostExit("the runtime does not have the task any more")})
			return
		}
		t.a.warn("runtime "+t.runtime.Name(), fmt.Sprintf("runtime %s does not answer: %v", t.runtime.Name(), err))
		if pause(ctx, t.a.c.Jitter(delay)) != nil {
			return
		}
	}
}

// watchHealth starts the task's health check, if it has one.
func (t *task) watchHealth(ctx context.Context) {
	h := t.rec.Assignment.GetSpec().GetHealth()
	if h == nil {
		return
	}
	check := health.Check{
		Probe: t.probe(h), Interval: h.GetInterval().AsDuration(), Timeout: h.GetTimeout().AsDuration(),
		Failures: int(h.GetFailures()), StartPeriod: h.GetStartPeriod().AsDuration(),
	}
	t.a.running.Go(func() {
		check.Run(ctx, func(err error) { t.post(ctx, checked{err}) })
	})
}

func (t *task) probe(h *polderv1.HealthCheck) func(context.Context) error {
	a := t.rec.Assignment
	switch {
	case len(h.Command) > 0:
		return func(ctx context.Context) error {
			code, err := t.runtime.Exec(ctx, t.id, runtime.ExecOptions{Command: h.Command})
			if err == nil && code != 0 {
				err = fmt.Errorf("%s exited with code %d", h.Command[0], code)
			}
			return err
		}
	case h.Http != "":
		return health.HTTP(withPorts(h.Http, a))
	}
	return health.TCP(withPorts(h.Tcp, a))
}

// onHealth notes a change of health and stops a task that is unhealthy. The server decides about another start.
func (t *task) onHealth(err error) {
	if !t.live {
		return
	}
	if err == nil {
		t.health = "healthy"
		t.publish()
		return
	}
	t.health = "unhealthy"
	t.stop(stopCommand{
		end:    polderv1.TaskState_TASK_STATE_FAILED,
		reason: &polderv1.Reason{Code: "Unhealthy", Message: err.Error()},
	})
}

// sinceStart is how long the task has run, for people.
func (t *task) sinceStart() time.Duration {
	if t.rec.Started == nil {
		return 0
	}
	return -t.rec.Started.until(t.a.c.Clock)
}

// fetch gets a task's artifacts into its directory.
func (t *task) fetch(ctx context.Context, dir string, spec *polderv1.TaskSpec) error {
	for _, a := range spec.GetArtifacts() {
		if err := fetch.Into(ctx, dir, fetch.Artifact{URI: a.GetUri(), Path: a.GetPath(), Executable: a.GetExecutable(), Extract: a.GetExtract()}); err != nil {
			return &runtime.Error{Kind: runtime.ErrStart, Op: "fetch", Task: t.id, Cause: err}
		}
	}
	return nil
}
