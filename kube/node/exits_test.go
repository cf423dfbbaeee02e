package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// containers are some that have ended.
type containers []*runtimev1.ContainerStatus

// ListContainers implements [ends].
func (c containers) ListContainers(context.Context, *runtimev1.ContainerFilter) ([]*runtimev1.Container, error) {
	var out []*runtimev1.Container
	for _, s := range c {
		out = append(out, &runtimev1.Container{Id: s.Id, Labels: s.Labels})
	}
	return out, nil
}

// ContainerStatus implements [ends].
func (c containers) ContainerStatus(_ context.Context, id string, _ bool) (*runtimev1.ContainerStatusResponse, error) {
	for _, s := range c {
		if s.Id == id {
			return &runtimev1.ContainerStatusResponse{Status: s}, nil
		}
	}
	return nil, errors.New("gone")
}

func end(id, pod, name string, code int32, at int64, reason string) *runtimev1.ContainerStatus {
	return &runtimev1.ContainerStatus{Id: id, Labels: map[string]string{uidLabel: pod, nameLabel: name}, ExitCode: code, FinishedAt: at, Reason: reason}
}

// TestHowPodsEnd: the first container that failed counts, as it ended last; who was told to end has not failed.
func TestHowPodsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		ends containers
		want string // empty is no file
	}{
		"well":                     {containers{end("a", "p", "main", 0, 1, "Completed")}, ""},
		"with a code":              {containers{end("a", "p", "main", 3, 1, "Error")}, `{"container":"main","code":3}`},
		"well in the end":          {containers{end("a", "p", "main", 3, 1, "Error"), end("b", "p", "main", 0, 2, "Completed")}, ""},
		"an older end seen later":  {containers{end("b", "p", "main", 0, 2, "Completed"), end("a", "p", "main", 3, 1, "Error")}, ""},
		"told to":                  {containers{end("a", "p", "main", 143, 1, "Error"), end("b", "p", "side", 137, 1, "Error")}, ""},
		"out of memory":            {containers{end("a", "p", "main", 137, 1, "OOMKilled")}, `{"container":"main","code":137,"oom":true}`},
		"one took the other along": {containers{end("a", "p", "main", 3, 1, "Error"), end("b", "p", "side", 4, 2, "Error")}, `{"container":"main","code":3}`},
		"nobody's":                 {containers{end("a", "", "main", 3, 1, "Error"), end("b", "../x", "main", 3, 1, "Error")}, ""},
	} {
		w := &exits{dir: t.TempDir(), from: c.ends, seen: map[string]bool{}, pods: map[string]map[string]ended{}}
		for range 2 {
			if err := w.look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got, _ := os.ReadFile(filepath.Join(w.dir, "p"))
		if string(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		w.from = containers{}
		if err := w.look(t.Context()); err != nil || len(w.seen) > 0 || len(w.pods) > 0 {
			t.Errorf("%s: it remembers what is gone: %v, %v, %v", name, w.seen, w.pods, err)
		}
	}
}

// TestEndIsWrittenLater: an end that could not be written down is asked about again.
func TestEndIsWrittenLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "exits")
	w := &exits{dir: dir, from: containers{end("a", "p", "main", 3, 1, "Error")}, seen: map[string]bool{}, pods: map[string]map[string]ended{}}
	if err := w.look(t.Context()); err == nil {
		t.Fatal("it was written nowhere")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "p")); string(got) != `{"container":"main","code":3}` {
		t.Errorf("it says %q", got)
	}
}
