package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"polder.dev/polder/store"
)

const (
	requestTimeout = 10 * time.Second // of one request; a store that is slower is down
	leaseSeconds   = 10               // a leader that is silent for so long is deposed
	pageSize       = 5000             // keys read by one request of a View
)

// Store is a [store.Store] on etcd. Use [OpenEmbedded] or [OpenExternal].
type Store struct {
	name   string // for errors: the directory or the endpoints
	root   string // prefix of every key in etcd
	client *clientv3.Client
	stop   func() error // releases what is below the client

	ctx    context.Context // ends with Close, or when etcd fails underneath; its cause says why
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards closing, and tasks against it; leaders
	closing bool
	tasks   sync.WaitGroup
	leaders map[*leadership]struct{}
}

func newStore(ctx context.Context, cancel context.CancelCauseFunc, name, root string, client *clientv3.Client, stop func() error) *Store {
	return &Store{
		name: name, root: root, client: client, stop: stop, ctx: ctx, cancel: cancel,
		leaders: map[*leadership]struct{}{},
	}
}

// String returns the directory or the endpoints, for messages.
func (s *Store) String() string { return s.name }

func (s *Store) dataKey(key string) string { return s.root + "/data" + key }

func (s *Store) electionKey(name string) string { return s.root + "/election/" + name }

// View implements [store.Store]. It reads pages, all at the revision of the first.
func (s *Store) View(ctx context.Context, prefix string) (store.Snapshot, error) {
	if s.ctx.Err() != nil {
		return store.Snapshot{}, s.ended()
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	first := s.dataKey(prefix)
	end, next := clientv3.GetPrefixRangeEnd(first), first
	var snap store.Snapshot
	for {
		page, cancelPage := context.WithTimeout(ctx, requestTimeout)
		r, err := s.client.Get(page, next, clientv3.WithRange(end), clientv3.WithLimit(pageSize), clientv3.WithRev(snap.Revision))
		cancelPage()
		if err != nil {
			return store.Snapshot{}, s.explain("reading "+prefix, err)
		}
		if snap.Revision == 0 {
			snap.Revision = r.Header.Revision
		}
		for _, kv := range r.Kvs {
			snap.Entries = append(snap.Entries, store.Entry{Key: string(kv.Key)[len(s.dataKey("")):], Value: kv.Value, Revision: kv.ModRevision})
		}
		if !r.More {
			return snap, nil
		}
		next = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, t store.Txn) (int64, error) { return s.update(ctx, t, nil) }

// update does the transaction, if fence, when given, still leads. When a condition does not hold etcd returns the keys
// compared, so that the error can name the one at fault.
func (s *Store) update(ctx context.Context, t store.Txn, fence *leadership) (int64, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	if s.ctx.Err() != nil {
		return 0, s.ended()
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	ctx, cancelTimeout := context.WithTimeout(ctx, requestTimeout)
	defer cancelTimeout()
	var compares []clientv3.Cmp
	var gets []clientv3.Op
	if fence != nil {
		compares = append(compares, clientv3.Compare(clientv3.CreateRevision(fence.key), "=", fence.term))
		gets = append(gets, clientv3.OpGet(fence.key, clientv3.WithKeysOnly()))
	}
	for _, c := range t.If {
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(s.dataKey(c.Key)), "=", c.Revision))
		gets = append(gets, clientv3.OpGet(s.dataKey(c.Key), clientv3.WithKeysOnly()))
	}
	r, err := s.client.Txn(ctx).If(compares...).Then(s.writes(t.Ops)...).Else(gets...).Commit()
	if err != nil {
		return 0, s.explain("writing", err)
	}
	if !r.Succeeded {
		return 0, refusal(r, t, fence)
	}
	return r.Header.Revision, nil
}

// writes are operations in etcd's words. A value is not copied: etcd's text of it would be a second one, and its bytes a third.
func (s *Store) writes(ops []store.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		if op.Delete {
			out[i] = clientv3.OpDelete(s.dataKey(op.Key))
		} else {
			out[i] = clientv3.OpPut(s.dataKey(op.Key), "")
			out[i].WithValueBytes(op.Value)
		}
	}
	return out
}

// refusal says which comparison of a transaction did not hold.
func refusal(r *clientv3.TxnResponse, t store.Txn, fence *leadership) error {
	responses := r.Responses
	if fence != nil {
		kvs := responses[0].GetResponseRange().Kvs
		if len(kvs) == 0 || kvs[0].CreateRevision != fence.term {
			return fence.lost()
		}
		responses = responses[1:]
	}
	for i, c := range t.If {
		var have int64
		if kvs := responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			have = kvs[0].ModRevision
		}
		if have != c.Revision {
			return store.Conflict(c, have)
		}
	}
	return store.ErrConflict
}

// bound returns ctx, ended early when the store ends.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// explain turns an error of etcd into one of ours: what, where, and what to do.
func (s *Store) explain(doing string, err error) error {
	switch {
	case s.ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, s.ended())
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%s: %w: %s has reached its size limit; free space, then restart to compact it", doing, store.ErrFull, s.name)
	case errors.Is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("%s: %w; view again", doing, store.ErrCompacted)
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%s: %w: %w; start etcd with --max-txn-ops=%d --max-request-bytes=%d", doing, store.ErrInvalid, err, maxTxnOps, maxRequestBytes)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: etcd at %s did not answer within %v; is it up, has it a quorum, and do the certificates fit? (%w)", doing, s.name, requestTimeout, err)
	}
	return fmt.Errorf("%s: etcd at %s: %w", doing, s.name, err)
}

// ended returns why the store is closed: by Close, or because etcd failed.
func (s *Store) ended() error {
	if cause := context.Cause(s.ctx); !errors.Is(cause, store.ErrClosed) {
		return fmt.Errorf("%w: %w", store.ErrClosed, cause)
	}
	return store.ErrClosed
}

// spawn runs f in a goroutine that Close waits for; it returns false when the store is closing.
func (s *Store) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.ctx.Err() != nil {
		return false
	}
	s.tasks.Go(f)
	return true
}

// Close implements [store.Store]: it resigns every leadership, so that another may lead at once, then stops.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	leaders := make([]*leadership, 0, len(s.leaders))
	for l := range s.leaders {
		leaders = append(leaders, l)
	}
	s.mu.Unlock()
	var errs []error
	if s.ctx.Err() == nil {
		for _, l := range leaders {
			errs = append(errs, l.Resign(s.ctx))
		}
	}
	s.cancel(store.ErrClosed)
	s.tasks.Wait()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, s.stop())...)
}
