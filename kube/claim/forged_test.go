package claim

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestForgedDaemon: the owner of a pod that our scheduler has placed cannot have the door pass over its end by naming a daemon set.
func TestForgedDaemon(t *testing.T) {
	w := newWorld(t, plan)
	w.book.Guest("polder")
	pod := w.pod("online", "a", "500m").DeepCopy()
	pod.Spec.SchedulerName = "polder"
	w.change(pod)
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatal(s)
	}
	e, _ := w.book.Get(pod.UID)
	pod = pod.DeepCopy()
	pod.Spec.NodeName, pod.Status.Phase, pod.Annotations = "n1", v1.PodRunning, map[string]string{TaskAnnotation: e.Task}
	yes := true
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "DaemonSet", Name: "mine", UID: "x", Controller: &yes}}
	w.change(pod)
	task := w.tasks()[0]
	task.State = polderv1.TaskState_TASK_STATE_STOPPING
	w.keeper.tend(t.Context(), task, pod)
	if _, err := w.kube.CoreV1().Pods("online").Get(t.Context(), "a", metav1.GetOptions{}); err == nil {
		t.Error("the pool stops the pod's lease, and Kubernetes is not told")
	}
}
