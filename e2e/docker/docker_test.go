package docker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/e2e/stage"
	"polder.dev/polder/e2e/witness"
)

const plan = `cluster: {reclaimDelay: 200ms}
roles:
  online:  {guarantee: {cpu: 2}, lendGrace: 10s}
  offline: {reclaimGrace: 2s}
`

// patience is how long anything may take on a busy machine.
const patience = 90 * time.Second

// house is a pool on an engine, and the witness of its workers.
type house struct {
	*stage.Pool
	t      *testing.T
	dir    string
	engine string // its directory
	news   chan witness.News
}

func newHouse(t *testing.T) *house {
	dir, remove, err := stage.TempDir("docker")
	must(t, err)
	h := &house{t: t, dir: dir, engine: filepath.Join(dir, "engine"), news: make(chan witness.News, 1000)}
	t.Cleanup(func() { must(t, remove(t.Failed())) })
	host, stop, err := stage.Engine(t.Context(), h.engine)
	must(t, err)
	t.Cleanup(func() { must(t, stop()) })
	programs, err := stage.Build(t.Context(), dir)
	must(t, err)
	w, err := witness.Listen(h.socket(), func(n witness.News) { h.news <- n })
	must(t, err)
	h.Pool, err = stage.Open(t.Context(), stage.Options{
		Dir: dir, Programs: programs, Agents: 3, Capacity: "cpu=1,memory=1Gi,disk=1Gi", Runtime: "docker", DockerHost: host, Plan: plan,
	})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()); must(t, h.Close()) }) // in this order: hanging up ends the workers
	return h
}

func (h *house) socket() string { return filepath.Join(h.dir, "witness.sock") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// submit asks for workers and returns the ask's id.
func (h *house) submit(role string, n uint32, conduct string) string {
	h.t.Helper()
	task := h.Worker(map[string]string{"WITNESS": h.socket(), "CONDUCT": conduct, "WORK": "0s"}, "0.9")
	id, err := h.API.Submit(h.t.Context(), "", &polderv1.AskSpec{Role: role, Count: n, Task: task})
	must(h.t, err)
	return id
}

// heard waits for a worker's word of a kind ("" is its end), from a task of an ask.
func (h *house) heard(ask, kind string) witness.News {
	h.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case n := <-h.news:
			if n.Run.Instance.Ask == ask && n.Kind == kind {
				return n
			}
		case <-limit:
			h.t.Fatalf("no %q of %s within %v", kind, ask, patience)
		}
	}
}

// state waits until a task is in a state, and returns it.
func (h *house) state(task string, want polderv1.TaskState) *polderv1.Task {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	var got *polderv1.Task
	must(h.t, stage.Retry(ctx, func(ctx context.Context) error {
		res, err := h.API.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: task}))
		if connect.CodeOf(err) == connect.CodeNotFound {
			return fmt.Errorf("task %s is not there yet", task)
		}
		if err != nil {
			return err
		}
		if got = res.Msg.Task; got.State != want {
			return fmt.Errorf("task %s is %v (%v), want %v", task, got.State, got.Reason, want)
		}
		return nil
	}))
	return got
}

// TestContainers tells the story; its parts build on each other.
func TestContainers(t *testing.T) {
	h := newHouse(t)
	t.Run("logs and exec", h.at((*house).logsAndExec))
	t.Run("reclaim", h.at((*house).reclaim))
	t.Run("engine restart", h.at((*house).engineRestart))
}

// at lets a part of the story report to its own test.
func (h *house) at(part func(*house)) func(*testing.T) {
	return func(t *testing.T) {
		whole := h.t
		h.t = t
		defer func() { h.t = whole }()
		part(h)
	}
}

// logsAndExec runs a container that speaks, reads what it says, and runs a command in it.
func (h *house) logsAndExec() {
	id, err := h.API.Submit(h.t.Context(), "", &polderv1.AskSpec{Role: "online", Task: &polderv1.TaskSpec{
		Image: stage.Image, Command: []string{"sh", "-c", "echo out; echo err >&2; trap 'exit 0' TERM; while :; do sleep 0.1; done"},
		Resources: map[string]string{"cpu": "0.1"}, Env: map[string]string{"WHO": "container"},
	}})
	must(h.t, err)
	task := id + ".0"
	h.state(task, polderv1.TaskState_TASK_STATE_RUNNING)
	if got := h.logs(task, 2); got != "err\nout\n" && got != "out\nerr\n" {
		h.t.Errorf("logs are %q", got)
	}
	if out, code := h.exec(task, "sh", "-c", "echo $WHO; exit 7"); out != "container\n" || code != 7 {
		h.t.Errorf("exec says %q with code %d", out, code)
	}
	must(h.t, h.API.Cancel(h.t.Context(), id))
	h.state(task, polderv1.TaskState_TASK_STATE_KILLED)
}

