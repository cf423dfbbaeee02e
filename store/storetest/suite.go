package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/store"
)

// Harness is a store under test, empty at first.
type Harness struct {
	Store store.Store
	// Other is another process's view of the same data; it may be the same store.
	Other store.Store
	// Depose takes the leadership of an election from its leader without its knowledge.
	Depose func(t *testing.T, election string)
	// Compact forgets the changes up to a revision.
	Compact func(t *testing.T, revision int64)
}

// Run runs the suite. open is called for each test; it registers its own cleanup.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"view", testView},
		{"update", testUpdate},
		{"conditions", testConditions},
		{"bounds", testBounds},
		{"watch", testWatch},
		{"watch compacted", testWatchCompacted},
		{"no gap", testNoGap},
		{"election", testElection},
		{"fence", testFence},
		{"campaign canceled", testCampaignCanceled},
		{"records", testRecords},
		{"close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func testView(t *testing.T, h Harness) {
	empty := view(t, h.Store, "")
	if len(empty.Entries) != 0 || empty.Revision < 1 {
		t.Fatalf("empty store: %+v, want no entries at a positive revision", empty)
	}
	first := update(t, h.Store, store.Put("/a/1", []byte("x")), store.Put("/b/1", nil))
	second := update(t, h.Store, store.Put("/a/0", []byte("y")))
	got := view(t, h.Other, "/a/")
	if got.Revision != second || len(got.Entries) != 2 {
		t.Fatalf("view = %+v, want two entries at %d", got, second)
	}
	for i, want := range []store.Entry{{Key: "/a/0", Value: []byte("y"), Revision: second}, {Key: "/a/1", Value: []byte("x"), Revision: first}} {
		if fmt.Sprint(got.Entries[i]) != fmt.Sprint(want) {
			t.Errorf("entry %d = %v, want %v", i, got.Entries[i], want)
		}
	}
}

func testUpdate(t *testing.T, h Harness) {
	first := update(t, h.Store, store.Put("/k/1", []byte("v")))
	if second := update(t, h.Store, store.Put("/k/1", []byte("v"))); second <= first {
		t.Errorf("rewriting made revision %d after %d, want a later one", second, first)
	}
	gone := update(t, h.Store, store.Delete("/k/1"))
	if again := update(t, h.Store, store.Delete("/k/1")); again != gone {
		t.Errorf("deleting nothing made revision %d, want %d", again, gone)
	}
	if s := view(t, h.Other, "/"); len(s.Entries) != 0 || s.Revision != gone {
		t.Errorf("view = %+v, want nothing at %d", s, gone)
	}
}

func testConditions(t *testing.T, h Harness) {
	revision := update(t, h.Store, store.Put("/k/1", []byte("v")))
	for _, c := range []struct {
		name string
		when store.Condition
		ok   bool
	}{
		{"present but should be absent", store.Condition{Key: "/k/1"}, false},
		{"absent but should be present", store.Condition{Key: "/k/2", Revision: revision}, false},
		{"older", store.Condition{Key: "/k/1", Revision: revision - 1}, false},
		{"absent", store.Condition{Key: "/k/2"}, true},
		{"present", store.Condition{Key: "/k/1", Revision: revision}, true},
	} {
		held := store.Condition{Key: "/nothing/1"}
		_, err := h.Store.Update(t.Context(), store.Txn{If: []store.Condition{held, c.when}, Ops: []store.Op{store.Put("/out/1", []byte(c.name))}})
		wrote := len(view(t, h.Store, "/out/").Entries) == 1
		if c.ok != (err == nil) || wrote != c.ok {
			t.Errorf("%s: err = %v, wrote = %v, want ok = %v", c.name, err, wrote, c.ok)
		}
		if !c.ok && (!errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), c.when.Key)) {
			t.Errorf("%s: err = %v, want a conflict that names %s", c.name, err, c.when.Key)
		}
		update(t, h.Store, store.Delete("/out/1"))
	}
}

