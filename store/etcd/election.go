package etcd

import (
	"context"
	"fmt"
	"sync"

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
	done    chan struct{}
	once    sync.Once // closes done
}

// Campaign implements [store.Store].
func (s *Store) Campaign(ctx context.Context, name string) (store.Leadership, error) {
	if s.ctx.Err() != nil {
		return nil, s.explain("campaigning for "+name, s.ctx.Err())
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
	l := &leadership{
		store: s, name: name, key: election.Key(), term: election.Rev(), session: session, done: make(chan struct{}),
	}
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

// follow watches for the loss of the leadership until it happens.
func (s *Store) follow(l *leadership) bool {
	ctx, cancel := context.WithCancel(s.ctx)
	deletions := s.client.Watch(ctx, l.key, clientv3.WithRev(l.term+1), clientv3.WithFilterPut())
	following := s.spawn(func() {
		defer cancel()
		select {
		case <-deletions: // also when the watch breaks: a leader that cannot see does not lead
		case <-l.session.Done():
		case <-l.done:
		case <-s.ctx.Done():
		}
		l.end()
		l.session.Orphan()
		s.mu.Lock()
		delete(s.leaders, l)
		s.mu.Unlock()
	})
	if !following {
		cancel()
		return false
	}
	s.mu.Lock()
	s.leaders[l] = struct{}{}
	s.mu.Unlock()
	return true
}

func (l *leadership) end() { l.once.Do(func() { close(l.done) }) }

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
func (l *leadership) Done() <-chan struct{} { return l.done }

// Resign implements [store.Leadership]. Revoking the lease deletes the key that made it leader.
func (l *leadership) Resign(ctx context.Context) error {
	select {
	case <-l.done:
		return nil
	default:
	}
	l.end()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := l.store.client.Revoke(ctx, l.session.Lease()); err != nil {
		return l.store.explain("resigning as leader of "+l.name, err)
	}
	return nil
}
