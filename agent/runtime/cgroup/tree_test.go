package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/agent/runtime"
)

// fakeV2 is a unified hierarchy of plain files: what is written can be read back.
func fakeV2(t testing.TB) (root string, open func(agent string) *Tree) {
	t.Helper()
	root = t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpuset cpu io memory pids\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root, func(agent string) *Tree {
		tree := Open(root, agent)
		tree.rm = rmPlain
		return tree
	}
}

// rmPlain removes a directory the way the kernel does: its files go with it, its directories do not.
func rmPlain(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			return errors.New("busy")
		}
	}
	return os.RemoveAll(dir)
}

func read(t testing.TB, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func add(t testing.TB, tree *Tree, task Task) {
	t.Helper()
	if err := tree.Add(task); err != nil {
		t.Fatal(err)
	}
}

func TestV2TreeLimitsAndWeights(t *testing.T) {
	root, open := fakeV2(t)
	tree := open("a1")
	if n := tree.Note(); n != "" {
		t.Fatal(n)
	}
	add(t, tree, Task{ID: "g", Role: "corp/search", Funded: runtime.Guaranteed, CPU: 2000, CPUHard: true, MemoryBytes: 1 << 30, Pids: 7})
	add(t, tree, Task{ID: "b", Role: "corp/batch", Funded: runtime.Borrowed, CPU: 4000, MemoryBytes: 1 << 20})
	for file, want := range map[string]string{
		"cgroup.subtree_control":                        "+cpu +memory +pids",
		"polder/a1/corp/search/cgroup.subtree_control":  "+cpu +memory +pids",
		"polder/a1/corp/search/guaranteed/g/cpu.max":    "200000 100000",
		"polder/a1/corp/search/guaranteed/g/memory.max": "1073741824",
		"polder/a1/corp/search/guaranteed/g/memory.low": "1073741824",
		"polder/a1/corp/search/guaranteed/g/pids.max":   "7",
		"polder/a1/corp/search/guaranteed/g/cpu.weight": "200",
		"polder/a1/corp/search/cpu.weight":              "200",
		"polder/a1/corp/batch/cpu.weight":               "4",
		"polder/a1/corp/batch/borrowed/b/memory.low":    "0",
		"polder/a1/corp/cpu.weight":                     "204",
		"polder/a1/corp/memory.low":                     "1073741824",
	} {
		if got := read(t, root, file); got != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	tree.SetFunded("b", runtime.Guaranteed)
	if got := read(t, root, "polder/a1/corp/cpu.weight"); got != "600" {
		t.Errorf("after b is guaranteed corp weighs %s, want 600", got)
	}
	if got := tree.Joins("b"); len(got) != 1 || got[0] != filepath.Join(root, "polder/a1/corp/batch/borrowed/b/cgroup.procs") {
		t.Errorf("joins %v", got)
	}
}

func TestRemoveLeavesNothingEmpty(t *testing.T) {
	root, open := fakeV2(t)
	a, b := open("a"), open("b")
	add(t, a, Task{ID: "x", Role: "corp/search", Funded: runtime.Guaranteed, CPU: 1000})
	add(t, a, Task{ID: "y", Role: "corp", Funded: runtime.Guaranteed, CPU: 1000})
	add(t, b, Task{ID: "z", Role: "corp", Funded: runtime.Borrowed, Engine: true})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Remove("x"))
	if got := read(t, root, "polder/a/corp/cpu.weight"); got != "100" {
		t.Errorf("corp weighs %s without x, want 100", got)
	}
	if _, err := os.Stat(filepath.Join(root, "polder/a/corp/search")); !os.IsNotExist(err) {
		t.Errorf("corp/search is still there: %v", err)
	}
	must(a.Remove("y"))
	must(a.Remove("y"))
	must(b.Remove("z"))
	if _, err := os.Stat(filepath.Join(root, "polder")); !os.IsNotExist(err) {
		t.Errorf("polder is still there: %v", err)
	}
	add(t, a, Task{ID: "x", Role: "corp", Funded: runtime.Guaranteed})
	if _, err := os.Stat(filepath.Join(root, "polder/a/.init")); err != nil {
		t.Errorf("a task after the last has no place for its supervisor: %v", err)
	}
}

func TestRolesCannotCollideWithMeaningfulNames(t *testing.T) {
	_, open := fakeV2(t)
	tree := open("a")
	for role, want := range map[string]string{
		"":                "/polder/a/borrowed",
		"corp":            "/polder/a/corp/borrowed",
		"corp/.self":      "/polder/a/corp/.self/borrowed",
		"corp/guaranteed": "/polder/a/corp/_guaranteed/borrowed",
		"corp/../../x":    "/polder/a/corp/_../_../x/borrowed",
		".init":           "/polder/a/_.init/borrowed",
	} {
		if got := tree.Parent(role, runtime.Borrowed); got != want {
			t.Errorf("parent of %q is %s, want %s", role, got, want)
		}
	}
}

func TestUnusableMountDoesNothing(t *testing.T) {
	tree := Open(filepath.Join(t.TempDir(), "none"), "a")
	if tree.Note() == "" {
		t.Error("no note")
	}
	add(t, tree, Task{ID: "x", Role: "corp"})
	tree.SetFunded("x", runtime.Guaranteed)
	if tree.Joins("x") != nil || tree.SupervisorJoins() != nil || tree.Parent("corp", runtime.Borrowed) != "" {
		t.Error("an unusable tree offers directories")
	}
	if err := errors.Join(tree.Remove("x"), tree.Kill(t.Context(), "x")); err != nil {
		t.Error(err)
	}
	tree.Close()
}

// TestWeightsAreSums adds, refunds and removes at random and compares every weight with a sum over the tasks.
func TestWeightsAreSums(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		root, open := fakeV2(t)
		tree, live := open("a"), map[string]Task{}
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			id := rapid.SampledFrom([]string{"t1", "t2", "t3", "t4"}).Draw(rt, "id")
			funded := rapid.SampledFrom([]string{runtime.Guaranteed, runtime.Borrowed}).Draw(rt, "funded")
			task, ok := live[id]
			switch {
			case !ok:
				task = Task{ID: id, Funded: funded, CPU: int64(rapid.IntRange(0, 4000).Draw(rt, "cpu")),
					Role: rapid.SampledFrom([]string{"a", "a/b", "a/b/c", "d"}).Draw(rt, "role")}
				add(t, tree, task)
				live[id] = task
			case rapid.Bool().Draw(rt, "refund"):
				tree.SetFunded(id, funded)
				task.Funded = funded
				live[id] = task
			default:
				if err := tree.Remove(id); err != nil {
					rt.Fatal(err)
				}
				delete(live, id)
			}
			for _, role := range []string{"a", "a/b", "a/b/c", "d"} {
				var sum share
				for _, l := range live {
					if l.Role == role || strings.HasPrefix(l.Role, role+"/") {
						sum = sum.plus(shareOf(l))
					}
				}
				data, err := os.ReadFile(filepath.Join(root, "polder/a", role, "cpu.weight"))
				if sum.points == 0 {
					if err == nil {
						rt.Fatalf("%s is empty and still there", role)
					}
				} else if got := strings.TrimSpace(string(data)); got != strconv.FormatInt(sum.weight(), 10) {
					rt.Fatalf("%s weighs %q (%v), want %d", role, got, err, sum.weight())
				}
			}
		}
	})
}

// TestKernel runs a real process in the machine's own hierarchy.
func TestKernel(t *testing.T) {
	tree := Open(Root, "test-kernel")
	if n := tree.Note(); n != "" {
		t.Fatalf("%s; run as root on a machine with cgroups mounted", n)
	}
	add(t, tree, Task{ID: "x", Role: "corp/search", Funded: runtime.Guaranteed, CPU: 500, CPUHard: true, MemoryBytes: 16 << 20, Pids: 10})
	script := `for f in "$@"; do echo 0 >"$f"; done; sleep 1000 & sleep 1000 & echo in; wait`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, tree.Joins("x")...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if u, ok, err := tree.Usage("x"); !ok || err != nil || u.Pids != 3 || u.MemoryBytes <= 0 {
		t.Errorf("usage %+v %v %v", u, ok, err)
	}
	if err := tree.Kill(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if pids, ok, err := tree.Pids("x"); len(pids) > 0 || !ok || err != nil {
		t.Errorf("after kill: %v %v %v", pids, ok, err)
	}
	if err := tree.Remove("x"); err != nil {
		t.Error(err)
	}
}
