package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
)

// A door's container is described with a number of GPUs, and only its task is given some: then the container says which. Engines do
// not change that in one that is there.

// withGPUs makes sure that a container has the GPUs of its task and no others. One that has never run is made again with them.
func (r *Runtime) withGPUs(ctx context.Context, spec runtime.Spec, c container.InspectResponse) (container.InspectResponse, error) {
	have := gpusOf(c)
	if slices.Equal(have, slices.Sorted(slices.Values(spec.GPUs))) && (len(have) > 0 || len(c.HostConfig.DeviceRequests) == 0) {
		return c, nil
	}
	if c.State.Status != container.StateCreated {
		return c, &runtime.Error{Kind: runtime.ErrStart, Op: "start", Task: spec.TaskID,
			Cause: fmt.Errorf("container %s has run with GPU %s, and its lease has %s now", strings.TrimPrefix(c.Name, "/"), list(have), list(spec.GPUs)),
			Next:  "start it again when its own are free, or make it anew: engines give a container no others"}
	}
	if _, err := r.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
		return c, r.fail("make it again with its GPUs", spec.TaskID, err)
	}
	return r.createAgain(ctx, spec)
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

// gpusOf are the GPUs that a container names, in order.
func gpusOf(c container.InspectResponse) (ids []string) {
	if c.HostConfig == nil {
		return nil
	}
	for _, d := range c.HostConfig.DeviceRequests {
		ids = append(ids, d.DeviceIDs...)
	}
	slices.Sort(ids)
	return ids
}

// describeGPUs puts a task's GPUs in place of their number in the body of a create call.
func describeGPUs(create []byte, ids []string) ([]byte, error) {
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(create))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		return nil, fmt.Errorf("the container's description: %w", err)
	}
	asked, _ := object(body, "HostConfig")["DeviceRequests"].([]any)
	if len(asked) == 0 {
		return create, nil
	}
	for _, x := range asked {
		if m, ok := x.(map[string]any); ok {
			delete(m, "Count")
			m["DeviceIDs"] = ids
		}
	}
	return json.Marshal(body)
}