// logs follows a task's output until it has so many lines.
func (h *house) logs(task string, lines int) string {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	stream, err := h.API.Tasks.Logs(ctx, connect.NewRequest(&polderv1.LogsRequest{Task: task, Follow: true}))
	must(h.t, err)
	defer stream.Close()
	var out strings.Builder
	for strings.Count(out.String(), "\n") < lines && stream.Receive() {
		out.Write(stream.Msg().Data)
	}
	must(h.t, stream.Err())
	return out.String()
}

// exec runs a command in a task.
func (h *house) exec(task string, command ...string) (out string, code int32) {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	stream := h.API.Tasks.Exec(ctx)
	defer stream.CloseResponse()
	must(h.t, stream.Send(&polderv1.ExecRequest{Start: &polderv1.ExecStart{Task: task, Command: command}}))
	for {
		m, err := stream.Receive()
		must(h.t, err)
		out += string(m.Data)
		if m.ExitCode != nil {
			return out, *m.ExitCode
		}
	}
}

// reclaim fills the pool with borrowers and takes one place back.
func (h *house) reclaim() {
	lent := h.submit("offline", 3, "done")
	for range 3 {
		h.heard(lent, witness.Started)
	}
	wanted := h.submit("online", 1, "term")
	notice := h.heard(lent, witness.Noticed)
	if notice.Notice.State != "open" || !strings.Contains(notice.Notice.Claimant, wanted) {
		h.t.Errorf("the notice is %+v", notice.Notice)
	}
	victim := h.state(notice.Run.Task, polderv1.TaskState_TASK_STATE_RECLAIMED)
	if victim.Reason.GetCode() != "Done" {
		h.t.Errorf("the borrower left because of %v", victim.Reason)
	}
	got := h.state(wanted+".0", polderv1.TaskState_TASK_STATE_RUNNING)
	if got.Funding != "online" || got.Node != victim.Node {
		h.t.Errorf("online runs on %s paid by %s; the borrower left %s", got.Node, got.Funding, victim.Node)
	}
	must(h.t, h.API.Cancel(h.t.Context(), wanted))
	again := h.heard(lent, witness.Started)
	if again.Run.Instance != notice.Run.Instance || again.Run.Attempt != 1 {
		h.t.Errorf("after that %s started, want the next attempt of %s", again.Run.Task, notice.Run.Task)
	}
	must(h.t, h.API.Cancel(h.t.Context(), lent))
	for range 3 {
		h.heard(lent, "")
	}
}

// engineRestart restarts the engine under containers. It stops them; they are not lost by it, and not doubled.
func (h *house) engineRestart() {
	task := h.Worker(map[string]string{"WITNESS": h.socket(), "CONDUCT": "term", "WORK": "0s", "LEDGER": h.ledger()}, "0.9")
	task.Kill = &polderv1.KillPolicy{Grace: durationpb.New(time.Second)}
	id, err := h.API.Submit(h.t.Context(), "", &polderv1.AskSpec{Role: "online", Count: 2, Task: task})
	must(h.t, err)
	for range 2 {
		h.heard(id, witness.Started)
	}
	for _, what := range []string{"stop", "start"} {
		root, err := stage.Root()
		must(h.t, err)
		if out, err := exec.Command(filepath.Join(root, "e2e", "engine.sh"), what, h.engine).CombinedOutput(); err != nil {
			h.t.Fatalf("engine.sh %s: %v\n%s", what, err, out)
		}
	}
	seen := map[int]int{}
	for range 2 {
		n := h.heard(id, witness.Started)
		seen[n.Run.Instance.Index]++
	}
	if len(seen) != 2 {
		h.t.Errorf("after the restart of the engine these started: %v", seen)
	}
	for i := range 2 {
		h.state(fmt.Sprintf("%s.%d.1", id, i), polderv1.TaskState_TASK_STATE_RUNNING)
	}
	must(h.t, h.API.Cancel(h.t.Context(), id))
	for i := range 2 {
		h.state(fmt.Sprintf("%s.%d.1", id, i), polderv1.TaskState_TASK_STATE_KILLED)
	}
}

func (h *house) ledger() string {
	dir := filepath.Join(h.dir, "ledger")
	must(h.t, os.MkdirAll(dir, 0o777))
	return dir
}
