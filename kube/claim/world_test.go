package claim

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	kubetesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	polderv1 "polder.dev/polder/api/polder/v1"
	polder "polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/server/servertest"
)

// roles are what the tests' namespaces belong to.
type roles map[string]string

func (r roles) RoleOf(namespace string) (string, error) {
	if role := r[namespace]; role != "" {
		return role, nil
	}
	return "", errors.New("no role pays for namespace " + namespace)
}

// world is a server with one node that an agent of the test's own speaks for, a book, and a Kubernetes of objects only.
type world struct {
	t      *testing.T
	client *pool.Client
	nodes  *pool.Nodes
	book   *Book
	kube   *fake.Clientset
	pods   cache.Indexer
	keeper *keeper
	queue  queue
	bound  []*v1.Binding

	stopAgent func()
}

// queue notes whom the scheduler is to try again.
type queue map[string]bool

func (q queue) Activate(_ klog.Logger, pods map[string]*v1.Pod) {
	for name := range pods {
		q[name] = true
	}
}

func newWorld(t *testing.T, plan string) *world {
	server := servertest.Start(t, nil)
	client := pool.NewClient(server.HTTP(t), "https://"+server.Addr, server.Admin)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w := &world{t: t, client: client, nodes: pool.WatchNodes(client, log), kube: fake.NewClientset(), queue: queue{}}
	if _, err := client.Plans.Apply(t.Context(), connect.NewRequest(&polderv1.ApplyRequest{Plan: plan, BaseRevision: 1})); err != nil {
		t.Fatal(err)
	}
	w.stopAgent = startAgent(t, client, server.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.nodes.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	w.await("the node", func() bool { n, ok := w.nodes.Get("n1"); return ok && n.State == pool.Ready })
	w.kube.PrependReactor("create", "pods", func(a kubetesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() == "binding" {
			w.bound = append(w.bound, a.(kubetesting.CreateAction).GetObject().(*v1.Binding))
		}
		return a.GetSubresource() == "binding", nil, nil
	})
	w.book = NewBook(client, w.nodes, roles{"online": "online", "offline": "offline"}, polder.Resources{}, log)
	w.pods = cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	w.keeper = newKeeper(w.book, Cluster{Client: w.kube, Pods: corelisters.NewPodLister(w.pods), Events: events.NewFakeRecorder(100), Queue: w.queue})
	w.keeper.retried = time.Now()
	return w
}

// await waits for what comes by itself.
func (w *world) await(what string, is func() bool) {
	w.t.Helper()
	for until := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatalf("%s did not come within a minute", what)
		}
	}
}

// pod makes a pod that Kubernetes knows.
func (w *world) pod(namespace, name, cpu string) *v1.Pod {
	w.t.Helper()
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("00000000-0000-4000-8000-" + (name + "000000000000")[:12])},
		Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{}}}}}}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests[v1.ResourceCPU] = resource.MustParse(cpu)
	}
	w.change(p)
	return p
}

// change puts a pod into both views of Kubernetes.
func (w *world) change(p *v1.Pod) {
	w.t.Helper()
	_ = w.pods.Add(p)
	if w.kube.Tracker().Add(p) != nil {
		if err := w.kube.Tracker().Update(v1.SchemeGroupVersion.WithResource("pods"), p, p.Namespace); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) look() {
	w.t.Helper()
	if err := w.keeper.look(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// tasks are the pods' leases as the pool has them.
func (w *world) tasks() []*polderv1.Task {
	w.t.Helper()
	res, err := w.client.Tasks.List(w.t.Context(), connect.NewRequest(&polderv1.TaskServiceListRequest{}))
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*polderv1.Task
	for _, t := range res.Msg.Tasks {
		if t.Node != "" {
			out = append(out, t)
		}
	}
	return out
}

// schedule is what the scheduler does with a pod, as far as this plugin is asked.
func (w *world) schedule(pod *v1.Pod) *fwk.Status {
	p := &Plugin{book: w.book, client: w.kube}
	ctx, state := w.t.Context(), framework.NewCycleState()
	statuses := framework.NewDefaultNodeToStatus()
	_, s := p.PreFilter(ctx, state, pod, nil)
	if s.IsSuccess() {
		info := framework.NewNodeInfo()
		info.SetNode(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		if s = p.Filter(ctx, state, pod, info); s.IsSuccess() {
			if s = p.Reserve(ctx, state, pod, "n1"); s.IsSuccess() {
				s = p.Bind(ctx, state, pod, "n1")
			}
			if !s.IsSuccess() {
				p.Unreserve(ctx, state, pod, "n1")
			}
			return s
		}
	}
	s.SetPlugin(Name)
	statuses.Set("n1", s)
	_, after := p.PostFilter(ctx, state, pod, statuses)
	return fwk.NewStatus(s.Code(), s.Message(), after.Message())
}
