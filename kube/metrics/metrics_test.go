package metrics

import (
	"context"
	"errors"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/metrics/pkg/apis/metrics"
)

// world has two nodes; the kubelet of the second has never run. It counts what the first is asked.
type world struct {
	t     *testing.T
	s     *Source
	now   time.Time
	said  *stats.Summary // nil: it does not answer
	asked int
	nodes nodeStorage
	pods  podStorage
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s: NewSource(), now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)}
	w.s.now = func() time.Time { return w.now }
	w.nodes, w.pods = nodeStorage{rest.NewDefaultTableConvertor(metrics.Resource("nodes")), w.s}, podStorage{rest.NewDefaultTableConvertor(metrics.Resource("pods")), w.s}
	nodes, pods := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil), cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	awake := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}}
	awake.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
	_ = nodes.Add(awake)
	_ = nodes.Add(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	for _, name := range []string{"web", "db", "young", "waits"} {
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": name}}, Spec: v1.PodSpec{NodeName: "n1"}}
		if name == "waits" {
			p.Spec.NodeName = ""
		}
		_ = pods.Add(p)
	}
	w.s.Open(Cluster{Pods: corelisters.NewPodLister(pods), Nodes: corelisters.NewNodeLister(nodes), Summary: func(_ context.Context, node string) (*stats.Summary, error) {
		if node != "n1" {
			t.Errorf("%s was asked, where no kubelet has run", node)
		}
		if w.asked++; w.said == nil {
			return nil, errors.New("connection refused")
		}
		return w.said, nil
	}})
	at := metav1.NewTime(w.now)
	cpu := func(nano uint64) *stats.CPUStats { return &stats.CPUStats{Time: at, UsageNanoCores: &nano} }
	memory := func(bytes uint64) *stats.MemoryStats { return &stats.MemoryStats{Time: at, WorkingSetBytes: &bytes} }
	w.said = &stats.Summary{
		Node: stats.NodeStats{CPU: cpu(2e9), Memory: memory(9 << 30), SystemContainers: []stats.ContainerStats{{Name: stats.SystemContainerPods, CPU: cpu(75e6), Memory: memory(3 << 20)}}},
		Pods: []stats.PodStats{
			{PodRef: stats.PodReference{UID: "web"}, Containers: []stats.ContainerStats{{Name: "main", CPU: cpu(50e6), Memory: memory(1 << 20)}, {Name: "side", CPU: cpu(0), Memory: memory(0)}}},
			{PodRef: stats.PodReference{UID: "db"}, Containers: []stats.ContainerStats{{Name: "main", CPU: cpu(25e6), Memory: memory(2 << 20)}}},
			{PodRef: stats.PodReference{UID: "young"}, Containers: []stats.ContainerStats{{Name: "main", CPU: &stats.CPUStats{Time: at}, Memory: memory(1)}}},
		},
	}
	return w
}

func (w *world) listPods(o *internalversion.ListOptions) []metrics.PodMetrics {
	w.t.Helper()
	list, err := w.pods.List(request.WithNamespace(w.t.Context(), "shop"), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return list.(*metrics.PodMetricsList).Items
}

// TestPods: each container by itself; a pod that has not been looked at twice is left out, as is one that waits.
func TestPods(t *testing.T) {
	w := newWorld(t)
	if all := w.listPods(nil); len(all) != 2 {
		t.Errorf("got %+v", all)
	}
	got := w.listPods(&internalversion.ListOptions{LabelSelector: labels.SelectorFromSet(labels.Set{"app": "web"})})
	if len(got) != 1 || got[0].Name != "web" || len(got[0].Containers) != 2 || got[0].Containers[0].Usage.Cpu().String() != "50m" || got[0].Containers[0].Usage.Memory().String() != "1Mi" || got[0].Labels["app"] != "web" {
		t.Errorf("by label: %+v", got)
	}
	if got := w.listPods(&internalversion.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", "db")}); len(got) != 1 || got[0].Name != "db" {
		t.Errorf("by name: %+v", got)
	}
	if w.asked != 1 {
		t.Errorf("the kubelet was asked %d times within %v", w.asked, fresh)
	}
	w.now = w.now.Add(fresh)
	if w.listPods(nil); w.asked != 2 {
		t.Errorf("what is old is not asked for again: %d", w.asked)
	}
	ctx := request.WithNamespace(t.Context(), "shop")
	if o, err := w.pods.Get(ctx, "db", nil); err != nil || o.(*metrics.PodMetrics).Name != "db" {
		t.Errorf("%v, %v", o, err)
	}
	for _, name := range []string{"young", "waits", "nobody"} {
		if _, err := w.pods.Get(ctx, name, nil); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNodes: a node uses what its pods use, whatever its machine does.
func TestNodes(t *testing.T) {
	w := newWorld(t)
	list, err := w.nodes.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := list.(*metrics.NodeMetricsList).Items
	if len(got) != 1 || got[0].Name != "n1" || got[0].Usage.Cpu().String() != "75m" || got[0].Usage.Memory().String() != "3Mi" || got[0].Labels["zone"] != "a" {
		t.Errorf("%+v", got)
	}
	if o, err := w.nodes.Get(t.Context(), "n1", nil); err != nil || o.(*metrics.NodeMetrics).Name != "n1" {
		t.Errorf("%v, %v", o, err)
	}
	for _, name := range []string{"n2", "n3"} {
		if _, err := w.nodes.Get(t.Context(), name, nil); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKubeletDoesNotAnswer: nothing is known, and it is not asked again at once.
func TestKubeletDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	w.said = nil
	for range 3 {
		if got := w.listPods(nil); len(got) > 0 {
			t.Errorf("%+v", got)
		}
	}
	if w.asked != 1 {
		t.Errorf("asked %d times", w.asked)
	}
}

// TestNotOpenYet: who asks too early is to try again.
func TestNotOpenYet(t *testing.T) {
	if _, err := (podStorage{source: NewSource()}).List(t.Context(), nil); !apierrors.IsServiceUnavailable(err) {
		t.Error(err)
	}
}