func testBounds(t *testing.T, h Harness) {
	ops := make([]store.Op, store.MaxOps+1)
	conditions := make([]store.Condition, store.MaxOps+1)
	for i := range ops {
		ops[i] = store.Put(fmt.Sprintf("/k/%d", i), []byte("v"))
		conditions[i] = store.Condition{Key: ops[i].Key}
	}
	l, err := h.Store.Campaign(t.Context(), "bounds")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Update(t.Context(), store.Txn{If: conditions[1:], Ops: ops[1:]}); err != nil {
		t.Fatalf("the largest transaction, fenced: %v", err)
	}
	large := []store.Op{store.Put("/large/1", make([]byte, store.MaxBytes-10))}
	if _, err := l.Update(t.Context(), store.Txn{Ops: large}); err != nil {
		t.Fatalf("the largest value: %v", err)
	}
	for name, bad := range map[string]store.Txn{
		"too many operations": {Ops: ops},
		"too many conditions": {If: conditions},
		"too large":           {Ops: []store.Op{store.Put("/k/1", make([]byte, store.MaxBytes))}},
		"key twice":           {Ops: []store.Op{store.Put("/k/1", nil), store.Delete("/k/1")}},
		"no key":              {Ops: []store.Op{store.Put("", nil)}},
		"no slash":            {Ops: []store.Op{store.Put("key", nil)}},
		"empty element":       {If: []store.Condition{{Key: "/k//1"}}},
	} {
		if _, err := h.Store.Update(t.Context(), bad); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: err = %v, want ErrInvalid", name, err)
		}
	}
	if n := len(view(t, h.Other, "").Entries); n != store.MaxOps+1 {
		t.Errorf("%d keys, want %d", n, store.MaxOps+1)
	}
}

func testWatch(t *testing.T, h Harness) {
	before := update(t, h.Store, store.Put("/a/1", []byte("old")))
	changes := h.Other.Watch(t.Context(), "/a/", before)
	update(t, h.Store, store.Put("/other/1", nil))
	both := update(t, h.Store, store.Put("/a/2", []byte("two")), store.Delete("/a/1"), store.Put("/other/1", nil))
	last := update(t, h.Store, store.Put("/a/1", []byte("new")))
	for i, want := range []store.Change{
		{Revision: both, Ops: []store.Op{store.Delete("/a/1"), store.Put("/a/2", []byte("two"))}},
		{Revision: last, Ops: []store.Op{store.Put("/a/1", []byte("new"))}},
	} {
		if got := next(t, changes); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("change %d = %v, want %v", i, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := h.Store.Watch(ctx, "/a/", last)
	cancel()
	if c, open := <-ended; open {
		t.Errorf("a watch whose context ended sent %v", c)
	}
}

func testWatchCompacted(t *testing.T, h Harness) {
	first := update(t, h.Store, store.Put("/a/1", nil))
	update(t, h.Store, store.Put("/a/2", nil))
	last := update(t, h.Store, store.Put("/a/3", nil))
	h.Compact(t, last)
	changes := h.Store.Watch(t.Context(), "/a/", first)
	if c := next(t, changes); !errors.Is(c.Err, store.ErrCompacted) {
		t.Errorf("got %v, want ErrCompacted", c)
	}
	if c, open := <-changes; open {
		t.Errorf("after the error came %v", c)
	}
	fresh := h.Store.Watch(t.Context(), "/a/", last)
	want := update(t, h.Store, store.Put("/a/4", nil))
	if c := next(t, fresh); c.Revision != want || c.Err != nil {
		t.Errorf("got %v, want revision %d", c, want)
	}
}

// testNoGap rebuilds the keys from a view and the changes after it, while they are being written.
func testNoGap(t *testing.T, h Harness) {
	const writes = 200
	written := make(chan error, 1)
	go func() {
		for i := range writes {
			op := store.Put(fmt.Sprintf("/n/%d", i%7), []byte(fmt.Sprint(i)))
			if i%5 == 4 {
				op = store.Delete(op.Key)
			}
			if _, err := h.Store.Update(t.Context(), store.Txn{Ops: []store.Op{op, store.Put("/n/last", []byte(fmt.Sprint(i)))}}); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	snap := view(t, h.Other, "/n/")
	have := map[string]string{}
	for _, e := range snap.Entries {
		have[e.Key] = string(e.Value)
	}
	changes := h.Other.Watch(t.Context(), "/n/", snap.Revision)
	for have["/n/last"] != fmt.Sprint(writes-1) {
		for _, op := range next(t, changes).Ops {
			if op.Delete {
				delete(have, op.Key)
			} else {
				have[op.Key] = string(op.Value)
			}
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, e := range view(t, h.Store, "/n/").Entries {
		want[e.Key] = string(e.Value)
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("rebuilt %v, want %v", have, want)
	}
}

func testElection(t *testing.T, h Harness) {
	first := campaign(t, h.Store, "e")
	campaign(t, h.Other, "another") // elections do not disturb each other
	won := make(chan store.Leadership)
	go func() {
		l, err := h.Other.Campaign(t.Context(), "e")
		if err != nil {
			t.Errorf("second campaign: %v", err)
		}
		won <- l
	}()
	if _, err := first.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put("/k/1", nil)}}); err != nil {
		t.Fatalf("leader's update: %v", err)
	}
	select {
	case <-won:
		t.Fatal("two leaders")
	default:
	}
	for range 2 {
		if err := first.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-first.Done()
	second := <-won
	if second.Term() <= first.Term() {
		t.Errorf("second term %d is not after %d", second.Term(), first.Term())
	}
	if _, err := first.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put("/k/2", nil)}}); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("update after resigning: %v, want ErrNotLeader", err)
	}
	if _, err := second.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put("/k/3", nil)}}); err != nil {
		t.Errorf("second leader: %v", err)
	}
}

