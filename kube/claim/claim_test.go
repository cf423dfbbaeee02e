package claim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"

	polderv1 "polder.dev/polder/api/polder/v1"
	polder "polder.dev/polder/core/resource"
)

const plan = `
roles:
  online: {guarantee: {cpu: 800m}, lendGrace: 2s}
  offline: {reclaimGrace: 1s}
`

// TestPodIsClaimedBeforeItIsBound: Bind leases the place first and says so on the pod, Unreserve gives it back.
func TestPodIsClaimedBeforeItIsBound(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "500m")
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatal(s)
	}
	e, ok := w.book.Get(pod.UID)
	if !ok || !e.Held() || e.Node != "n1" || e.Role != "online" {
		t.Fatalf("book: %+v", e)
	}
	tasks := w.tasks()
	if len(tasks) != 1 || tasks[0].Id != e.Task || tasks[0].Labels[PodLabel] != "online/a" || tasks[0].Funding != "online" {
		t.Fatalf("the pool has %v", tasks)
	}
	if len(w.bound) != 1 || w.bound[0].Target.Name != "n1" || w.bound[0].Annotations[TaskAnnotation] != e.Task || w.bound[0].Annotations[FundingAnnotation] != "online" {
		t.Errorf("bound: %v", w.bound)
	}
	if by, ok := w.book.ByTask(e.Task); !ok || by.UID != pod.UID {
		t.Errorf("by its task: %+v", by)
	}
	(&Plugin{book: w.book}).Unreserve(t.Context(), nil, pod, "n1")
	w.await("the end of the lease", func() bool { return len(w.tasks()) == 0 })
}

// TestPencil: what is reserved is taken before the pool was asked, and after that until the picture of the nodes shows it.
func TestPencil(t *testing.T) {
	w := newWorld(t, plan)
	n, _ := w.nodes.Get("n1")
	short := &request{amounts: []amount{{"cpu", 500}}}
	w.book.reserve("u1", "n1", polder.Resources{"cpu": 600})
	w.book.reserve("u2", "n2", polder.Resources{"cpu": 600})
	if kind := w.book.lacks(n, short); kind != "cpu" {
		t.Errorf("beside what is reserved it lacks %q", kind)
	}
	w.book.settle("u1", "n1", n.Revision+1)
	if kind := w.book.lacks(n, short); kind != "cpu" {
		t.Errorf("beside what was granted it lacks %q", kind)
	}
	n.Revision++
	if kind := w.book.lacks(n, short); kind != "" {
		t.Errorf("in the picture that shows it, it lacks %q", kind)
	}
	w.book.rub("u2", "n2")
	if len(w.book.pencils["n2"]) != 0 {
		t.Errorf("kept %v", w.book.pencils)
	}
}

// TestSignature: pods that need the same are the same to the plugin, unless the pool knows one already.
func TestSignature(t *testing.T) {
	w := newWorld(t, plan)
	p := &Plugin{book: w.book, client: w.kube}
	sign := func(pod *v1.Pod) (string, bool) {
		f, s := p.SignPod(t.Context(), pod)
		return fmt.Sprint(f), s.IsSuccess()
	}
	a, b, c := w.pod("online", "a", "100m"), w.pod("online", "b", "100m"), w.pod("online", "c", "200m")
	first, ok := sign(a)
	second, _ := sign(b)
	third, _ := sign(c)
	if !ok || first != second || first == third {
		t.Errorf("signatures: %s, %s, %s", first, second, third)
	}
	w.schedule(a)
	if _, ok := sign(a); ok {
		t.Error("a pod with a lease is signed")
	}
	if _, ok := sign(w.pod("nowhere", "d", "1")); ok {
		t.Error("a pod without a role is signed")
	}
}

