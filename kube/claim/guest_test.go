package claim

import (
	"strings"
	"testing"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	polderv1 "polder.dev/polder/api/polder/v1"
	polder "polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
)

// foreign is a pod that the stock scheduler has bound.
func (w *world) foreign(namespace, name, cpu, node string) *v1.Pod {
	pod := w.pod(namespace, name, cpu).DeepCopy()
	pod.Spec.NodeName, pod.Spec.SchedulerName, pod.Status.Phase = node, "default-scheduler", v1.PodRunning
	w.change(pod)
	return pod
}

func (w *world) lives(pod *v1.Pod) {
	w.t.Helper()
	got, err := w.kube.CoreV1().Pods(pod.Namespace).Get(w.t.Context(), pod.Name, metav1.GetOptions{})
	if err != nil || len(got.Annotations) != len(pod.Annotations) || got.DeletionTimestamp != nil {
		w.t.Errorf("the pod was touched: %v, %v", got, err)
	}
}

// TestOthersPodsAreCounted: they have leases that stay with them, and are not touched, also when the lease is ended.
func TestOthersPodsAreCounted(t *testing.T) {
	w := newWorld(t, plan)
	w.book.Guest("polder")
	pod := w.foreign("online", "a", "500m", "n1")
	w.look()
	e, _ := w.book.Get(pod.UID)
	if !e.Held() {
		t.Fatalf("no lease: %+v", e)
	}
	w.look()
	if e, _ = w.book.Get(pod.UID); !e.Stays {
		t.Errorf("the lease may be asked back: %+v", e)
	}
	if task := w.tasks()[0]; task.Labels[StaysLabel] != "true" || task.Funding != "online" {
		t.Errorf("the lease: %v", task)
	}
	if _, err := w.client.Tasks.Kill(t.Context(), connect.NewRequest(&polderv1.KillRequest{Ids: []string{e.Task}, Force: true})); err != nil {
		t.Fatal(err)
	}
	w.await("the end of the lease", func() bool { return len(w.tasks()) == 0 })
	clear(w.book.entries)
	clear(w.keeper.counted)
	w.look()
	if len(w.tasks()) != 1 {
		t.Errorf("it is not counted again: %v", w.tasks())
	}
	w.lives(pod)
}

// TestOthersPodWithoutRoomStays: it waits in the pool for a lease where it is.
func TestOthersPodWithoutRoomStays(t *testing.T) {
	w := newWorld(t, plan)
	w.book.Guest("polder")
	first, second := w.foreign("online", "a", "600m", "n1"), w.foreign("online", "b", "600m", "n1")
	w.look()
	w.look()
	var waits []Entry
	for _, pod := range []*v1.Pod{first, second} {
		if e, _ := w.book.Get(pod.UID); e.Ask != "" {
			waits = append(waits, e)
		}
		w.lives(pod)
	}
	if len(waits) != 1 || waits[0].Refusal == "" {
		t.Fatalf("waiting: %+v", waits)
	}
	res, err := w.client.Asks.Get(t.Context(), connect.NewRequest(&polderv1.AskServiceGetRequest{Id: waits[0].Ask}))
	if err != nil || strings.Join(res.Msg.Spec.Task.Constraints, " ") != "node in (n1)" {
		t.Errorf("the ask: %v, %v", res, err)
	}
}

// TestNodesWithoutAgent: nothing is placed there, and what is there is nobody's business.
func TestNodesWithoutAgent(t *testing.T) {
	w := newWorld(t, plan)
	w.book.Guest("polder")
	other, ours := w.foreign("online", "a", "100m", "n2"), w.foreign("online", "b", "100m", "n2")
	ours.Spec.SchedulerName, ours.Annotations = "polder", map[string]string{TaskAnnotation: "b-1.0"} // of an agent that is gone
	w.change(ours)
	w.look()
	w.lives(other)
	w.lives(ours)
	if len(w.tasks())+len(w.book.entries) > 0 {
		t.Errorf("tasks %v, entries %v", w.tasks(), w.book.entries)
	}
}

// TestAgentThatIsDown ends no pods: their kubelet may be well.
func TestAgentThatIsDown(t *testing.T) {
	w := newWorld(t, plan)
	w.book.Guest("polder")
	w.stopAgent()
	w.await("the loss of the agent", func() bool { n, ok := w.nodes.Get("n1"); return ok && n.State == pool.Unreachable })
	other, ours := w.foreign("online", "a", "100m", "n1"), w.foreign("online", "b", "100m", "n1")
	ours.Spec.SchedulerName, ours.Annotations = "polder", map[string]string{TaskAnnotation: "b-1.0"} // of a lease that counts as lost
	w.change(ours)
	w.look()
	w.lives(other)
	w.lives(ours)
	if len(w.tasks())+len(w.book.entries) > 0 {
		t.Errorf("tasks %v, entries %v", w.tasks(), w.book.entries)
	}
}

// TestOurPodsGoWithTheirLeases in a cluster of somebody else's, too.
func TestOurPodsGoWithTheirLeases(t *testing.T) {
	w := newWorld(t, plan)
	w.book.Guest("polder")
	pod := w.foreign("online", "a", "100m", "n1")
	pod.Spec.SchedulerName, pod.Annotations = "polder", map[string]string{TaskAnnotation: "a-1.0"}
	w.change(pod)
	w.look()
	if _, err := w.kube.CoreV1().Pods("online").Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("its lease is over: %v", err)
	}
}

// TestWhoseAPodIs in a cluster of somebody else's.
func TestWhoseAPodIs(t *testing.T) {
	controller := true
	daemon := []metav1.OwnerReference{{Kind: "DaemonSet", Name: "d", Controller: &controller}}
	for _, c := range []struct {
		name        string
		scheduler   string
		annotations map[string]string
		owners      []metav1.OwnerReference
		ours        bool
		static      string
	}{
		{name: "of our scheduler", scheduler: "polder", ours: true},
		{name: "of the stock one", scheduler: "default-scheduler"},
		{name: "given to the pool", scheduler: "default-scheduler", annotations: map[string]string{PreemptibleAnnotation: "true"}, ours: true},
		{name: "a daemon's", scheduler: "polder", owners: daemon},
		{name: "a daemon's, given", annotations: map[string]string{PreemptibleAnnotation: "true"}, owners: daemon},
		{name: "static", annotations: map[string]string{mirrorAnnotation: "h", hashAnnotation: "h", PreemptibleAnnotation: "true"}, static: "h"},
	} {
		b := &Book{guest: "polder", roles: roles{"online": "online"}}
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "online", Name: "a", Annotations: c.annotations, OwnerReferences: c.owners}, Spec: v1.PodSpec{SchedulerName: c.scheduler}}
		b.defaults = polder.Resources{"cpu": 50}
		r, err := b.request(pod)
		if err != nil {
			t.Fatal(err)
		}
		if stays := r.task.Labels[StaysLabel] == "true"; b.owns(pod) != c.ours || stays == c.ours || r.task.Labels[StaticLabel] != c.static {
			t.Errorf("%s: ours %v, labels %v", c.name, b.owns(pod), r.task.Labels)
		}
	}
}
