package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string, o Options) (*Journal, Recovered) {
	t.Helper()
	j, rec, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, rec
}

func put(t testing.TB, j *Journal, key, value string) {
	t.Helper()
	if err := commit(j, key, value); err != nil {
		t.Fatal(err)
	}
}

func commit(j *Journal, key, value string) error {
	var b Batch
	b.Put(key, []byte(value))
	return j.Commit(b)
}

func contents(j *Journal) map[string]string {
	out := map[string]string{}
	for _, k := range j.Keys() {
		v, _ := j.Get(k)
		out[k] = string(v)
	}
	return out
}

func TestReopenKeepsWhatWasCommitted(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, Options{})
	put(t, j, "a", "1")
	put(t, j, "b", "")
	put(t, j, "a", "2")
	put(t, j, "c", "3")
	var b Batch
	b.Delete("c")
	b.Put("d", []byte("4"))
	if err := j.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := commit(j, "late", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("commit after close: %v", err)
	}
	j, rec := open(t, dir, Options{})
	if rec.Damage != nil || rec.Torn != 0 {
		t.Errorf("clean journal reported %+v", rec)
	}
	if diff := cmp.Diff(map[string]string{"a": "2", "b": "", "d": "4"}, contents(j)); diff != "" {
		t.Error(diff)
	}
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	if _, _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "another running agent") {
		t.Errorf("second open: %v", err)
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	file := appendRecord(nil, 0, []byte{kindHeader, version + 1})
	if err := os.WriteFile(filepath.Join(dir, fileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "format") {
		t.Errorf("got %v", err)
	}
}

func TestOversizedBatchIsRefusedAlone(t *testing.T) {
	j, _ := open(t, t.TempDir(), Options{})
	if err := commit(j, "big", strings.Repeat("x", maxRecord)); err == nil {
		t.Error("oversized batch was taken")
	}
	put(t, j, "small", "1")
}

func TestGroupCommit(t *testing.T) {
	var disk failingDisk
	dir := t.TempDir()
	j, _ := open(t, dir, Options{Create: disk.create})
	before := disk.syncs()
	disk.hold.Lock() // the first sync waits, so that the others queue up behind it
	var wg sync.WaitGroup
	add := func(n int) {
		for i := range n {
			wg.Go(func() {
				if err := commit(j, fmt.Sprint(n, i), "x"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	add(1)
	for disk.syncs() == before {
		runtime.Gosched()
	}
	add(99)
	for len(j.queue) < 99 {
		runtime.Gosched()
	}
	disk.hold.Unlock()
	wg.Wait()
	if n := disk.syncs() - before; n != 2 {
		t.Errorf("100 commits took %d syncs", n)
	}
}

func TestRewriteBoundsTheFile(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, Options{})
	value := strings.Repeat("v", 32<<10)
	for i := range 100 {
		put(t, j, fmt.Sprint("k", i%2), value)
	}
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > rewriteFloor+64<<10 {
		t.Errorf("journal of 64 KiB of state has %d bytes", info.Size())
	}
}

func TestDiskFull(t *testing.T) {
	var disk failingDisk
	dir := t.TempDir()
	j, _ := open(t, dir, Options{Create: disk.create})
	put(t, j, "kept", "1")
	disk.limit(64)
	if err := commit(j, "refused", strings.Repeat("x", 500)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("commit on a full disk: %v", err)
	}
	put(t, j, "fits", "2")
	disk.limit(-1)
	put(t, j, "later", "3")
	j.Close()
	j, rec := open(t, dir, Options{})
	if rec.Damage != nil {
		t.Error(rec.Damage)
	}
	if diff := cmp.Diff(map[string]string{"kept": "1", "fits": "2", "later": "3"}, contents(j)); diff != "" {
		t.Error(diff)
	}
}

func TestFailedSyncStartsAFreshFile(t *testing.T) {
	var disk failingDisk
	dir := t.TempDir()
	j, _ := open(t, dir, Options{Create: disk.create})
	put(t, j, "kept", "1")
	disk.failSyncs(1)
	if err := commit(j, "unknown", "x"); err == nil {
		t.Error("commit with a failing sync succeeded")
	}
	put(t, j, "next", "2")
	j.Close()
	j, _ = open(t, dir, Options{})
	if diff := cmp.Diff(map[string]string{"kept": "1", "next": "2"}, contents(j)); diff != "" {
		t.Error(diff)
	}
}

// failingDisk makes files that run out of space or fail to sync on command.
type failingDisk struct {
	hold   sync.Mutex // held by a test to make syncs wait
	mu     sync.Mutex
	room   int // bytes that may still be written, when limited
	full   bool
	bad    int // syncs that will fail
	synced int // syncs begun
}

func (d *failingDisk) limit(n int)     { d.mu.Lock(); d.room, d.full = n, n >= 0; d.mu.Unlock() }
func (d *failingDisk) failSyncs(n int) { d.mu.Lock(); d.bad = n; d.mu.Unlock() }
func (d *failingDisk) syncs() int      { d.mu.Lock(); defer d.mu.Unlock(); return d.synced }

func (d *failingDisk) create(path string) (File, error) {
	f, err := createFile(path)
	return failingFile{f, d}, err
}

type failingFile struct {
	File
	disk *failingDisk
}

func (f failingFile) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.full && len(p) > f.disk.room {
		n, _ := f.File.WriteAt(p[:f.disk.room], off)
		return n, &os.PathError{Op: "write", Path: "journal", Err: syscall.ENOSPC}
	}
	return f.File.WriteAt(p, off)
}

func (f failingFile) Sync() error {
	f.disk.mu.Lock()
	f.disk.synced++
	f.disk.mu.Unlock()
	f.disk.hold.Lock()
	defer f.disk.hold.Unlock()
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.bad > 0 {
		f.disk.bad--
		return errors.New("input/output error")
	}
	return f.File.Sync()
}

// journalFile draws a file of batches and returns it with the place after each record and the state at that place.
func journalFile(t *rapid.T) (file []byte, ends []int, states []map[string][]byte) {
	file = appendRecord(nil, 0, []byte{kindHeader, version})
	state := map[string][]byte{}
	ends, states = append(ends, len(file)), append(states, maps.Clone(state))
	for range rapid.IntRange(1, 12).Draw(t, "batches") {
		var b Batch
		for range rapid.IntRange(0, 3).Draw(t, "ops") {
			key := rapid.SampledFrom([]string{"a", "b", "c", "task/1"}).Draw(t, "key")
			if rapid.Bool().Draw(t, "delete") {
				b.Delete(key)
			} else {
				b.Put(key, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value"))
			}
		}
		file = appendRecord(file, int64(len(file)), encodeBatch(b))
		for _, o := range b.ops {
			set(state, o)
		}
		ends, states = append(ends, len(file)), append(states, maps.Clone(state))
	}
	return file, ends, states
}

func TestTruncatedAnywhereKeepsEveryWholeRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file, ends, states := journalFile(t)
		cut := rapid.IntRange(0, len(file)).Draw(t, "cut")
		r, err := replay("journal", file[:cut])
		if err != nil || r.damage != nil {
			t.Fatalf("cut at %d: error %v, damage %v", cut, err, r.damage)
		}
		want := map[string][]byte{}
		for i, end := range ends {
			if end <= cut {
				want = states[i]
			}
		}
		if diff := cmp.Diff(want, r.state); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestFlippedBitLosesOneRecordAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file, ends, _ := journalFile(t)
		bit := rapid.IntRange(0, len(file)*8-1).Draw(t, "bit")
		hurt, _ := slices.BinarySearch(ends, bit/8+1)
		damaged := slices.Clone(file)
		damaged[bit/8] ^= 1 << (bit % 8)
		r, err := replay("journal", damaged)
		if err != nil {
			t.Fatal(err)
		}
		if r.records != len(ends)-1 && hurt == 0 || hurt > 0 && r.records != len(ends)-2 {
			t.Fatalf("bit %d is in record %d: %d of %d batches were read", bit, hurt, r.records, len(ends)-1)
		}
		if r.damage == nil && r.torn == 0 {
			t.Fatal("nothing was reported")
		}
		for _, d := range r.damage {
			if d.Offset > int64(bit/8) || d.Offset+d.Length <= int64(bit/8) {
				t.Fatalf("bit in byte %d, damage reported as %v", bit/8, d)
			}
		}
	})
}

func TestDamagedFileIsKept(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, Options{})
	put(t, j, "a", "first")
	put(t, j, "b", "second")
	put(t, j, "c", "third")
	j.Close()
	path := filepath.Join(dir, fileName)
	file, _ := os.ReadFile(path)
	file[strings.Index(string(file), "second")] ^= 0x20
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	j, rec := open(t, dir, Options{})
	if diff := cmp.Diff(map[string]string{"a": "first", "c": "third"}, contents(j)); diff != "" {
		t.Error(diff)
	}
	if len(rec.Damage) != 1 || !strings.Contains(rec.Damage[0].String(), path) {
		t.Errorf("damage %v", rec.Damage)
	}
	if kept, err := os.ReadFile(path + ".damaged-1"); err != nil || string(kept) != string(file) {
		t.Errorf("the damaged file was not kept: %v", err)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add(snapshot(map[string][]byte{"a": []byte("1")}))
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 'B'})
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := replay("journal", file)
		if err != nil {
			return
		}
		again, err := replay("journal", snapshot(r.state))
		if err != nil || again.damage != nil || !maps.EqualFunc(r.state, again.state, slices.Equal[[]byte]) {
			t.Fatalf("rewriting changed what the journal says: %v %v", err, again.damage)
		}
	})
}
