package claim

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubetesting "k8s.io/client-go/testing"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/pool"
)

// reserved takes a pod as far as Reserve.
func (w *world) reserved(pod *v1.Pod) (*Plugin, fwk.CycleState) {
	w.t.Helper()
	p, state, info := &Plugin{book: w.book, client: w.kube}, framework.NewCycleState(), framework.NewNodeInfo()
	info.SetNode(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	_, s := p.PreFilter(w.t.Context(), state, pod, nil)
	if s.IsSuccess() {
		s = p.Filter(w.t.Context(), state, pod, info)
	}
	if s.IsSuccess() {
		s = p.Reserve(w.t.Context(), state, pod, "n1")
	}
	if !s.IsSuccess() {
		w.t.Fatal(s)
	}
	return p, state
}

// TestClaimLostAfterReserve: somebody else takes the place between Reserve and Bind. The pod is not bound, waits in the pool, and nothing
// of it stays on the node.
func TestClaimLostAfterReserve(t *testing.T) {
	w := newWorld(t, plan)
	late, early := w.pod("online", "late", "700m"), w.pod("offline", "early", "900m")
	p, state := w.reserved(late)
	other := NewBook(w.client, w.nodes, w.book.roles, nil, w.book.log) // of another scheduler, which sees no pencil of ours
	r, err := requestOf(early, other.roles, nil)
	if err != nil {
		t.Fatal(err)
	}
	if refusal, err := other.take(t.Context(), entryOf(early, r), r, "n1"); err != nil || refusal != "" {
		t.Fatal(refusal, err)
	}
	s := p.Bind(t.Context(), state, late, "n1")
	if s.Code() != fwk.Unschedulable || !strings.Contains(s.Message(), "the pool refuses: ") {
		t.Fatalf("binding: %v", s)
	}
	p.Unreserve(t.Context(), state, late, "n1")
	if e, _ := w.book.Get(late.UID); e.Held() || e.Ask == "" {
		t.Errorf("the pod does not wait: %+v", e)
	}
	if len(w.bound) > 0 || len(w.book.pencils) > 0 {
		t.Errorf("bound %v, pencilled %v", w.bound, w.book.pencils)
	}
}

// TestAgentLostMidBind: the node's agent goes between Reserve and Bind. The pod is not bound, and nothing of it stays on the node.
func TestAgentLostMidBind(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "700m")
	p, state := w.reserved(pod)
	w.stopAgent()
	w.await("the loss of the agent", func() bool { n, ok := w.nodes.Get("n1"); return ok && n.State == pool.Unreachable })
	s := p.Bind(t.Context(), state, pod, "n1")
	if s.IsSuccess() || !strings.Contains(s.Message(), "the pool refuses: ") {
		t.Fatalf("binding: %v", s)
	}
	p.Unreserve(t.Context(), state, pod, "n1")
	if e, _ := w.book.Get(pod.UID); e.Held() || len(w.bound)+len(w.tasks())+len(w.book.pencils) > 0 {
		t.Errorf("entry %+v, bound %v, tasks %v, pencils %v", e, w.bound, w.tasks(), w.book.pencils)
	}
}

// TestBindingFails: the API server does not bind the pod; its lease is given back.
func TestBindingFails(t *testing.T) {
	w := newWorld(t, plan)
	w.kube.PrependReactor("create", "pods", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is away")
	})
	pod := w.pod("online", "a", "500m")
	if s := w.schedule(pod); s.IsSuccess() {
		t.Fatal("bound")
	}
	if e, ok := w.book.Get(pod.UID); ok {
		t.Errorf("the book has %+v", e)
	}
	w.await("the end of the lease", func() bool { return len(w.tasks()) == 0 })
}

// TestPodsThatNeverFit: five hundred of them leave nothing in the pool, and nothing in the book when they are gone.
func TestPodsThatNeverFit(t *testing.T) {
	w := newWorld(t, plan)
	var pods []*v1.Pod
	for i := range 500 {
		pod := w.pod("online", fmt.Sprintf("big%03d", i), "5")
		if s := w.schedule(pod); s.IsSuccess() || !strings.Contains(s.Message(), "can never start") {
			t.Fatal(s)
		}
		pods = append(pods, pod)
	}
	for _, pod := range pods {
		_ = w.pods.Delete(pod)
	}
	w.look()
	if len(w.book.entries) > 0 || len(w.tasks()) > 0 {
		t.Errorf("the book has %d pods, the pool %d tasks", len(w.book.entries), len(w.tasks()))
	}
}

// TestAnswerIsLost: the pool grants a claim, and an ask, of which the door does not hear, so that it claims again. One lease stays: the one
// that is known, or that the pod was bound to.
func TestAnswerIsLost(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "200m")
	forget := func() { w.book.mu.Lock(); clear(w.book.entries); w.book.mu.Unlock() }
	for range 2 {
		forget()
		if s := w.schedule(pod); !s.IsSuccess() {
			t.Fatal(s)
		}
	}
	known, _ := w.book.Get(pod.UID)
	for range 2 {
		r, err := requestOf(pod, w.book.roles, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.book.wait(t.Context(), Entry{UID: "other"}, r, "node==nowhere"); err != nil {
			t.Fatal(err)
		}
	}
	w.look()
	w.await("the end of the rest", func() bool {
		all := w.tasks()
		return len(all) == 1 && all[0].Id == known.Task
	})
	// The same for one that is bound, by a door that knows nothing.
	forget()
	pod = pod.DeepCopy()
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatal(s)
	}
	pod.Spec.NodeName, pod.Annotations = "n1", map[string]string{TaskAnnotation: known.Task}
	w.change(pod)
	forget()
	w.look()
	w.await("the end of the second", func() bool {
		all := w.tasks()
		return len(all) == 1 && all[0].Id == known.Task
	})
}

// TestGivenBackIsNotHeld: what the pool still shows of a lease that was given back is not the pod's any more, so that the pod is not bound to
// what is about to end.
func TestGivenBackIsNotHeld(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "200m")
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatal(s)
	}
	w.stopAgent() // nobody ends it
	w.book.release(t.Context(), pod.UID)
	for _, picture := range []string{"that says it stops", "from before"} {
		w.look()
		if e, ok := w.book.Get(pod.UID); ok {
			t.Errorf("in a picture %s the pod has %+v", picture, e)
		}
		for _, task := range w.tasks() {
			task.State = polderv1.TaskState_TASK_STATE_RUNNING
			v := view{pods: map[types.UID]*v1.Pod{pod.UID: pod}, tasks: map[types.UID]*polderv1.Task{}}
			w.keeper.lease(&v, pod.UID, []*polderv1.Task{task})
			if len(v.tasks)+len(v.spareTasks) > 0 {
				t.Errorf("in a picture %s it is a lease: %v", picture, v)
			}
		}
	}
}
