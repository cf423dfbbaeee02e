package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/store"
)

// slowLead is a leadership whose writes wait for leave, and that notes them.
type slowLead struct {
	store.Leadership
	mu    sync.Mutex
	txns  []store.Txn
	leave chan error
}

func (l *slowLead) Update(_ context.Context, t store.Txn) (int64, error) {
	if err := t.Validate(); err != nil {
		return 0, err
	}
	err := <-l.leave
	l.mu.Lock()
	defer l.mu.Unlock()
	l.txns = append(l.txns, store.Txn{Ops: slices.Clone(t.Ops)}) // they are not a store's to keep
	return int64(len(l.txns)), err
}

// TestGroupCommit: what comes while a write is under way is one write; each is told only after its own is durable.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lead := &slowLead{leave: make(chan error)}
		p := newPersister(lead, newMeters().persist)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.run(ctx) }()
		var told []int
		for i := range 5 {
			b := newBatch()
			b.add(store.Put(fmt.Sprintf("/k/%d", i%2), []byte{byte(i)}))
			b.then(func() { told = append(told, i) })
			p.add(b)
			synctest.Wait()
		}
		if len(told) > 0 {
			t.Fatalf("%v were told before anything was durable", told)
		}
		lead.leave <- nil
		synctest.Wait()
		if !slices.Equal(told, []int{0}) {
			t.Fatalf("%v were told after the first write", told)
		}
		lead.leave <- nil
		synctest.Wait()
		if !slices.Equal(told, []int{0, 1, 2, 3, 4}) || len(lead.txns) != 2 || len(lead.txns[1].Ops) != 2 || lead.txns[1].Ops[1].Value[0] != 4 {
			t.Fatalf("told %v after %v", told, lead.txns)
		}
		b := newBatch()
		b.add(store.Delete("/k/0"))
		b.then(func() { t.Error("told although the write failed") })
		p.add(b)
		lead.leave <- errBroken
		if err := <-ended; !errors.Is(err, errBroken) {
			t.Errorf("ended with %v", err)
		}
		cancel()
	})
}

// TestUrgentAndNot: how a task gets on is written with the next thing that is urgent, and after a second without.
func TestUrgentAndNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lead := &slowLead{leave: make(chan error)}
		close(lead.leave)
		p := newPersister(lead, newMeters().persist)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.run(ctx) }()
		add := func(op store.Op, urgent bool) {
			b := newBatch()
			b.add(op)
			b.urgent = b.urgent || urgent
			p.add(b)
			p.add(newBatch()) // a turn in which nothing happened
			synctest.Wait()
		}
		written := func(want string) {
			t.Helper()
			got := ""
			for _, txn := range lead.txns {
				for _, op := range txn.Ops {
					got += op.Key + "=" + string(op.Value) + " "
				}
				got += "; "
			}
			if got != want {
				t.Fatalf("written is %q, want %q", got, want)
			}
		}
		add(store.Put("/task/a", []byte("running")), false)
		time.Sleep(persistWithin / 2)
		add(store.Put("/task/a", []byte("leaving")), false)
		written("")
		time.Sleep(persistWithin / 2)
		synctest.Wait()
		const first = "/task/a=leaving ; "
		written(first)
		add(store.Put("/task/a", []byte("stopping")), false)
		add(store.Put("/task/b", []byte("starting")), true)
		const second = first + "/task/a=stopping /task/b=starting ; "
		written(second)
		add(store.Put("/ask/c", nil), false)
		add(store.Delete("/task/a"), false)
		written(second + "/ask/c= ; /task/a= ; ")
		cancel()
		<-ended
	})
}

// TestCutBatchOrder: of a batch too large for one transaction every beginning makes sense.
func TestCutBatchOrder(t *testing.T) {
	b := newBatch()
	for i := range store.MaxOps {
		b.add(store.Delete(fmt.Sprintf("/task/old%d", i)))
		b.add(store.Put(fmt.Sprintf("/answer/%d", i), nil))
		b.add(store.Put(fmt.Sprintf("/ask/%d", i), nil))
		b.add(store.Put(fmt.Sprintf("/task/new%d", i), nil))
	}
	var got []string
	for _, ops := range b.chunks() {
		if len(ops) != store.MaxOps {
			t.Fatalf("%d operations", len(ops))
		}
		got = append(got, strings.Trim(ops[0].Key, "0123456789"), strings.Trim(ops[len(ops)-1].Key, "0123456789"))
	}
	if want := []string{"/task/new", "/task/new", "/ask/", "/ask/", "/answer/", "/answer/", "/task/old", "/task/old"}; !slices.Equal(got, want) {
		t.Errorf("in the order %v, want %v", got, want)
	}
}

// TestBatches: whatever is added, in whatever portions, the transactions are legal and leave behind what the last write of
// each key says.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]string{}
		lead := &slowLead{leave: make(chan error)}
		close(lead.leave)
		p := newPersister(lead, newMeters().persist)
		for i := range rapid.IntRange(1, 6).Draw(t, "batches") {
			b := newBatch()
			for range rapid.IntRange(0, 1500).Draw(t, "ops") {
				key := fmt.Sprintf("/k/%d", rapid.IntRange(0, 3000).Draw(t, "key"))
				value := fmt.Sprint(i) + strings.Repeat("x", rapid.SampledFrom([]int{0, 10, 50_000}).Draw(t, "size"))
				b.add(store.Put(key, []byte(value)))
				want[key] = value
			}
			p.add(b)
		}
		for b := p.next(); b != nil; b = p.next() {
			if err := p.write(context.Background(), b); err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]string{}
		for _, txn := range lead.txns {
			for _, op := range txn.Ops {
				got[op.Key] = string(op.Value)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d keys are written, want %d", len(got), len(want))
		}
		for key, value := range want {
			if got[key] != value {
				t.Fatalf("%s is %.10q, want %.10q", key, got[key], value)
			}
		}
	})
}
