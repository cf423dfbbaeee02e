package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"polder.dev/polder/store"
)

// leadership is a won election: key, on the lease of session, created at revision term, is the oldest of its election.
type leadership struct {
	store   *Store
	name    string
	key     string
	term    int64
	session *concurrency.Session
	ctx     context.Context // ends with the session, the store or end
	end     context.CancelFunc
}

// Campaign implements [store.Store].
func (s *Store) Campaign(ctx context.Context, name string) (store.Leadership, error) {
	if s.ctx.Err() != nil {
		return nil, s.ended()
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	session, err := s.newSession(ctx)
	if err != nil {
		return nil, s.explain("campaigning for "+name, err)
	}
	election := concurrency.NewElection(session, s.electionKey(name))
	if err := election.Campaign(ctx, name); err != nil {
		session.Close()
		return nil, s.explain("campaigning for "+name, err)
	}
	l := &leadership{store: s, name: name, key: election.Key(), term: election.Rev(), session: session}
	l.ctx, l.end = context.WithCancel(session.Ctx())
	if !s.follow(l) {
		return nil, store.ErrClosed
	}
	return l, nil
}

// newSession gets a lease that lives as long as the store keeps it alive. Only getting it is bounded by ctx.
func (s *Store) newSession(ctx context.Context) (*concurrency.Session, error) {
	grant, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lease, err := s.client.Grant(grant, leaseSeconds)
	if err != nil {
		return nil, err
	}
	return concurrency.NewSession(s.client, concurrency.WithLease(lease.ID), concurrency.WithTTL(leaseSeconds),
		concurrency.WithContext(s.ctx))
}

// follow ends the leadership when it is lost, and watches for that until then.
func (s *Store) follow(l *leadership) bool {
	s.mu.Lock()
	s.leaders[l] = struct{}{}
	s.mu.Unlock()
	return s.spawn(func() {
		l.awaitDeletion()
		l.end()
		l.session.Orphan()
		s.mu.Lock()
		delete(s.leaders, l)
		s.mu.Unlock()
	})
}

// awaitDeletion returns when the key is gone, or the leadership has ended otherwise. A watch that etcd breaks off, for
// instance because it has compacted the revision it would resume from, is begun again as long as the key is there.
func (l *leadership) awaitDeletion() {
	for after := l.term; ; {
		watch, cancel := context.WithCancel(l.ctx)
		r := <-l.store.client.Watch(watch, l.key, clientv3.WithRev(after+1), clientv3.WithFilterPut())
		cancel()
		if l.ctx.Err() != nil || len(r.Events) > 0 {
			return
		}
		present, err := l.store.client.Get(l.ctx, l.key)
		if err != nil || len(present.Kvs) == 0 || present.Kvs[0].CreateRevision != l.term {
			return
		}
		after = present.Header.Revision
	}
}

func (l *leadership) lost() error {
	l.end()
	return fmt.Errorf("%w of %s since term %d", store.ErrNotLeader, l.name, l.term)
}

// Update implements [store.Leadership].
func (l *leadership) Update(ctx context.Context, t store.Txn) (int64, error) {
	return l.store.update(ctx, t, l)
}

// Term implements [store.Leadership].
func (l *leadership) Term() int64 { return l.term }

// Done implements [store.Leadership].
func (l *leadership) Done() <-chan struct{} { return l.ctx.Done() }

// Resign implements [store.Leadership]. Revoking the lease deletes the key that made it leader.
func (l *leadership) Resign(ctx context.Context) error {
	if l.ctx.Err() != nil {
		return nil
	}
	l.end()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := l.store.client.Revoke(ctx, l.session.Lease()); err != nil {
		return l.store.explain("resigning as leader of "+l.name, err)
	}
	return nil
}
