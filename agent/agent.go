package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

// Keys of the journal. A task's is taskPrefix and its id.
const (
	epochKey   = "epoch"
	diskKey    = "disk" // detected at the first start: later the tasks' own files would count against it
	taskPrefix = "task/"
)

// maxEnded tasks are kept at most after the server knows their end.
const maxEnded = 200

// Agent runs one machine's tasks. Make it with [New], then call Run once.
type Agent struct {
	c        Config
	runtimes map[string]runtime.Runtime
	outbox   *outbox
	usage    usage
	meters   *meters
	epoch    atomic.Int64           // highest obeyed
	ready    chan struct{}          // closed when Run has restored the tasks
	gate     atomic.Pointer[string] // host:port where tasks reach doors
	volumes  *volume.Runtime

	callbacks *http.Client                                             // for the tasks' own URLs
	changes   func(ctx context.Context, dir string) iter.Seq[struct{}] // see watchDir

	// Set by Run before ready is closed.
	journal  *checkpoint.Journal
	capacity resource.Resources
	gpus     *gpus
	running  sync.WaitGroup // every goroutine of Run

	mu       sync.Mutex // guards all below
	tasks    map[string]*task
	acked    []*task           // ended and known to the server, oldest first
	warnings map[string]string // by subject, for Hello
	away     []string          // runtimes that do not answer
	stopping bool              // StopAll was called: start nothing
}

// New checks the configuration. It touches nothing; Run does.
func New(c Config) (*Agent, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		c: c, runtimes: map[string]runtime.Runtime{}, outbox: newOutbox(), ready: make(chan struct{}),
		meters: newMeters(), tasks: map[string]*task{}, warnings: map[string]string{}, callbacks: callbacks, changes: watchDir,
		volumes: volume.New(volumesDir(c.Dir)),
	}
	a.c.Runtimes = append(slices.Clip(c.Runtimes), a.volumes)
	for _, r := range a.c.Runtimes {
		a.runtimes[r.Name()] = r
	}
	return a, nil
}

// volumesDir is where the volumes of an agent are.
func volumesDir(dir string) string { return filepath.Join(dir, "volumes") }

// Run takes over the tasks of an earlier run, then joins the cluster and obeys it until ctx is done. Tasks go on without
// the agent; see [Agent.StopAll]. It returns nil when ctx is done, and an error when the directory cannot be used or the
// server refuses the join token.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.open(); err != nil {
		return fmt.Errorf("agent %s: %w", a.c.Node, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a.restore(ctx)
	close(a.ready)
	a.running.Go(func() { a.sweep(ctx) })
	a.running.Go(func() { a.watchRuntimes(ctx) })
	a.running.Go(func() {
		if err := a.connect(ctx); err != nil {
			cancel(err)
		}
	})
	<-ctx.Done()
	cause := context.Cause(ctx)
	cancel(nil)
	a.running.Wait()
	err := errors.Join(a.volumes.Close(), a.journal.Close())
	if !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) { // a signal is a kind of the former
		err = errors.Join(cause, err)
	}
	return err
}

// open prepares the directory, the journal and the capacity.
func (a *Agent) open() error {
	if err := os.MkdirAll(a.c.Dir, 0o711); err != nil {
		return err
	}
	j, found, err := checkpoint.Open(filepath.Join(a.c.Dir, "checkpoint"), a.c.Checkpoint)
	if err != nil {
		return err
	}
	a.journal = j
	for _, d := range found.Damage {
		a.warn("journal", d.String())
	}
	if found.Torn > 0 {
		a.c.Logger.Info("dropped an unfinished record from the end of the journal", "bytes", found.Torn)
	}
	if err := errors.Join(a.loadEpoch(), a.measure()); err != nil {
		j.Close()
		return err
	}
	a.gpus = newGPUs(a.c.GPUs, a.capacity["gpu"])
	return nil
}

func (a *Agent) loadEpoch() error {
	data, ok := a.journal.Get(epochKey)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		return fmt.Errorf("the journal's record of the leader's epoch is %q", data)
	}
	a.epoch.Store(n)
	return nil
}

