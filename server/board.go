package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"
)

// board is where the writer puts the picture up and where readers and watchers look.
type board struct {
	picture atomic.Pointer[picture]
	mu      sync.RWMutex // guards everything below
	log     []change     // ring of the last changes
	next    int64        // number of the next change, from 0 at the start of this leader
	first   int64        // revision before the oldest change kept
	last    int64        // revision of the newest change
	changed chan struct{}
}

// change is one thing that looks different, at its revision. Value is a nodeChange, a cluster.Notice or an *Event.
type change struct {
	revision int64
	value    any
}

// nodeChange is a node as it is now, or one that is gone.
type nodeChange struct {
	name    string
	row     nodeRow
	removed bool
}

func newBoard(p *picture) *board {
	b := &board{log: make([]change, keepChanges), first: p.revision, last: p.revision, changed: make(chan struct{})}
	b.picture.Store(p.snapshot())
	return b
}

// look returns the newest picture.
func (b *board) look() *picture { return b.picture.Load() }

// lookAndNext returns the newest picture and what is closed when there is another one.
func (b *board) lookAndNext() (*picture, <-chan struct{}) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.picture.Load(), b.changed
}

// publish puts up a picture with the changes since the last one, and wakes the watchers.
func (b *board) publish(p *picture, changes []change) {
	b.mu.Lock()
	for _, c := range changes {
		at := &b.log[b.next%keepChanges]
		if b.next >= keepChanges {
			b.first = at.revision
		}
		*at = c
		b.next++
		b.last = c.revision
	}
	b.picture.Store(p)
	changed := b.changed
	b.changed = make(chan struct{})
	b.mu.Unlock()
	close(changed)
}

// watcher reads changes in order.
type watcher struct {
	board *board
	at    int64 // number of the next change to read
}

// viewAndWatch returns the newest picture and a watcher of every change after it.
func (b *board) viewAndWatch() (*picture, *watcher) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.picture.Load(), &watcher{b, b.next}
}

// compacted is the error of a watcher that is too far behind.
func compacted() error {
	return connect.NewError(connect.CodeOutOfRange, errors.New("these changes are no longer kept; list again and watch from there"))
}

// watchFrom returns a watcher of every change after a revision, or the error of compacted.
func (b *board) watchFrom(revision int64) (*watcher, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if revision < b.first || revision > max(b.last, b.picture.Load().revision) {
		return nil, compacted()
	}
	lo, hi := max(0, b.next-keepChanges), b.next
	for lo < hi {
		mid := (lo + hi) / 2
		if b.log[mid%keepChanges].revision <= revision {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return &watcher{b, lo}, nil
}

// take returns changes that are there, at most the given number, or the channel that closes when there are more.
func (w *watcher) take(most int) ([]change, <-chan struct{}, error) {
	b := w.board
	b.mu.RLock()
	defer b.mu.RUnlock()
	if w.at < b.next-keepChanges {
		return nil, nil, compacted()
	}
	if w.at == b.next {
		return nil, b.changed, nil
	}
	out := make([]change, 0, min(int64(most), b.next-w.at))
	for ; w.at < b.next && len(out) < most; w.at++ {
		out = append(out, b.log[w.at%keepChanges])
	}
	return out, b.changed, nil
}

// wait returns the next changes, at least one.
func (w *watcher) wait(ctx context.Context) ([]change, error) {
	for {
		changes, more, err := w.take(256)
		if err != nil || len(changes) > 0 {
			return changes, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-more:
		}
	}
}
