//go:build e2e && conformance

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// tally is what is known of the conformance tests. It is written down as it comes, so that a run that is broken off can go on.
type tally struct {
	t *testing.T

	mu     sync.Mutex // guards all below
	states map[string]string
	file   *os.File // nil: nothing is kept
}

// outcome is a line of the file.
type outcome struct{ Name, State string }

func openTally(t *testing.T, name string) *tally {
	t.Helper()
	k := &tally{t: t, states: map[string]string{}}
	if name == "" {
		return k
	}
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%s: %v in %q; take the line out", name, err, line)
		}
		if o.State == "passed" {
			k.states[o.Name] = o.State
		}
	}
	if k.file, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.file.Close() })
	return k
}

// note keeps the best that is known of a test: one that a part of the run leaves out may be another part's.
func (k *tally) note(name, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if was := k.states[name]; was != "" && was != "skipped" || was == state {
		return
	}
	k.states[name] = state
	if k.file == nil || state == "skipped" {
		return
	}
	line, err := json.Marshal(outcome{name, state})
	if err == nil {
		_, err = k.file.Write(append(line, '\n'))
	}
	if err != nil {
		k.t.Error(err)
	}
}

// passed are patterns of what need not run again.
func (k *tally) passed() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for name, state := range k.states {
		if state == "passed" {
			out = append(out, regexp.QuoteMeta(name)+"$")
		}
	}
	return out
}

// follow reads what ginkgo prints with -v, and passes it on. A test is named in the line after a delimiter, and "• [" begins how it ended.
func (k *tally) follow(out io.Reader, pass io.Writer) error {
	const delimiter, mark = "------------------------------", "[Conformance]"
	lines := bufio.NewScanner(io.TeeReader(out, pass))
	lines.Buffer(nil, 16<<20)
	test, begins := "", false
	for lines.Scan() {
		line := lines.Text()
		if begins {
			if i := strings.LastIndex(line, " ["); i >= 0 && strings.Contains(line[:i], mark) {
				test = line[:i] // what follows are its labels
			}
		}
		if begins = line == delimiter; begins {
			test = ""
		}
		if end, is := strings.CutPrefix(line, "• ["); is && test != "" {
			state := "passed"
			if word, _, _ := strings.Cut(end, "]"); !strings.HasSuffix(word, " seconds") {
				state = strings.ToLower(word)
			}
			k.note(test, state)
		}
	}
	return lines.Err()
}

// TestTally: names are whole, with the words behind "[Conformance]" and without labels, as in the report that comes at the end.
func TestTally(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	const line = "------------------------------\n"
	k := openTally(t, file)
	err := k.follow(strings.NewReader(line+"[sig-a] One is so [Conformance] [Serial] [sig-a, Serial, Conformance]\n/x.go:1\n• [0.1 seconds]\n"+
		line+"[sig-a] Two is not [Conformance] [sig-a, Conformance]\n/x.go:2\n• [FAILED] [0.1 seconds]\n"+line+"[ReportAfterSuite] x\n[ReportAfterSuite] PASSED [0.0 seconds]\n"), io.Discard)
	if err != nil || len(k.states) != 2 || k.states["[sig-a] One is so [Conformance] [Serial]"] != "passed" || k.states["[sig-a] Two is not [Conformance]"] != "failed" {
		t.Errorf("%v, %v", k.states, err)
	}
	again := openTally(t, file)
	if len(again.states) != 1 || len(again.passed()) != 1 || !regexp.MustCompile(again.passed()[0]).MatchString("[sig-a] One is so [Conformance] [Serial]") {
		t.Errorf("read again: %v, %v", again.states, again.passed())
	}
}
