package claim

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubetesting "k8s.io/client-go/testing"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

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
