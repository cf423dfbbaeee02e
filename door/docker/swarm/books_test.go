package swarm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"polder.dev/polder/door/docker/swarm/orchestrator"
	"polder.dev/polder/store"
)

// noted is a leadership that notes what it writes.
type noted struct {
	store.Leadership
	mu   sync.Mutex // guards what follows
	keys []string
	fail error
}

// take returns what was written since the last time.
func (l *noted) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := l.keys
	l.keys = nil
	return keys
}

// breaks has every write fail from now on.
func (l *noted) breaks(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

func (l *noted) Update(_ context.Context, t store.Txn) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range t.Ops {
		key := strings.TrimPrefix(op.Key, prefix)
		if op.Delete {
			key = "-" + key
		}
		l.keys = append(l.keys, key)
	}
	return 0, l.fail
}

// TestWhatIsWrittenLate: how a task that is wanted gets on is written within a second, once for all that happened until then; everything else,
// and its end, at once, and what waited of it is not written any more.
func TestWhatIsWrittenLate(t *testing.T) {
	saved := func(id string, state orchestrator.State, unwanted ...bool) orchestrator.Effect {
		return orchestrator.SaveTask{Task: orchestrator.Task{ID: id, State: state, Wanted: len(unwanted) == 0}}
	}
	synctest.Test(t, func(t *testing.T) {
		lead := &noted{}
		b := newBooks(nil, lead, nil)
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- b.late(ctx) }()
		wrote := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := lead.take(); !slices.Equal(got, want) {
				t.Errorf("%s: wrote %v, want %v", when, got, want)
			}
		}
		write := func(effects ...orchestrator.Effect) {
			t.Helper()
			if err := b.write(ctx, effects); err != nil {
				t.Fatal(err)
			}
		}
		write(saved("a", orchestrator.Assigned), orchestrator.Launch{})
		wrote("placed", "tasks/a")
		write(saved("a", orchestrator.Starting), saved("b", orchestrator.Starting))
		write(saved("a", orchestrator.Running))
		wrote("on its way")
		time.Sleep(lateWithin)
		wrote("a second later", "tasks/a", "tasks/b")
		time.Sleep(time.Hour)
		wrote("nothing happens")
		write(saved("a", orchestrator.Running), saved("b", orchestrator.Running))
		write(saved("a", orchestrator.Failed))
		wrote("ended", "tasks/a")
		time.Sleep(lateWithin)
		wrote("a second later without the one that ended", "tasks/b")
		write(saved("b", orchestrator.Running, false))
		wrote("not wanted any more", "tasks/b")
		write(saved("b", orchestrator.Running))
		write(orchestrator.DropTask{Task: orchestrator.Task{ID: "b"}})
		wrote("forgotten", "-tasks/b")
		time.Sleep(time.Hour)
		wrote("forgotten for good")
		var many []orchestrator.Effect
		for i := range store.MaxOps {
			many = append(many, saved(fmt.Sprint(i), orchestrator.Running))
		}
		write(many...)
		time.Sleep(lateWithin)
		synctest.Wait()
		if n := len(lead.take()); n != store.MaxOps || len(b.later) > 0 {
			t.Errorf("wrote %d of %d, %d still wait", n, store.MaxOps, len(b.later))
		}
		lead.breaks(store.ErrClosed)
		write(saved("c", orchestrator.Running))
		if err := <-ended; err == nil {
			t.Error("what cannot be written is no error")
		}
		cancel()
	})
}
