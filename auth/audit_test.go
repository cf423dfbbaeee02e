package auth

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func entry(object string) Entry {
	return Entry{
		Time: time.Unix(1, 0), Who: "user:alice", Verb: Run, Object: object, Role: "corp/search",
		Outcome: Allowed, Request: "r1", Remote: "127.0.0.1:1",
	}
}

func openAudit(t *testing.T, path string, opts AuditOptions) *AuditFile {
	t.Helper()
	a, err := OpenAudit(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// lines decodes a file strictly; a line that cannot be is "torn".
func lines(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var objects []string
	for s := bufio.NewScanner(f); s.Scan(); {
		var e Entry
		if err := decodeStrict(s.Bytes(), &e); err != nil {
			e.Object = "torn"
		}
		objects = append(objects, e.Object)
	}
	return objects
}

func TestAuditLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path, AuditOptions{Sync: true})
	if err := a.Record(t.Context(), entry("task/1\n{}")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	want := `{"time":"1970-01-01T00:00:01Z","who":"user:alice","verb":"run","object":"task/1\n{}","role":"corp/search","outcome":"allowed","request":"r1","remote":"127.0.0.1:1"}` + "\n"
	if err != nil || string(data) != want {
		t.Errorf("line = %s, want %s", data, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestAuditRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path, AuditOptions{MaxBytes: 400, Keep: 2})
	for i := range 9 {
		if err := a.Record(t.Context(), entry(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"": "[8]", ".1": "[6 7]", ".2": "[4 5]"} {
		if got := fmt.Sprint(lines(t, path+name)); got != want {
			t.Errorf("audit.log%s holds %s, want %s", name, got, want)
		}
		if info, err := os.Stat(path + name); err != nil || info.Size() > 400 || info.Mode().Perm() != 0o600 {
			t.Errorf("audit.log%s: %v %v", name, info, err)
		}
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 3 {
		t.Errorf("files: %v", left)
	}
}

func TestAuditAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"19`), 0o644); err != nil {
		t.Fatal(err)
	}
	a := openAudit(t, path, AuditOptions{})
	if err := a.Record(t.Context(), entry("next")); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(lines(t, path)); got != "[torn next]" {
		t.Errorf("lines = %s", got)
	}
}

// TestAuditDiskFull lets the disk fill in the middle of a line.
func TestAuditDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path, AuditOptions{})
	if err := a.Record(t.Context(), entry("before")); err != nil {
		t.Fatal(err)
	}
	limitFileSize(t, 300)
	err := a.Record(t.Context(), entry("too much"))
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("err = %v, want one that names the file and the consequence", err)
	}
	if got := fmt.Sprint(lines(t, path)); got != "[before]" {
		t.Errorf("lines = %s, want nothing of the refused one", got)
	}
}

// limitFileSize lets writes beyond n bytes into a file fail until the test ends, as on a full disk. Tests that use it do
// not run in parallel.
func limitFileSize(t *testing.T, n uint64) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old) })
}

func TestAuditRotationFailsWithoutLoss(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path, AuditOptions{MaxBytes: 400, Keep: 2})
	for i := range 4 {
		if err := a.Record(t.Context(), entry(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // the new file cannot be made
		t.Fatal(err)
	}
	for range 5 {
		if err := a.Record(t.Context(), entry("refused")); err == nil {
			t.Fatal("no error")
		}
	}
	if got := fmt.Sprint(lines(t, path), lines(t, path+".1")); got != "[2 3] [0 1]" {
		t.Errorf("files hold %s", got)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := a.Record(t.Context(), entry("4")); err != nil {
		t.Errorf("after the trouble: %v", err)
	}
}

func TestAuditConcurrentAndClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := openAudit(t, path, AuditOptions{MaxBytes: 20_000, Keep: 10})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				if err := a.Record(t.Context(), entry(fmt.Sprint(i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	files, _ := filepath.Glob(path + "*")
	for _, f := range files {
		for _, l := range lines(t, f) {
			seen[l] = true
		}
	}
	if len(seen) != 400 || seen["torn"] {
		t.Errorf("%d different lines, want 400 whole ones", len(seen))
	}
	if err := a.Record(t.Context(), entry("late")); err == nil {
		t.Error("a closed file took a line")
	}
}
