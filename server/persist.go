package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"polder.dev/polder/store"
)

// batch is what one turn, or several merged, wants durable, and what may happen once it is.
type batch struct {
	ops   []store.Op
	index map[string]int // by key
	bytes int
	after []func()
	// urgent is what somebody waits for, or what must be known when this leader is gone; the rest may wait for company.
	urgent bool
}

// spent are batches that were written, or merged into others, for their room.
var spent = sync.Pool{New: func() any { return &batch{index: map[string]int{}} }}

func newBatch() *batch { return spent.Get().(*batch) }

// spend gives a batch's room to another, unless it is much. Nobody else may have it any more.
func (b *batch) spend() {
	if len(b.ops) > store.MaxOps {
		return
	}
	clear(b.ops)
	clear(b.after)
	clear(b.index)
	*b = batch{ops: b.ops[:0], index: b.index, after: b.after[:0]}
	spent.Put(b)
}

// add writes a key; the last write of a key counts. How a task gets on is what agents tell the next leader, too: that is not urgent.
func (b *batch) add(op store.Op) {
	b.urgent = b.urgent || op.Delete || !strings.HasPrefix(op.Key, taskPrefix)
	if i, ok := b.index[op.Key]; ok {
		b.bytes += op.Size() - b.ops[i].Size()
		b.ops[i] = op
		return
	}
	b.index[op.Key] = len(b.ops)
	b.ops = append(b.ops, op)
	b.bytes += op.Size()
}

// then calls f, in order, once everything added before is durable. f must not block.
func (b *batch) then(f func()) { b.after, b.urgent = append(b.after, f), true }

// empty reports whether there is nothing to write and nobody to tell.
func (b *batch) empty() bool { return len(b.ops) == 0 && len(b.after) == 0 }

// fits reports whether both batches make one transaction.
func (b *batch) fits(o *batch) bool {
	return len(b.ops)+len(o.ops) <= store.MaxOps && b.bytes+o.bytes <= store.MaxBytes
}

func (b *batch) merge(o *batch) {
	for _, op := range o.ops {
		b.add(op)
	}
	b.after = append(b.after, o.after...)
	b.urgent = b.urgent || o.urgent
}

// chunks cuts the operations into transactions. When it takes several, a leader that follows may find only the first of
// them, so they go in an order in which every beginning makes sense: see rank.
func (b *batch) chunks() [][]store.Op {
	ops := b.ops
	if len(ops) > store.MaxOps || b.bytes > store.MaxBytes {
		ops = slices.Clone(ops)
		slices.SortStableFunc(ops, func(a, b store.Op) int { return cmp.Compare(rank(a), rank(b)) })
	}
	return store.Cut(ops, store.MaxOps, store.MaxBytes)
}

// rank orders what one transaction cannot hold. A task that is counted twice is noticed when its node is back; one that no
// record speaks of would be started twice, or never. So tasks come first, then everything that counts them, then the
// answers that promise it, and tasks go last.
func rank(op store.Op) int {
	task := strings.HasPrefix(op.Key, taskPrefix)
	switch {
	case task && !op.Delete:
		return 0
	case task:
		return 3
	case strings.HasPrefix(op.Key, answerPrefix):
		return 2
	}
	return 1
}

// persister writes batches in order, one at a time. What comes while a write is under way is merged into the next.
type persister struct {
	lead store.Leadership
	mu   sync.Mutex // guards queue
	// queue holds batches; each but the last is full. Callers of durable changes wait, so it is bounded by them and by the
	// number of objects agents report on.
	queue []*batch
	wake  chan struct{}
	took  prometheus.Observer // seconds of each transaction
}

func newPersister(lead store.Leadership, took prometheus.Observer) *persister {
	return &persister{lead: lead, took: took, wake: make(chan struct{}, 1)}
}

// add queues a batch, which is the persister's from then on. One that writes nothing keeps its place in the order too.
func (p *persister) add(b *batch) {
	if b.empty() {
		b.spend()
		return
	}
	p.mu.Lock()
	if last := len(p.queue) - 1; last >= 0 && p.queue[last].fits(b) {
		p.queue[last].merge(b)
		b.spend()
	} else {
		p.queue = append(p.queue, b)
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *persister) next() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	b := p.queue[0]
	p.queue = p.queue[1:]
	return b
}

// persistWithin is how long what is not urgent waits for something to be written with. A write costs the same for one key as for many.
const persistWithin = time.Second

// waiting reports whether something is queued, and whether that is urgent, or as much as fits.
func (p *persister) waiting() (some, urgent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) > 0, len(p.queue) > 1 || len(p.queue) == 1 && p.queue[0].urgent
}

// await returns when something is to be written now.
func (p *persister) await(ctx context.Context) error {
	var late <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return nil
		case <-p.wake:
		}
		some, urgent := p.waiting()
		if urgent {
			return nil
		}
		if some && late == nil {
			late = time.After(persistWithin)
		}
	}
}

// run writes until ctx ends or a write fails; after that nothing is acknowledged.
func (p *persister) run(ctx context.Context) error {
	for {
		if err := p.await(ctx); err != nil {
			return err
		}
		for b := p.next(); b != nil; b = p.next() {
			if err := p.write(ctx, b); err != nil {
				return err
			}
		}
	}
}

func (p *persister) write(ctx context.Context, b *batch) error {
	for _, ops := range b.chunks() {
		began := time.Now()
		if _, err := p.lead.Update(ctx, store.Txn{Ops: ops}); err != nil {
			return err
		}
		p.took.Observe(time.Since(began).Seconds())
	}
	for _, f := range b.after {
		f()
	}
	b.spend()
	return nil
}