// testFence is the one that matters: an old leader, who may not know yet, writes after a new one has won.
func testFence(t *testing.T, h Harness) {
	old := campaign(t, h.Store, "e")
	h.Depose(t, "e")
	lead := campaign(t, h.Other, "e")
	if _, err := lead.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put("/k/1", []byte("new"))}}); err != nil {
		t.Fatal(err)
	}
	for _, conditions := range [][]store.Condition{nil, {{Key: "/k/1"}}} {
		_, err := old.Update(t.Context(), store.Txn{If: conditions, Ops: []store.Op{store.Put("/k/1", []byte("old"))}})
		if !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("old leader's update: %v, want ErrNotLeader", err)
		}
	}
	if got := view(t, h.Store, "/k/1").Entries[0].Value; string(got) != "new" {
		t.Errorf("value = %q, want the new leader's", got)
	}
	<-old.Done()
	_, err := lead.Update(t.Context(), store.Txn{If: []store.Condition{{Key: "/k/1"}}, Ops: []store.Op{store.Put("/k/1", nil)}})
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("leader's update on a wrong condition: %v, want ErrConflict", err)
	}
}

func testCampaignCanceled(t *testing.T, h Harness) {
	lead := campaign(t, h.Store, "e")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := h.Other.Campaign(ctx, "e")
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled campaign: %v", err)
	}
	if err := lead.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	campaign(t, h.Other, "e") // whoever gave up stands in nobody's way
}

func testRecords(t *testing.T, h Harness) {
	r := store.Records{Reader: h.Store, Writer: campaign(t, h.Store, "e")}
	revision, ok, err := r.Save(t.Context(), "/r/1", []byte("a"), 0)
	if err != nil || !ok {
		t.Fatalf("first save: %v %v", ok, err)
	}
	if _, ok, err := r.Save(t.Context(), "/r/1", []byte("b"), 0); ok || err != nil {
		t.Errorf("save over an existing record: %v %v, want false", ok, err)
	}
	if _, ok, err := r.Save(t.Context(), "/r/1", []byte("c"), revision); !ok || err != nil {
		t.Errorf("save over the known revision: %v %v", ok, err)
	}
	var got []string
	_, err = r.Load(t.Context(), "/r/", func(key string, value []byte, _ int64) error {
		got = append(got, key+"="+string(value))
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"/r/1=c"}) {
		t.Errorf("loaded %v, %v", got, err)
	}
}

func testClose(t *testing.T, h Harness) {
	lead := campaign(t, h.Store, "e")
	changes := h.Store.Watch(context.Background(), "/", view(t, h.Store, "/").Revision)
	for range 2 {
		if err := h.Store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	<-lead.Done()
	for c := range changes {
		t.Errorf("closing sent %v", c)
	}
	if _, err := h.Store.View(t.Context(), "/"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("view: %v, want ErrClosed", err)
	}
	if _, err := h.Store.Campaign(t.Context(), "e"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("campaign: %v, want ErrClosed", err)
	}
	if _, err := lead.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put("/k/1", nil)}}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("leader's update: %v, want ErrClosed", err)
	}
	if _, open := <-h.Store.Watch(t.Context(), "/", 1); open {
		t.Error("a watch on a closed store sent something")
	}
}

func view(t *testing.T, s store.Store, prefix string) store.Snapshot {
	t.Helper()
	snap, err := s.View(t.Context(), prefix)
	if err != nil {
		t.Fatalf("view %s: %v", prefix, err)
	}
	return snap
}

func update(t *testing.T, s store.Store, ops ...store.Op) int64 {
	t.Helper()
	revision, err := s.Update(t.Context(), store.Txn{Ops: ops})
	if err != nil {
		t.Fatalf("update %v: %v", ops, err)
	}
	return revision
}

func campaign(t *testing.T, s store.Store, name string) store.Leadership {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := s.Campaign(ctx, name)
	if err != nil {
		t.Fatalf("campaign %s: %v", name, err)
	}
	return l
}

func next(t *testing.T, changes <-chan store.Change) store.Change {
	t.Helper()
	select {
	case c, open := <-changes:
		if !open {
			t.Fatal("the watch ended")
		}
		return c
	case <-time.After(time.Minute):
		t.Fatal("no change within a minute")
	}
	panic("unreachable")
}
