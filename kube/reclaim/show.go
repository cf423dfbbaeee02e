package reclaim

import (
	"context"
	"encoding/json"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Annotations of a pod under notice.
const (
	DeadlineAnnotation = "polder.dev/notice-deadline"
	ClaimantAnnotation = "polder.dev/notice-claimant"
	IDAnnotation       = "polder.dev/notice"
)

// Reasons of the condition DisruptionTarget.
const (
	reason    = "PolderNotice"
	overruled = "PolderDeadline" // the deadline is over, and a budget for disruption would have kept the pod
)

type object = map[string]any

// show puts a notice on its pod.
func (r *reclaimer) show(ctx context.Context, pod *v1.Pod, n *polderv1.Notice) bool {
	text := words(n)
	if e, ok := r.Book.ByTask(n.Task); ok && e.Cost.Guarded && n.Kind != drain {
		text += "; a budget for disruption watches the pod, but the pool had nobody else to ask"
	}
	ok := r.patch(ctx, pod, object{IDAnnotation: n.Id, ClaimantAnnotation: n.Claimant, DeadlineAnnotation: n.Deadline.AsTime().Format(time.RFC3339)},
		disrupted(reason, text, r.now()))
	if ok {
		r.Events.Eventf(pod, nil, v1.EventTypeWarning, "NoticeGiven", "Reclaim", "%s", text)
	}
	return ok
}

func disrupted(reason, text string, now time.Time) object {
	return object{"type": v1.DisruptionTarget, "status": v1.ConditionTrue, "reason": reason, "message": text, "lastTransitionTime": metav1.NewTime(now)}
}

// clear takes a withdrawn notice off its pod.
func (r *reclaimer) clear(ctx context.Context, pod *v1.Pod) {
	ok := r.patch(ctx, pod, object{IDAnnotation: nil, ClaimantAnnotation: nil, DeadlineAnnotation: nil},
		object{"type": v1.DisruptionTarget, "$patch": "delete"})
	if ok {
		r.Events.Eventf(pod, nil, v1.EventTypeNormal, "NoticeWithdrawn", "Reclaim", "the pool does not ask for anything any more: the pod stays")
	}
}

// patch changes annotations and one condition of a pod; it reports whether that is done.
func (r *reclaimer) patch(ctx context.Context, pod *v1.Pod, annotations, condition object) bool {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	api := r.Client.CoreV1().Pods(pod.Namespace)
	meta, err := json.Marshal(object{"metadata": object{"uid": pod.UID, "annotations": annotations}})
	if err == nil {
		_, err = api.Patch(ctx, pod.Name, types.MergePatchType, meta, metav1.PatchOptions{})
	}
	if err == nil {
		var status []byte
		if status, err = json.Marshal(object{"metadata": object{"uid": pod.UID}, "status": object{"conditions": []object{condition}}}); err == nil {
			_, err = api.Patch(ctx, pod.Name, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status")
		}
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		r.Logger.Warn("a pod could not be told of its notice; trying again", "pod", pod.Namespace+"/"+pod.Name, "error", err)
	}
	return err == nil
}
