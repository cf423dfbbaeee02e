package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// story lets the ask "ask-1" go through states, one for each look at it. It runs with the fake's lock held.
func story(f *fake, steps ...func(ask *polderv1.Ask, task *polderv1.Task)) {
	task := &polderv1.Task{Id: "ask-1.0", Ask: "ask-1", Role: "corp/offline"}
	f.onCall = func(name string, n int) error {
		if name != "AskService/Get" {
			return nil
		}
		if n == 1 {
			f.tasks = append(f.tasks, task)
		}
		steps[min(n, len(steps))-1](f.asks[len(f.asks)-1], task)
		return nil
	}
}

func pending(k *polderv1.Ask, t *polderv1.Task) {
	t.State, k.Reason = polderv1.TaskState_TASK_STATE_PENDING, &polderv1.Reason{Message: "waits for cpu=1 from corp/online"}
}

func running(k *polderv1.Ask, t *polderv1.Task) {
	t.State, t.Node, t.Funding, k.Reason = polderv1.TaskState_TASK_STATE_RUNNING, "node-1", "borrowed", nil
}

func reclaimed(_ *polderv1.Ask, t *polderv1.Task) { t.State = polderv1.TaskState_TASK_STATE_RECLAIMED }

func again(k *polderv1.Ask, t *polderv1.Task) {
	running(k, t)
	t.Attempt, t.Funding = 1, "corp/offline"
}

func finished(state polderv1.TaskState, code int32) func(*polderv1.Ask, *polderv1.Task) {
	return func(k *polderv1.Ask, t *polderv1.Task) {
		k.State, t.State, t.ExitCode, t.Node = "finished", state, &code, "node-1"
	}
}