// TestPodThatFindsNoRoomWaitsInThePool: it becomes an ask, shows the pool's words, and goes where the pool grants its lease.
func TestPodThatFindsNoRoomWaitsInThePool(t *testing.T) {
	w := newWorld(t, plan)
	first, second := w.pod("offline", "a", "900m"), w.pod("online", "b", "500m")
	if s := w.schedule(first); !s.IsSuccess() {
		t.Fatal(s)
	}
	w.await("the lease in the picture", func() bool { n, _ := w.nodes.Get("n1"); return n.Available["cpu"] < 500 })
	s := w.schedule(second)
	if s.IsSuccess() || !strings.Contains(s.Message(), "too little cpu free in the pool") || !strings.Contains(s.Message(), "waits in the pool as b-") {
		t.Fatalf("the second: %v", s)
	}
	// It is inside its role's guarantee: who borrows is asked to leave, and its lease comes.
	w.await("the second's lease", func() bool { w.look(); e, _ := w.book.Get(second.UID); return e.Held() })
	if !w.queue["online/b"] {
		t.Error("the scheduler was not told")
	}
	if s := w.schedule(second); !s.IsSuccess() {
		t.Errorf("with a lease: %v", s)
	}
}

// TestRefusalIsThePoolsSentence: what can never run does not wait.
func TestRefusalIsThePoolsSentence(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "5")
	s := w.schedule(pod)
	if s.IsSuccess() || !strings.Contains(s.Message(), "the pool refuses: ") || !strings.Contains(s.Message(), "can never start") {
		t.Errorf("%v", s)
	}
	for _, c := range []struct{ namespace, cpu, annotation, value, want string }{
		{"nowhere", "1", "", "", "no role pays"}, {"online", "", "", "", "requests neither cpu nor memory"},
		{"online", "1", PreemptibleAnnotation, "maybe", "write true or false"}, {"online", "1", ReclaimGraceAnnotation, "soon", "write a time"},
	} {
		pod := w.pod(c.namespace, "x", c.cpu)
		pod.Annotations = map[string]string{c.annotation: c.value}
		if s := w.schedule(pod); s.IsSuccess() || !strings.Contains(s.Message(), c.want) {
			t.Errorf("%+v: %v", c, s)
		}
	}
}

// TestFullNodesAreCandidates: what Kubernetes still counts on a node goes; what it refuses a node for otherwise stays.
func TestFullNodesAreCandidates(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "700m")
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatal(s)
	}
	p, e := &Plugin{book: w.book}, Entry{}
	for _, c := range []struct {
		plugin string
		code   fwk.Code
		want   bool
	}{
		{names.NodeResourcesFit, fwk.Unschedulable, true}, {names.NodeResourcesFit, fwk.UnschedulableAndUnresolvable, false},
		{names.NodeAffinity, fwk.UnschedulableAndUnresolvable, false}, {Name, fwk.UnschedulableAndUnresolvable, true},
	} {
		statuses, s := framework.NewDefaultNodeToStatus(), fwk.NewStatus(c.code)
		s.SetPlugin(c.plugin)
		statuses.Set("n1", s)
		if _, some := p.candidates(statuses); some != c.want {
			t.Errorf("%s says %v: a candidate %v, want %v", c.plugin, c.code, some, c.want)
		}
		if c.plugin == names.NodeResourcesFit && c.want { // a pod with a lease waits for what has ended
			state := framework.NewCycleState()
			p.PreFilter(t.Context(), state, pod, nil)
			_, s := p.PostFilter(t.Context(), state, pod, statuses)
			if e, _ = w.book.Get(pod.UID); !e.Held() || !strings.Contains(s.Message(), "still counts a pod that has ended") {
				t.Errorf("the lease: %+v, %v", e, s)
			}
		}
	}
}

