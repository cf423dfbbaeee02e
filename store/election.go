package store

import "context"

// memoryLeadership leads an election of a Memory as long as it is the one in its leaders.
type memoryLeadership struct {
	store *Memory
	name  string
	term  int64
	done  chan struct{}
}

// Campaign implements [Store].
func (m *Memory) Campaign(ctx context.Context, name string) (Leadership, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m.mu.Lock()
		if m.isClosed() {
			m.mu.Unlock()
			return nil, ErrClosed
		}
		leader := m.leaders[name]
		if leader == nil {
			m.terms++
			leader = &memoryLeadership{m, name, m.terms, make(chan struct{})}
			m.leaders[name] = leader
			m.mu.Unlock()
			return leader, nil
		}
		m.mu.Unlock()
		select {
		case <-leader.done:
		case <-ctx.Done():
		}
	}
}

// Depose takes the leadership from whoever leads the election, as if its connection had been lost.
func (m *Memory) Depose(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.leaders[name]; l != nil {
		m.depose(l)
	}
}

func (m *Memory) depose(l *memoryLeadership) {
	if m.leaders[l.name] == l {
		delete(m.leaders, l.name)
		close(l.done)
	}
}

func (l *memoryLeadership) Update(ctx context.Context, t Txn) (int64, error) {
	return l.store.update(ctx, t, l)
}

func (l *memoryLeadership) Term() int64 { return l.term }

func (l *memoryLeadership) Done() <-chan struct{} { return l.done }

func (l *memoryLeadership) Resign(context.Context) error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.store.depose(l)
	return nil
}
