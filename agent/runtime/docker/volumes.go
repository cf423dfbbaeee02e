package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"polder.dev/polder/agent/runtime"
)

// A door's container has the pool's volumes under their names. The door makes the engine's volumes that stand for them where it makes the
// container. Where the container is made again, which may be on another engine or on one that has lost everything, this package does: an
// engine makes a volume of its own of every name that it does not know.

// standIns makes sure that the volumes which a door's container names are what its task mounts.
func (r *Runtime) standIns(ctx context.Context, spec runtime.Spec) error {
	for _, name := range named(spec.Container.Create) {
		var of runtime.Mount
		if i := slices.IndexFunc(spec.Mounts, func(m runtime.Mount) bool { return m.Volume == name }); i >= 0 {
			of = spec.Mounts[i]
		}
		if err := r.standIn(ctx, name, of); err != nil {
			return &runtime.Error{Kind: runtime.ErrStart, Op: "create", Task: spec.TaskID, Cause: err}
		}
	}
	return nil
}

// standIn makes the engine's volume of a name stand for the one that is mounted; that is empty for a name of the engine's own.
func (r *Runtime) standIn(ctx context.Context, name string, of runtime.Mount) error {
	have, err := r.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	stands := have.Volume.Labels[LabelVolume]
	switch {
	case stands == of.Lease:
		return nil // or it is the engine's own, which makes it if it is not there
	case of.Lease == "":
		return fmt.Errorf("volume %s of this engine stands for one of the pool that this container does not mount", name)
	case stands != "": // for one that is no more
		if _, err := r.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	made, err := r.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Driver: "local",
		DriverOpts: map[string]string{"type": "none", "o": "bind", "device": of.Source}, Labels: map[string]string{LabelVolume: of.Lease}})
	if err == nil && made.Volume.Labels[LabelVolume] != of.Lease { // engines answer with what is there by the name
		err = fmt.Errorf("this engine has a volume %s of its own, which is in the way of the pool's: remove it", name)
	}
	return err
}

// named are the volumes that a create call names.
func named(create []byte) (out []string) {
	var body struct {
		HostConfig struct {
			Binds  []string
			Mounts []struct{ Type, Source string }
		}
	}
	_ = json.Unmarshal(create, &body) // what is none is refused when the container is made
	for _, b := range body.HostConfig.Binds {
		if source, _, ok := strings.Cut(b, ":"); ok && !path.IsAbs(source) {
			out = append(out, source)
		}
	}
	for _, m := range body.HostConfig.Mounts {
		if m.Type == "volume" && m.Source != "" {
			out = append(out, m.Source)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
