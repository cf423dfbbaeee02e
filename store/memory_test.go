package store_test

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"polder.dev/polder/store"
	"polder.dev/polder/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		m := store.NewMemory()
		t.Cleanup(func() { m.Close() })
		return storetest.Harness{
			Store: m, Other: m,
			Depose:  func(_ *testing.T, election string) { m.Depose(election) },
			Compact: func(_ *testing.T, revision int64) { m.Compact(revision) },
		}
	})
}

func TestMemoryDropsSlowWatchers(t *testing.T) {
	m := store.NewMemory()
	defer m.Close()
	changes := m.Watch(t.Context(), "/", 1)
	for i := range 11_000 {
		if _, err := m.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put(fmt.Sprintf("/k/%d", i%10), nil)}}); err != nil {
			t.Fatal(err)
		}
	}
	var last store.Change
	for c := range changes {
		last = c
	}
	if !errors.Is(last.Err, store.ErrCompacted) {
		t.Errorf("a reader 11000 changes behind got %v, want ErrCompacted", last)
	}
}
