//go:build e2e && conformance

package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// shards are Kubernetes' own conformance tests in parts that run beside each other, by labels of ginkgo and parts of names. What is marked
// as serial comes last and alone.
var shards = []struct{ name, labels, focus, skip string }{
	{name: "apps", labels: "sig-apps"},
	{name: "machinery", labels: "sig-api-machinery", skip: "support for API chunking"},
	{name: "chunking", labels: "sig-api-machinery", focus: "support for API chunking"}, // waits ten minutes for etcd to forget
	{name: "network", labels: "sig-network"},
	{name: "node", labels: "sig-node", skip: "Probing container"},
	{name: "probes", labels: "sig-node", focus: "Probing container"},
	{name: "storage", labels: "sig-storage"},
	{name: "others", labels: "!sig-apps && !sig-api-machinery && !sig-network && !sig-node && !sig-storage"},
}

var (
	only    = flag.String("only", "", "run only the tests whose names match an `expression`, one after the other")
	results = flag.String("results", "", "a `file` for what comes of each test, as soon as it is known; those that it says passed are not run again")
)

const serial = "Serial || Disruptive"

// verdict is what came of one test.
type verdict struct {
	ContainerHierarchyTexts []string
	LeafNodeText            string
	LeafNodeType            string
	State                   string
}

func (v verdict) name() string {
	return strings.Join(append(v.ContainerHierarchyTexts, v.LeafNodeText), " ")
}

// omission is a reason to leave tests out, and what their names contain.
type omission struct {
	reason string
	parts  []string
}

// TestConformance runs Kubernetes' own conformance tests, but for those that testdata/conformance.txt leaves out. It fails with those that
// fail, and says how many there are of each kind.
func TestConformance(t *testing.T) {
	omitted := readOmissions(t)
	w := newWorld(t)
	w.awaitSays("node-2", append(w.kube(), "get", "nodes")...)
	k := openTally(t, *results)
	if *only != "" {
		w.conformance(k, "only", "Conformance", *only, patterns(omitted))
		summary(t, k.states, nil)
		return
	}
	var beside sync.WaitGroup
	for _, s := range shards {
		beside.Go(func() {
			w.conformance(k, s.name, fmt.Sprintf("Conformance && !(%s) && (%s)", serial, s.labels), s.focus, append(patterns(omitted), s.skip))
		})
	}
	beside.Wait()
	w.conformance(k, "serial", fmt.Sprintf("Conformance && (%s)", serial), "", patterns(omitted))
	summary(t, k.states, omitted)
}

// build of the programs and images of Kubernetes' own tests; called by newWorld's.
func init() { upstream = buildUpstream }

func buildUpstream(w *world) []string {
	w.t.Helper()
	source, err := exec.Command("go", "list", "-C", "conformance", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		w.t.Fatalf("the module of Kubernetes: %v", err)
	}
	flags := "-s -w " + versionFlags(w.t)
	tests, agnhost := filepath.Join(w.bin, "e2e.test"), filepath.Join(w.bin, "agnhost")
	for _, args := range [][]string{
		{"test", "-C", "conformance", "-c", "-vet=off", "-ldflags", flags, "-o", tests, "k8s.io/kubernetes/test/e2e"},
		{"build", "-C", "conformance", "-ldflags", "-s -w", "-o", agnhost, "k8s.io/kubernetes/test/images/agnhost"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	// The tests want a kubectl of that name.
	script := fmt.Sprintf("#!/bin/sh\nexec %q kubectl \"$@\"\n", w.kube()[0])
	if err := os.WriteFile(filepath.Join(w.bin, "kubectl"), []byte(script), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return []string{agnhost, tests, strings.TrimSpace(string(source))}
}

// conformance runs some of the tests and notes what came of them all.
func (w *world) conformance(k *tally, name, labels, focus string, skip []string) {
	report := filepath.Join(w.dir, name+".json")
	skip = append(slices.DeleteFunc(skip, func(s string) bool { return s == "" }), k.passed()...)
	args := slices.Concat(w.place[1:], []string{filepath.Join(w.bin, "e2e.test"), "--kubeconfig=" + filepath.Join(w.data(), "kube/admin.kubeconfig"), "--provider=skeleton",
		"--kubectl-path=" + filepath.Join(w.bin, "kubectl"), "--ginkgo.no-color", "--ginkgo.timeout=3h", "--ginkgo.label-filter=" + labels, "--ginkgo.focus=" + focus,
		"--ginkgo.skip=" + strings.Join(skip, "|"), "--ginkgo.json-report=" + report, "--ginkgo.silence-skips", "--ginkgo.v", "--disable-log-dump"})
	cmd := exec.CommandContext(w.t.Context(), w.place[0], args...)
	cmd.Dir = w.dir
	kept, err := os.Create(filepath.Join(w.dir, name+".out"))
	if err != nil {
		w.t.Error(err)
		return
	}
	defer kept.Close()
	cmd.Stderr = kept
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = errors.Join(k.follow(out, kept), cmd.Wait()) // or some failed
	}
	var suites []struct{ SpecReports []verdict }
	data, readErr := os.ReadFile(report)
	if readErr == nil {
		readErr = json.Unmarshal(data, &suites)
	}
	if readErr != nil || len(suites) != 1 {
		w.t.Errorf("%s: %v, and no report: %v", name, err, readErr)
		return
	}
	for _, v := range suites[0].SpecReports {
		if v.LeafNodeType == "It" && strings.Contains(v.name(), "[Conformance]") {
			k.note(v.name(), v.State)
		}
	}
}

// readOmissions reads the list: a line that begins with "#" is the reason of those below it.
func readOmissions(t *testing.T) []omission {
	t.Helper()
	data, err := os.ReadFile("testdata/conformance.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []omission
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch reason, is := strings.CutPrefix(line, "# "); {
		case is:
			out = append(out, omission{reason: reason})
		case line != "" && len(out) > 0:
			last := &out[len(out)-1]
			last.parts = append(last.parts, line)
		}
	}
	return out
}

func patterns(all []omission) []string {
	var out []string
	for _, o := range all {
		for _, p := range o.parts {
			out = append(out, regexp.QuoteMeta(p))
		}
	}
	return out
}

// summary says what came of everything, and fails with what failed and with what of the list leaves nothing out.
func summary(t *testing.T, all map[string]string, omitted []omission) {
	t.Helper()
	var failed []string
	passed, left := 0, map[string]string{}
	for name, state := range all {
		switch state {
		case "passed":
			passed++
		case "skipped":
			left[name] = ""
		default:
			failed = append(failed, state+": "+name)
		}
	}
	lines := []string{fmt.Sprintf("%d of %d conformance tests passed, %d failed, %d were left out:", passed, len(all), len(failed), len(left))}
	for _, o := range omitted {
		n := 0
		for _, p := range o.parts {
			hit := false
			for name := range left {
				if strings.Contains(name, p) {
					hit = true
					if left[name] == "" {
						left[name] = o.reason
						n++
					}
				}
			}
			if !hit {
				t.Errorf("testdata/conformance.txt: no test is named %q", p)
			}
		}
		lines = append(lines, fmt.Sprintf("%4d  %s", n, o.reason))
	}
	for name, reason := range left {
		if reason == "" && omitted != nil {
			failed = append(failed, "it skips itself: "+name)
		}
	}
	slices.Sort(failed)
	t.Log(strings.Join(lines, "\n"))
	if len(failed) > 0 {
		t.Errorf("not passed:\n%s", strings.Join(failed, "\n"))
	}
}
