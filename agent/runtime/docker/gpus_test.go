package docker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
)

// TestGPUs: the engine is told of the GPUs that the task was given and of no others, whether it made the container or a door did. There
// are no GPUs here, so it refuses: it has nothing that drives them.
func TestGPUs(t *testing.T) {
	r := open(t, "test-gpus")
	r.opt.State = t.TempDir()
	s := spec(t, "gpus", "true")
	s.GPUs = []string{"3"}
	if h, err := hostConfig(s, ""); err != nil || len(h.DeviceRequests) != 1 || !slices.Equal(h.DeviceRequests[0].DeviceIDs, []string{"3"}) {
		t.Errorf("the engine is told of %+v, %v", h, err)
	}
	s.Container = &runtime.Container{ID: strings.Repeat("ab", 32), Role: s.Role, Name: "gpus", Sandbox: s.Sandbox, Create: fmt.Appendf(nil,
		`{"Image":%q,"Cmd":["true"],"HostConfig":{"DeviceRequests":[{"Count":1,"DeviceIDs":null,"Capabilities":[["gpu"]]}]}}`, image)}
	status, said, err := r.Create(t.Context(), *s.Container)
	if err != nil || status != 201 {
		t.Fatalf("create: %d %s %v", status, said, err)
	}
	before, err := r.find(t.Context(), s.Container.ID)
	must(t, err)
	if _, err := r.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "could not select device driver") {
		t.Errorf("it starts: %v", err)
	}
	after, err := r.find(t.Context(), s.Container.ID)
	must(t, err)
	if got := gpusOf(after); !slices.Equal(got, s.GPUs) || after.ID == before.ID || after.HostConfig.DeviceRequests[0].Count != 0 {
		t.Errorf("the container was %.12s and is %.12s, with %+v", before.ID, after.ID, after.HostConfig.DeviceRequests)
	}
	if again, err := r.withGPUs(t.Context(), s, after); err != nil || again.ID != after.ID {
		t.Errorf("it is made a third time: %v", err)
	}
	after.State.Status, s.GPUs = container.StateExited, []string{"4"} // it has run, and others have its own
	var failed *runtime.Error
	if _, err := r.withGPUs(t.Context(), s, after); !errors.As(err, &failed) || !strings.Contains(err.Error(), "has run with GPU 3, and its lease has 4 now") {
		t.Errorf("then: %v", err)
	}
	_, err = r.api.ContainerRemove(t.Context(), after.ID, client.ContainerRemoveOptions{})
	must(t, err)
}
