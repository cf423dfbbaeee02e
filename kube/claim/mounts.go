package claim

import (
	"context"
	"strconv"

	v1 "k8s.io/api/core/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Volumes says which of the pool's volumes a pod mounts, as far as its claims have any yet; package volume does.
type Volumes interface {
	Of(ctx context.Context, pod *v1.Pod) ([]*polderv1.Mount, error)
}

// VolumesLabel of a task says how many of the pool's volumes it names. A pod's claims do not change, so fewer than the pod mounts means
// that the rest was made later.
const VolumesLabel = "kube.polder.dev/volumes"

// mount has a pod's lease name the pod's volumes: so the pool knows who mounts them, and where the pod must be.
func (b *Book) mount(ctx context.Context, pod *v1.Pod, r *request) error {
	if b.volumes == nil {
		return nil
	}
	mounts, err := b.volumes.Of(ctx, pod)
	if err != nil {
		return err
	}
	if r.task.Mounts = mounts; len(mounts) > 0 {
		r.task.Labels[VolumesLabel] = strconv.Itoa(len(mounts))
	}
	return nil
}

// mounted is how many volumes a task or an ask names.
func mounted(labels map[string]string) int {
	n, err := strconv.Atoi(labels[VolumesLabel])
	if err != nil {
		return 0
	}
	return n
}
