package process

import (
	"os"
	"path/filepath"
	"testing"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
	"polder.dev/polder/agent/runtime/runtimetest"
)

func TestMain(m *testing.M) {
	MaybeInit()
	agentMain()
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or every short-lived stage lingers for a second under the race detector
	os.Exit(m.Run())
}

// setting is one way a machine may be.
type setting struct {
	name       string
	namespaces bool
	cgroups    bool
}

var settings = []setting{{"everything", true, true}, {"no cgroups", true, false}, {"no namespaces", false, true}, {"nothing", false, false}}

// open makes a runtime on a state directory; base names its cgroups.
func (s setting) open(t *testing.T, dir, base string) *Runtime {
	t.Helper()
	root := cgroup.Root
	if !s.cgroups {
		root = filepath.Join(dir, "no-such-mount")
	}
	tree := cgroup.Open(root, base)
	t.Cleanup(tree.Close)
	r, err := newRuntime(Options{StateDir: filepath.Join(dir, "state"), Tree: tree}, s.namespaces)
	if err != nil {
		t.Fatal(err)
	}
	if (r.ns != s.namespaces) || (r.tree.Note() == "") != s.cgroups {
		t.Fatalf("this machine lacks what the test needs (run as root, with cgroups and namespaces): %v", r.Notes())
	}
	return r
}

func TestConformance(t *testing.T) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			runtimetest.Run(t, func(t *testing.T) runtimetest.Target {
				dir := t.TempDir()
				base := "test-" + filepath.Base(filepath.Dir(dir))
				return runtimetest.Target{
					Runtime: s.open(t, dir, base),
					Restart: func(t *testing.T, old runtime.Runtime) runtime.Runtime {
						if err := old.Close(); err != nil {
							t.Fatal(err)
						}
						return s.open(t, dir, base)
					},
					Sandbox: sandbox,
				}
			})
		})
	}
}

func sandbox(t *testing.T) string { return t.TempDir() }
