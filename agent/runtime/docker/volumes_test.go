package docker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
)

// TestPoolVolumesOnAnotherEngine: a container that is made here for its task has the volumes that the task mounts, under their names, whatever the engine had
// by the name of one that is no more; one that it does not mount it has not, and the engine's own are left alone.
func TestPoolVolumesOnAnotherEngine(t *testing.T) {
	r := open(t, "test-volumes")
	r.opt.State = t.TempDir()
	dir := t.TempDir()
	t.Cleanup(func() {
		_, _ = r.api.VolumeRemove(context.Background(), "pool-data", client.VolumeRemoveOptions{Force: true})
	})
	with := func(task, id, lease string) runtime.Spec {
		s := spec(t, task, "")
		s.Container = &runtime.Container{ID: strings.Repeat(id, 32), Role: s.Role, Name: task, Sandbox: s.Sandbox, Create: fmt.Appendf(nil,
			`{"Image":%q,"Cmd":["sh","-c","echo %s > /data/said"],"HostConfig":{"Binds":["pool-data:/data"]}}`, image, task)}
		if lease != "" {
			data := filepath.Join(dir, lease, "data")
			must(t, os.MkdirAll(data, 0o777))
			s.Mounts = []runtime.Mount{{Source: data, Target: "/data", Volume: "pool-data", Lease: lease}}
		}
		return s
	}
	run := func(s runtime.Spec) {
		t.Helper()
		start(t, r, s)
		wait(t, r, s.TaskID)
		c, err := r.find(t.Context(), s.Container.ID)
		must(t, err)
		_, err = r.api.ContainerRemove(t.Context(), c.ID, client.ContainerRemoveOptions{})
		must(t, err)
		if got, err := os.ReadFile(filepath.Join(s.Mounts[0].Source, "said")); strings.TrimSpace(string(got)) != s.TaskID {
			t.Errorf("in the volume is %q, %v", got, err)
		}
	}
	run(with("v1", "a1", "volume-1.0"))
	run(with("v2", "a2", "volume-1.0"))
	run(with("v3", "a3", "volume-2.0"))
	if _, err := r.Start(t.Context(), with("v4", "a4", "")); err == nil || !strings.Contains(err.Error(), "does not mount") {
		t.Errorf("a volume that is not mounted: %v", err)
	}
	_, err := r.api.VolumeRemove(t.Context(), "pool-data", client.VolumeRemoveOptions{})
	must(t, err)
	_, err = r.api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: "pool-data"})
	must(t, err)
	if _, err := r.Start(t.Context(), with("v5", "a5", "volume-2.0")); err == nil || !strings.Contains(err.Error(), "of its own") {
		t.Errorf("a volume of the engine's own: %v", err)
	}
}
