package mutants

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var (
	all     = flag.Bool("all", false, "plant every fault, not only the first; some minutes")
	only    = flag.String("only", "", "plant the faults whose name contains this")
	rewrite = flag.Bool("rewrite", false, "write docs/design/mutants.md")
)

// few is how many faults are planted in a usual run: enough to see that planting works.
const few = 1

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// mutated is the file with the fault in it.
func (f fault) mutated(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), f.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(f.old)); n != 1 {
		t.Fatalf("%s: %q is there %d times, and must be once: the code has changed, so change the fault", f.file, f.old, n)
	}
	return bytes.Replace(text, []byte(f.old), []byte(f.new), 1)
}

// TestMutants plants faults and sees that the test named for each fails, and fails as a test: not because it does not compile.
func TestMutants(t *testing.T) {
	for i, f := range faults {
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			text := f.mutated(t)
			if *all && strings.Contains(f.name, *only) || i < few {
				f.plant(t, text)
			}
		})
	}
}

func (f fault) plant(t *testing.T, text []byte) {
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	replace := map[string]map[string]string{"Replace": {filepath.Join(root(t), f.file): changed}}
	plan, err := json.Marshal(replace)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{changed: text, overlay: plan} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name, sub, _ := strings.Cut(f.test, "/")
	args := []string{"test", "-overlay", overlay, "-count", "1", "-timeout", "5m", "-run", "^" + name + "$"}
	if sub != "" {
		args[len(args)-1] += "/^" + sub + "$"
	}
	args = append(args, f.pack, "-args")
	if sub == "" {
		args = append(args, "-rapid.nofailfile", "-rapid.shrinktime", "1ns")
	}
	if f.checks > 0 {
		args = append(args, "-rapid.checks", strconv.Itoa(f.checks))
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root(t)
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		t.Errorf("%s in %s: %s does not notice", f.name, f.file, f.test)
	case !bytes.Contains(out, []byte("--- FAIL: "+name)):
		t.Errorf("%s in %s: %s did not fail, it did not run: %s", f.name, f.file, f.test, out[:min(len(out), 2000)])
	}
}

const preface = `# Faults that tests find

A property that cannot fail proves nothing. Each line is a fault that ` + "`make mutants`" + ` plants in core, one at a time, by an overlay, and the test that
fails then. The faults are in ` + "`internal/mutants`" + `; this table is written from there.

| fault | in | breaks | found by |
|---|---|---|---|
`

// TestTableIsWritten compares the table in the documents with the faults.
func TestTableIsWritten(t *testing.T) {
	want := preface
	for _, f := range faults {
		name, story, isStory := strings.Cut(f.test, "/")
		found := "`" + name + "`"
		if isStory {
			found += ", story `" + story + "`"
		}
		want += fmt.Sprintf("| %s | `%s` | %s | %s |\n", f.name, f.file, f.promise, found)
	}
	page := filepath.Join(root(t), "docs/design/mutants.md")
	if *rewrite {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != want {
		t.Errorf("docs/design/mutants.md does not tell these faults (run this test with -rewrite): %v", err)
	}
}
