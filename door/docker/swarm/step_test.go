package swarm

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/errgroup"

	"polder.dev/polder/door/docker/swarm/orchestrator"
	"polder.dev/polder/store"
)

// slow is a leadership whose writes wait for leave.
type slow struct {
	store.Leadership
	leave chan error
	ops   []int // of each write
}

func (l *slow) Update(ctx context.Context, t store.Txn) (int64, error) {
	err := <-l.leave
	l.ops = append(l.ops, len(t.Ops))
	return 0, errors.Join(err, ctx.Err())
}

// TestStepsTogether: what happens while something is written down is written down together; each is told when its own is, and of a failure,
// and one who hangs up fails nobody.
func TestStepsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lead := &slow{leave: make(chan error)}
		x := New(Options{})
		x.books = newBooks(nil, lead, nil)
		all, ctx := errgroup.WithContext(t.Context())
		x.errands.open(ctx, all)
		told := make(chan error, 10)
		put := func(ctx context.Context, i int) {
			go func() {
				id := fmt.Sprint("s", i)
				told <- x.step(ctx, orchestrator.PutService{Service: orchestrator.Service{ID: id, Name: id}})
			}()
			synctest.Wait()
		}
		hungUp, hangUp := context.WithCancel(ctx)
		put(ctx, 0)
		put(hungUp, 1)
		put(ctx, 2)
		put(ctx, 3)
		hangUp()
		lead.leave <- nil
		synctest.Wait()
		if len(told) != 1 {
			t.Fatalf("after the first write %d are told", len(told))
		}
		lead.leave <- nil
		for range 4 {
			if err := <-told; err != nil {
				t.Error(err)
			}
		}
		if fmt.Sprint(lead.ops) != "[1 3]" || len(x.m.Services()) != 4 {
			t.Errorf("the writes have %v records, and there are %d services", lead.ops, len(x.m.Services()))
		}
		put(ctx, 4)
		put(ctx, 5)
		lead.leave <- store.ErrClosed
		lead.leave <- store.ErrClosed
		for range 2 {
			if err := <-told; !errors.Is(err, errWriting) {
				t.Errorf("who was not written down is told %v", err)
			}
		}
	})
}