// TestBookIsRebuilt: a door that starts anew finds its leases and asks in the pool.
func TestBookIsRebuilt(t *testing.T) {
	w := newWorld(t, plan)
	held, waiting := w.pod("online", "a", "700m"), w.pod("offline", "b", "900m")
	if s := w.schedule(held); !s.IsSuccess() {
		t.Fatal(s)
	}
	w.await("the lease in the picture", func() bool { n, _ := w.nodes.Get("n1"); return n.Available["cpu"] < 500 })
	w.schedule(waiting)
	before, _ := w.book.Get(held.UID)
	clear(w.book.entries)
	w.look()
	if e, _ := w.book.Get(held.UID); e.Task != before.Task || e.Node != "n1" {
		t.Errorf("the lease: %+v", e)
	}
	if e, _ := w.book.Get(waiting.UID); e.Ask == "" || e.Refusal == "" {
		t.Errorf("the ask: %+v", e)
	}
}

// TestNothingLeaks: asks and leases of pods that are gone are given back.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t, plan)
	held, waiting := w.pod("online", "a", "700m"), w.pod("offline", "b", "900m")
	w.schedule(held)
	w.await("the lease in the picture", func() bool { n, _ := w.nodes.Get("n1"); return n.Available["cpu"] < 500 })
	w.schedule(waiting)
	_ = w.pods.Delete(held)
	_ = w.pods.Delete(waiting)
	w.look()
	w.keeper.over[held.UID] = time.Now().Add(-time.Hour) // it is over for long
	w.look()
	w.await("the end of both", func() bool {
		asks, err := w.client.Asks.List(t.Context(), connect.NewRequest(&polderv1.AskServiceListRequest{State: "open"}))
		return err == nil && len(asks.Msg.Asks) == 0 && len(w.tasks()) == 0
	})
}

// TestLeaseThatIsOverTakesItsPodAlong, and a pod that somebody else bound gets a lease.
func TestLeaseThatIsOverTakesItsPodAlong(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "300m").DeepCopy()
	pod.Spec.NodeName = "n1"
	w.change(pod)
	w.look() // nobody claimed it
	e, _ := w.book.Get(pod.UID)
	if !e.Held() || e.Node != "n1" {
		t.Fatalf("adopted: %+v", e)
	}
	w.look()
	got, err := w.kube.CoreV1().Pods("online").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || got.Annotations[TaskAnnotation] != e.Task || got.Annotations[RoleAnnotation] != "online" {
		t.Fatalf("annotations %v, %v", got.Annotations, err)
	}
	w.change(got)
	w.book.client.Tasks.Kill(t.Context(), connect.NewRequest(&polderv1.KillRequest{Ids: []string{e.Task}, Force: true}))
	w.await("the end of the lease", func() bool { return len(w.tasks()) == 0 })
	w.book.mu.Lock()
	e.Since = time.Now().Add(-time.Hour)
	w.book.entries[pod.UID] = e
	w.book.mu.Unlock()
	w.look()
	if _, err := w.kube.CoreV1().Pods("online").Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod whose lease is over: %v", err)
	}
}

// TestForeignPodThatThePoolRefusesGoes.
func TestForeignPodThatThePoolRefusesGoes(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "5").DeepCopy()
	pod.Spec.NodeName = "n1"
	w.change(pod)
	w.look()
	if _, err := w.kube.CoreV1().Pods("online").Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod: %v", err)
	}
	if e, ok := w.book.Get(pod.UID); ok {
		t.Errorf("the book: %+v", e)
	}
}

func TestIDName(t *testing.T) {
	for in, want := range map[string]string{"web-1": "web-1", "Web.x_y": "web-x-y", "---": "pod", strings.Repeat("a", 39) + "-bc": strings.Repeat("a", 39)} {
		if got := idName(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestPriority(t *testing.T) {
	for in, want := range map[int32]int32{0: 0, 7: 7, 2_000_000_000: maxPriority, -2_000_000_000: -maxPriority} {
		if got := priorityOf(&v1.Pod{Spec: v1.PodSpec{Priority: &in}}); got != want {
			t.Errorf("%d is %d, want %d", in, got, want)
		}
	}
}
