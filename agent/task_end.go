package agent

import (
	"fmt"
	"time"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// stopCommand ends a task, by order of the server or of the agent itself.
type stopCommand struct {
	end    polderv1.TaskState
	reason *polderv1.Reason
	grace  *time.Duration // nil is the task's kill policy
	force  bool           // SIGKILL at once
	// deletes says that somebody asked for the end of a volume and of what is in it.
	deletes bool
}

// codeDone is the reason of a stop after a task, or somebody for it, told the server that its work is saved.
const codeDone = "Done"

// stopFrom reads the server's order. Its reason says what the task will have been: RECLAIMED when it said that it is done
// with making room, KILLED otherwise.
func stopFrom(m *polderv1.StopTask) stopCommand {
	c := stopCommand{end: polderv1.TaskState_TASK_STATE_KILLED, reason: m.Reason, force: m.Force, deletes: m.GetReason().GetCode() == volume.Deleted}
	if m.GetReason().GetCode() == codeDone {
		c.end = polderv1.TaskState_TASK_STATE_RECLAIMED
	}
	if m.Grace != nil {
		grace := max(m.Grace.AsDuration(), 0)
		c.grace = &grace
	}
	if c.reason == nil {
		c.reason = &polderv1.Reason{Code: "Killed", Message: "stopped because somebody asked"}
	}
	return c
}

// stop orders the end of the task. A task that is stopping already keeps its first reason and may only get less time.
func (t *task) stop(c stopCommand) {
	if terminal(t.rec.State) {
		t.publish()
		return
	}
	if t.volume != "" && !c.deletes {
		t.keep("stop it (" + c.reason.GetMessage() + ")")
		return
	}
	grace := killGrace(t.rec.Assignment)
	if c.grace != nil {
		grace = *c.grace
	}
	if c.force {
		grace = 0
	}
	kill := after(t.a.c.Clock, grace)
	switch o := t.rec.Stop; {
	case o == nil:
		t.apply(func(r *record) { r.Stop = &stopOrder{End: c.end, Reason: c.reason, Kill: kill} })
	case kill.until(t.a.c.Clock) < o.Kill.until(t.a.c.Clock):
		t.apply(func(r *record) { r.Stop.Kill = kill })
	}
	if t.begin != nil {
		t.begin()
	} else if !t.live && !t.restored {
		t.retryIn(0) // was waiting for its engine
	}
}

// keep tells that a volume stays whatever the server wanted of it: only who deletes it loses what is in it.
func (t *task) keep(wanted string) {
	t.a.tell("VolumeKept", t.id, fmt.Sprintf("volume %s stays on node %s: the server wanted to %s, and only its deletion deletes what is in it", t.volume, t.a.c.Node, wanted))
	t.publish()
}

// onExit takes the end of the task, once it is known whether it had its stop signal.
func (t *task) onExit(e runtime.Exit) { t.afterSignal(func() { t.classify(e) }) }

// classify says what the task was.
func (t *task) classify(e runtime.Exit) {
	if terminal(t.rec.State) {
		return
	}
	var code *int32
	if !e.Lost {
		c := int32(e.Code)
		code = &c
	}
	state, reason := t.outcome(e)
	t.finish(state, code, reason)
}

// outcome says what the task was: what it was stopped for comes first, then success of its own, then the notice it was
// under, then how it failed.
func (t *task) outcome(e runtime.Exit) (polderv1.TaskState, *polderv1.Reason) {
	n := t.rec.Notice
	obeyed := t.rec.obeyed(e.FinishedAt)
	switch {
	case t.rec.Stop != nil:
		return t.rec.Stop.End, t.rec.Stop.Reason
	case e.Success() && !obeyed:
		return polderv1.TaskState_TASK_STATE_SUCCEEDED, nil
	case n.forces() || obeyed || n.crossed(e.FinishedAt):
		return polderv1.TaskState_TASK_STATE_RECLAIMED, &polderv1.Reason{
			Code: "Reclaimed", Message: fmt.Sprintf("made room for %s (%s)", n.Wire.Claimant, e),
		}
	case e.Lost:
		return polderv1.TaskState_TASK_STATE_LOST, &polderv1.Reason{Code: "Lost", Message: e.String()}
	case e.OOM:
		return polderv1.TaskState_TASK_STATE_FAILED, &polderv1.Reason{
			Code: "OutOfMemory", Message: "used more memory than it asked for", UnblockedBy: "asking for more memory",
		}
	}
	return polderv1.TaskState_TASK_STATE_FAILED, &polderv1.Reason{Code: "Exited", Message: "ended with " + e.String()}
}

// finish notes the end. The record stays until the server has it.
func (t *task) finish(state polderv1.TaskState, code *int32, reason *polderv1.Reason) {
	t.quiet()
	t.hush()
	t.live, t.wanted, t.killed, t.retry = false, nil, nil, nil
	ended := t.a.c.Clock.Now().Round(0)
	t.apply(func(r *record) {
		r.State, r.ExitCode, r.Reason, r.Ended = state, code, reason, ended
		if r.Notice.open() {
			r.Notice.Wire = withState(r.Notice.Wire, noticeLeft)
		}
	})
	t.a.c.Logger.Info("task ended", "task", t.id, "state", state.String(), "reason", reason.GetCode(), "ran", t.sinceStart())
	t.a.gpus.release(t.id)
	close(t.ended)
}
