package auth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// readAll follows the trail to its end by pages of n, and fails when it does not end.
func readAll(t interface{ Fatal(...any) }, a *AuditFile, n int, keep func(Entry) bool) []string {
	var out []string
	next := ""
	for range 10_000 {
		entries, after, err := a.Read(context.Background(), next, n, keep)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > n {
			t.Fatal("a page of", len(entries))
		}
		for _, e := range entries {
			out = append(out, e.Object)
		}
		if next = after; next == "" {
			return out
		}
	}
	t.Fatal("the trail does not end")
	return nil
}

// TestTrailReadsBackwards: whatever was written and however files turned over, pages give the newest first, each line once,
// torn ones left out, down to the oldest that is kept.
func TestTrailReadsBackwards(t *testing.T) {
	dir := t.TempDir()
	rounds := 0
	rapid.Check(t, func(t *rapid.T) {
		rounds++
		path := filepath.Join(dir, fmt.Sprint(rounds))
		a, err := OpenAudit(path, AuditOptions{MaxBytes: rapid.Int64Range(300, 5000).Draw(t, "bytes"), Keep: rapid.IntRange(1, 4).Draw(t, "keep")})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		var want []string
		for i := range rapid.IntRange(0, 60).Draw(t, "entries") {
			e := entry(fmt.Sprint(i) + strings.Repeat("x", rapid.IntRange(0, 80).Draw(t, "size")))
			if err := a.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			want = append(want, e.Object)
		}
		slices.Reverse(want)
		keep := func(e Entry) bool { return !strings.HasPrefix(e.Object, "3") }
		want = slices.DeleteFunc(want, func(o string) bool { return strings.HasPrefix(o, "3") })
		got := readAll(t, a, rapid.IntRange(1, 20).Draw(t, "page"), keep)
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatal("read", got, "of", want)
		}
		if files, _ := filepath.Glob(path + "*"); len(files) <= a.opts.Keep && len(got) != len(want) {
			t.Fatal("read", len(got), "of", len(want), "in", files)
		}
	})
}

// TestTrailLongLines: a line may be longer than what is read at once, and one that was torn is left out.
func TestTrailLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(`{"object":"first"}`+"\n"+`{"object":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	a := openAudit(t, path, AuditOptions{})
	long := strings.Repeat("y", 3*trailChunk)
	for _, o := range []string{"second", long, "third"} {
		if err := a.Record(t.Context(), entry(o)); err != nil {
			t.Fatal(err)
		}
	}
	got := readAll(t, a, 2, func(Entry) bool { return true })
	if !slices.Equal(got, []string{"third", long, "second", "first"}) {
		t.Errorf("%d entries: %.40v", len(got), got)
	}
}

// TestTrailPlaces: a place goes on after what turned over meanwhile; one in what is gone ends the trail; a made-up one is an
// error.
func TestTrailPlaces(t *testing.T) {
	a := openAudit(t, filepath.Join(t.TempDir(), "audit.jsonl"), AuditOptions{MaxBytes: 400, Keep: 3})
	write := func(from, to int) {
		for i := from; i < to; i++ {
			if err := a.Record(t.Context(), entry(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, 4)
	all := func(Entry) bool { return true }
	first, next, err := a.Read(t.Context(), "", 2, all)
	if err != nil || len(first) != 2 || first[0].Object != "3" {
		t.Fatal(first, err)
	}
	write(4, 8)
	second, _, err := a.Read(t.Context(), next, 2, all)
	if err != nil || len(second) != 2 || second[0].Object != "1" {
		t.Error(second, err)
	}
	write(8, 40)
	if gone, after, err := a.Read(t.Context(), next, 2, all); err != nil || len(gone) != 0 || after != "" {
		t.Error(gone, after, err)
	}
	for _, bad := range []string{"x", "1", "1:-5", "1:2:3", " 1:2"} {
		if _, _, err := a.Read(t.Context(), bad, 2, all); !errors.Is(err, ErrPlace) {
			t.Errorf("place %q: %v", bad, err)
		}
	}
}