func TestRunWait(t *testing.T) {
	f := newFake(t)
	story(f, pending, pending, running, reclaimed, again, finished(polderv1.TaskState_TASK_STATE_FAILED, 3))
	r := f.run("run", "--role", "corp/offline", "--wait", "--", "work")
	want := `ask-1 is queued for corp/offline
waiting: waits for cpu=1 from corp/online
ask-1.0 is running on node-1, on borrowed capacity
ask-1.0 is reclaimed; it is queued again
ask-1.0 is running on node-1, paid by corp/offline
ask-1.0 failed with exit code 3
`
	if r.code != 3 || r.err != want || r.out != "" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestRunFollow(t *testing.T) {
	f := newFake(t)
	story(f, running, running, again, finished(polderv1.TaskState_TASK_STATE_SUCCEEDED, 0))
	r := f.run("run", "--role", "corp/offline", "-f", "--", "work")
	if r.code != 0 || r.out != strings.Repeat("out of ask-1.0\n", 2) {
		t.Errorf("exit %d, want the output of two attempts\n%s%s", r.code, r.out, r.err)
	}
}

// TestRunFollowQuick: a task that ended between two looks still shows its output.
func TestRunFollowQuick(t *testing.T) {
	f := newFake(t)
	story(f, finished(polderv1.TaskState_TASK_STATE_SUCCEEDED, 0))
	if r := f.run("run", "--role", "r", "-f", "--", "work"); r.code != 0 || r.out != "out of ask-1.0\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestRunInterrupted(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	story(f, pending, func(*polderv1.Ask, *polderv1.Task) { cancel() })
	r := command{ctx: ctx, env: f.env()}.run("run", "--role", "r", "--wait", "--", "work")
	if r.code != exitInterrupted || !strings.Contains(r.err, "stopped waiting for ask-1\n  next: It goes on: \"polder why ask-1\"") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestRunTimeout(t *testing.T) {
	f := newFake(t)
	story(f, pending)
	r := f.run("run", "--role", "r", "--wait", "--timeout", "50ms", "--", "work")
	if r.code != exitTimeout || !strings.Contains(r.err, "ask-1 has not ended in 50ms") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// TestRunSurvivesTrouble: a server that is away for a moment does not end the waiting; one that stays away does.
func TestRunSurvivesTrouble(t *testing.T) {
	f := newFake(t)
	done := finished(polderv1.TaskState_TASK_STATE_SUCCEEDED, 0)
	f.onCall = func(name string, n int) error {
		if name != "AskService/Get" {
			return nil
		}
		if n < 4 {
			return connect.NewError(connect.CodeUnavailable, errors.New("no leader"))
		}
		task := &polderv1.Task{Id: "ask-1.0", Ask: "ask-1"}
		done(f.asks[len(f.asks)-1], task)
		f.tasks = append(f.tasks, task)
		return nil
	}
	if r := f.run("run", "--role", "r", "--wait", "--", "x"); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	f.onCall = func(name string, _ int) error {
		if name != "AskService/Get" {
			return nil
		}
		return connect.NewError(connect.CodeUnavailable, errors.New("no leader"))
	}
	if r := f.run("run", "--role", "r", "--wait", "--", "x"); r.code != exitError {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestRunWithoutWaiting(t *testing.T) {
	f := newFake(t)
	if r := f.run("run", "--role", "r", "--name", "job", "--", "x"); r.code != 0 || r.out != "job-1\n" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	f.refuse = &polderv1.Reason{Code: "Impossible", Message: "no node has cpu=900"}
	if r := f.run("run", "--role", "r", "--cpu", "900", "--", "x"); r.code != exitConflict || !strings.Contains(r.err, "the ask was refused (Impossible): no node has cpu=900") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// TestWatchChanges: where nothing can be redrawn, a watch prints the list and then only what changed.
func TestWatchChanges(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.onCall = func(_ string, n int) error { // two pages a look
		switch n {
		case 5:
			f.nodes[2] = &polderv1.Node{Name: "node-3", State: "ready"}
		case 9:
			f.nodes = f.nodes[1:]
		case 12:
			cancel()
		}
		return nil
	}
	r := command{ctx: ctx, env: f.env()}.run("node", "list", "--watch", "--interval", "1ms", "-o", "name")
	if r.code != 0 || r.out != "node-1\nnode-2\nnode-3\nnode-3\n" || r.err != "node-1 is gone\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
}

// TestWatchSurvivesTrouble: a server that is away for a moment does not end a watch; a lasting error does.
func TestWatchSurvivesTrouble(t *testing.T) {
	f := newFake(t)
	f.onCall = func(_ string, n int) error {
		switch {
		case n == 3 || n == 4:
			return connect.NewError(connect.CodeUnavailable, errors.New("no leader"))
		case n >= 7:
			return connect.NewError(connect.CodePermissionDenied, errors.New("not any more"))
		}
		return nil
	}
	r := f.run("node", "list", "--watch", "--interval", "1ms", "-o", "json")
	if r.code != exitDenied || f.calls["NodeService/List"] != 7 || strings.Count(r.out, "\n") != 3 {
		t.Errorf("exit %d after %d calls\n%s%s", r.code, f.calls["NodeService/List"], r.out, r.err)
	}
}

// TestStreamResumes: a broken stream goes on after the last revision; another error ends it.
func TestStreamResumes(t *testing.T) {
	f := newFake(t)
	r := f.run("notice", "watch", "--no-headers")
	if r.code != exitDenied || strings.Count(r.out, "count-2.0") != 2 || !strings.Contains(r.out, "left") || !strings.HasPrefix(r.err, "connection lost; trying again\n") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	r = f.run("event", "-f", "-o", "json")
	if r.code != exitDenied || strings.Count(r.out, "\n") != 3 || !strings.Contains(r.out, `{"revision":"7"`) {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestPagesThatNeverEnd(t *testing.T) {
	_, _, err := pages(context.Background(), func(context.Context, string) (page[int], error) { return page[int]{[]int{1}, "same", 1}, nil })
	if err == nil || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("%v", err)
	}
}
