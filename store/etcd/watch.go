package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"polder.dev/polder/store"
)

// maxBehind is how many changes wait for a slow reader of a Watch before it is sent off with ErrCompacted.
const maxBehind = 10_000

// Watch implements [store.Store].
func (s *Store) Watch(ctx context.Context, prefix string, after int64) <-chan store.Change {
	out := make(chan store.Change)
	ctx, cancel := s.bound(ctx)
	watching := s.spawn(func() {
		defer close(out)
		defer cancel()
		s.watch(ctx, prefix, after, out)
	})
	if !watching {
		cancel()
		close(out)
	}
	return out
}

// watch takes what etcd sends as soon as it comes, because etcd's client would queue it without bound, and hands it on.
func (s *Store) watch(ctx context.Context, prefix string, after int64, out chan<- store.Change) {
	responses := s.client.Watch(ctx, s.dataKey(prefix), clientv3.WithPrefix(), clientv3.WithRev(after+1))
	var queue []store.Change
	for {
		var head store.Change
		var send chan<- store.Change
		if len(queue) > 0 {
			head, send = queue[0], out
		}
		select {
		case send <- head:
			if head.Err != nil {
				return
			}
			queue = queue[1:]
		case r, open := <-responses:
			changes, err := s.changes(r, open)
			queue = append(queue, changes...)
			if err == nil && len(queue) > maxBehind {
				err = fmt.Errorf("%w: %d changes wait to be read; view again", store.ErrCompacted, len(queue))
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				queue, responses = append(queue, store.Change{Err: err}), nil
			}
		case <-ctx.Done():
			return
		}
	}
}

// changes splits a response into one Change per revision.
func (s *Store) changes(r clientv3.WatchResponse, open bool) ([]store.Change, error) {
	if !open {
		return nil, s.explain("watching", errors.New("the watch ended"))
	}
	if err := r.Err(); errors.Is(err, rpctypes.ErrCompacted) {
		return nil, fmt.Errorf("%w: kept from revision %d on; view again", store.ErrCompacted, r.CompactRevision)
	} else if err != nil {
		return nil, s.explain("watching", err)
	}
	var changes []store.Change
	for _, e := range r.Events {
		op := store.Put(string(e.Kv.Key)[len(s.dataKey("")):], e.Kv.Value)
		if e.Type == clientv3.EventTypeDelete {
			op = store.Delete(op.Key)
		}
		if n := len(changes); n == 0 || changes[n-1].Revision != e.Kv.ModRevision {
			changes = append(changes, store.Change{Revision: e.Kv.ModRevision})
		}
		last := &changes[len(changes)-1]
		last.Ops = append(last.Ops, op)
	}
	for _, c := range changes {
		slices.SortFunc(c.Ops, func(a, b store.Op) int { return strings.Compare(a.Key, b.Key) })
	}
	return changes, nil
}