// measure finds the capacity, with the disk space that was free at the first start.
func (a *Agent) measure() error {
	var err error
	if a.capacity, err = capacity(a.c.Capacity, a.c.Dir); err != nil {
		return err
	}
	if _, declared := a.c.Capacity["gpu"]; !declared && len(a.c.GPUs) > 0 {
		a.capacity["gpu"] = resource.Amount(len(a.c.GPUs)) * resource.Milli
	}
	if _, declared := a.c.Capacity["disk"]; declared {
		return nil
	}
	if data, ok := a.journal.Get(diskKey); ok {
		a.capacity["disk"], err = resource.ParseValue("disk", string(data))
		return err
	}
	var b checkpoint.Batch
	b.Put(diskKey, []byte(resource.FormatValue("disk", a.capacity["disk"])))
	return a.commit(b)
}

// obey raises the epoch, on disk first. It fails when the epoch is lower than the highest ever obeyed.
func (a *Agent) obey(epoch int64) error {
	have := a.epoch.Load()
	if epoch < have {
		return fmt.Errorf("the server speaks for epoch %d, this agent has obeyed epoch %d: it is no longer the leader", epoch, have)
	}
	if epoch == have {
		return nil
	}
	var b checkpoint.Batch
	b.Put(epochKey, strconv.AppendInt(nil, epoch, 10))
	if err := a.commit(b); err != nil {
		return err
	}
	a.epoch.Store(epoch)
	return nil
}

// task finds a task by id, nil when there is none.
func (a *Agent) task(id string) *task {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tasks[id]
}

// all returns the tasks sorted by id.
func (a *Agent) all() []*task {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Values(a.tasks), func(x, y *task) int { return strings.Compare(x.id, y.id) })
}

// forget drops a task that ended and whose record is gone.
func (a *Agent) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked = slices.DeleteFunc(a.acked, func(t *task) bool { return t.id == id })
	delete(a.tasks, id)
}

// evicted tells an ended task that there is no more room to keep it.
type evicted struct{}

// keepEnded bounds the ended tasks that are kept. A task that is too busy to hear of it goes when its time is over.
func (a *Agent) keepEnded(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked = append(a.acked, t)
	for len(a.acked) > maxEnded {
		select {
		case a.acked[0].inbox <- evicted{}:
		default:
		}
		a.acked = a.acked[1:]
	}
}

// warn keeps a sentence for every Hello, logs it once and tells the server now. An empty sentence ends the warning.
func (a *Agent) warn(subject, sentence string) {
	a.mu.Lock()
	same := a.warnings[subject] == sentence
	if sentence == "" {
		delete(a.warnings, subject)
	} else {
		a.warnings[subject] = sentence
	}
	a.mu.Unlock()
	if sentence != "" && !same {
		a.c.Logger.Warn("warning", "about", subject, "warning", sentence)
		a.outbox.event(&polderv1.AgentEvent{Kind: "Warning", Message: sentence})
	}
}

// tell logs something about a task and sends it as an event.
func (a *Agent) tell(kind, task, message string) {
	a.c.Logger.Info("event", "kind", kind, "task", task, "message", message)
	a.outbox.event(&polderv1.AgentEvent{Kind: kind, Task: task, Message: message})
}

// StopAll ends every task with its kill policy and waits until all have ended or ctx is done; from then on the agent
// starts nothing. Their end is LOST with reason NodeStopped, so they come back to the queue. Volumes stay. Run must be running.
func (a *Agent) StopAll(ctx context.Context) error {
	select {
	case <-a.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	tasks := slices.DeleteFunc(a.all(), func(t *task) bool { return t.volume != "" })
	for _, t := range tasks {
		t.post(ctx, stopCommand{
			end:    polderv1.TaskState_TASK_STATE_LOST,
			reason: &polderv1.Reason{Code: "NodeStopped", Message: "the agent of " + a.c.Node + " was told to stop everything"},
		})
	}
	var left []string
	for _, t := range tasks {
		select {
		case <-t.ended:
		case <-ctx.Done():
			if !t.isEnded() {
				left = append(left, t.id)
			}
		}
	}
	if left != nil {
		return fmt.Errorf("agent %s: these tasks have not ended: %s", a.c.Node, strings.Join(left, ", "))
	}
	return nil
}

// isEnded reports whether the task's end is seen.
func (t *task) isEnded() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}
