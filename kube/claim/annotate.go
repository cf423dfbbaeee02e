package claim

import (
	"context"
	"encoding/json"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// annotations are what a bound pod says of its lease.
func annotations(task, role, funding string) map[string]string {
	return map[string]string{TaskAnnotation: task, RoleAnnotation: role, FundingAnnotation: funding}
}

// annotate shows on a bound pod what it runs on.
func (k *keeper) annotate(ctx context.Context, t *polderv1.Task, pod *v1.Pod) {
	a := pod.Annotations
	if pod.Spec.NodeName == "" || a[TaskAnnotation] == t.Id && a[RoleAnnotation] == t.Role && a[FundingAnnotation] == t.Funding {
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         pod.UID, // not another pod of the name
		"annotations": annotations(t.Id, t.Role, t.Funding),
	}})
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		_, err = k.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		k.log.Warn("a pod could not be annotated", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	}
}
