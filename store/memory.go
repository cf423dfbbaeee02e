package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
)

// keepChanges is how many changes a Memory keeps for watchers; one that is further behind gets ErrCompacted.
const keepChanges = 10_000

// Memory is a [Store] that forgets everything when the process ends. Use [NewMemory].
type Memory struct {
	mu        sync.Mutex // guards everything below; never held across a channel send
	revision  int64
	rows      map[string]Entry
	log       []Change      // the changes after compacted, by revision
	compacted int64         // watches after an older revision than this are refused
	changed   chan struct{} // closed and replaced at each change
	leaders   map[string]*memoryLeadership
	terms     int64
	closed    chan struct{}
	watches   sync.WaitGroup
}

// NewMemory returns an empty store at revision 1.
func NewMemory() *Memory {
	return &Memory{
		revision: 1,
		rows:     map[string]Entry{},
		changed:  make(chan struct{}),
		leaders:  map[string]*memoryLeadership{},
		closed:   make(chan struct{}),
	}
}

// View implements [Store].
func (m *Memory) View(ctx context.Context, prefix string) (Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return Snapshot{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isClosed() {
		return Snapshot{}, ErrClosed
	}
	s := Snapshot{Revision: m.revision}
	for _, e := range m.rows {
		if strings.HasPrefix(e.Key, prefix) {
			s.Entries = append(s.Entries, e)
		}
	}
	slices.SortFunc(s.Entries, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	return s, nil
}

// Update implements [Store].
func (m *Memory) Update(ctx context.Context, t Txn) (int64, error) {
	return m.update(ctx, t, nil)
}

// update does the transaction if fence, when given, still leads.
func (m *Memory) update(ctx context.Context, t Txn, fence *memoryLeadership) (int64, error) {
	if err := cmp.Or(ctx.Err(), t.Validate()); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isClosed() {
		return 0, ErrClosed
	}
	if fence != nil && m.leaders[fence.name] != fence {
		return 0, fmt.Errorf("%w of %s since term %d", ErrNotLeader, fence.name, fence.term)
	}
	for _, c := range t.If {
		if have := m.rows[c.Key].Revision; have != c.Revision {
			return 0, Conflict(c, have)
		}
	}
	if change := m.apply(t.Ops); len(change) > 0 {
		m.publish(change)
	}
	return m.revision, nil
}

// Conflict returns the [ErrConflict] for a condition on a key that has another revision (0: does not exist).
func Conflict(c Condition, have int64) error {
	state := func(revision int64) string {
		if revision == 0 {
			return "absent"
		}
		return fmt.Sprintf("at revision %d", revision)
	}
	return fmt.Errorf("%w: key %s is %s, expected %s; read it again and retry", ErrConflict, c.Key, state(have), state(c.Revision))
}

// apply changes the rows at the next revision and returns what did change.
func (m *Memory) apply(ops []Op) []Op {
	done := make([]Op, 0, len(ops))
	for _, op := range ops {
		if _, exists := m.rows[op.Key]; op.Delete && !exists {
			continue
		}
		if op.Delete {
			delete(m.rows, op.Key)
			op.Value = nil
		} else {
			m.rows[op.Key] = Entry{op.Key, op.Value, m.revision + 1}
		}
		done = append(done, op)
	}
	slices.SortFunc(done, func(a, b Op) int { return cmp.Compare(a.Key, b.Key) })
	return done
}

func (m *Memory) publish(ops []Op) {
	m.revision++
	m.log = append(m.log, Change{Revision: m.revision, Ops: ops})
	if len(m.log) > keepChanges {
		m.compact(m.log[len(m.log)-keepChanges-1].Revision)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// Compact forgets the changes up to and including a revision, as etcd does from time to time.
func (m *Memory) Compact(revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.compact(min(revision, m.revision))
}

func (m *Memory) compact(revision int64) {
	m.log = m.log[m.after(revision):]
	m.compacted = max(m.compacted, revision)
}

// after returns the index of the first change with a higher revision.
func (m *Memory) after(revision int64) int {
	return sort.Search(len(m.log), func(i int) bool { return m.log[i].Revision > revision })
}

// Watch implements [Store].
func (m *Memory) Watch(ctx context.Context, prefix string, after int64) <-chan Change {
	out := make(chan Change)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isClosed() {
		close(out)
		return out
	}
	m.watches.Go(func() {
		defer close(out)
		m.watch(ctx, prefix, after, out)
	})
	return out
}

func (m *Memory) watch(ctx context.Context, prefix string, after int64, out chan<- Change) {
	for {
		c, changed := m.next(prefix, after)
		send := out
		if changed != nil {
			send = nil // nothing to send yet
		}
		select {
		case send <- c:
			after = c.Revision
		case <-changed:
		case <-ctx.Done():
			return
		case <-m.closed:
			return
		}
		if c.Err != nil {
			return
		}
	}
}

// next returns the first change under prefix after a revision, or a channel that is closed when there may be one.
func (m *Memory) next(prefix string, after int64) (Change, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if after < m.compacted {
		return Change{Err: fmt.Errorf("%w: asked for those after revision %d, kept from %d on; view again", ErrCompacted, after, m.compacted)}, nil
	}
	for _, c := range m.log[m.after(after):] {
		if c.Ops = under(prefix, c.Ops); len(c.Ops) > 0 {
			return c, nil
		}
	}
	return Change{}, m.changed
}

func under(prefix string, ops []Op) []Op {
	var kept []Op
	for _, op := range ops {
		if strings.HasPrefix(op.Key, prefix) {
			kept = append(kept, op)
		}
	}
	return kept
}

// Close implements [Store].
func (m *Memory) Close() error {
	m.mu.Lock()
	if m.isClosed() {
		m.mu.Unlock()
		return nil
	}
	close(m.closed)
	for _, l := range m.leaders {
		m.depose(l)
	}
	m.mu.Unlock()
	m.watches.Wait()
	return nil
}

func (m *Memory) isClosed() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}
