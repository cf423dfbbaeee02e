package metrics

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/metrics/pkg/apis/metrics"
)

const (
	fresh    = 5 * time.Second  // an answer of a kubelet serves so long
	askLimit = 5 * time.Second  // for one kubelet
	askMost  = 16               // kubelets at once
	window   = 10 * time.Second // the kubelet looks at its containers so often, about
)

// Cluster is what a [Source] looks at.
type Cluster struct {
	Pods  corelisters.PodLister  // synced
	Nodes corelisters.NodeLister // synced
	// Summary asks a node's kubelet.
	Summary func(ctx context.Context, node string) (*stats.Summary, error)
}

// Kubelets asks kubelets through the API server, which knows where they are.
func Kubelets(client kubernetes.Interface) func(context.Context, string) (*stats.Summary, error) {
	return func(ctx context.Context, node string) (*stats.Summary, error) {
		data, err := client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("stats", "summary").DoRaw(ctx)
		if err != nil {
			return nil, err
		}
		s := &stats.Summary{}
		return s, json.Unmarshal(data, s)
	}
}

// Source says what is used. It has to be opened before it knows anything.
type Source struct {
	cluster atomic.Pointer[Cluster]
	now     func() time.Time

	mu    sync.Mutex // guards nodes
	nodes map[string]*answer
}

// answer is the last one of a kubelet. Its lock is held while the kubelet is asked: who comes meanwhile gets the same answer.
type answer struct {
	mu      sync.Mutex
	at      time.Time
	summary *stats.Summary // nil: it did not answer
}

// NewSource makes a source that is not open yet.
func NewSource() *Source { return &Source{now: time.Now, nodes: map[string]*answer{}} }

// Open says where to look.
func (s *Source) Open(c Cluster) { s.cluster.Store(&c) }

// ask asks one node's kubelet, or remembers what it has said just now; nil is no answer.
func (s *Source) ask(ctx context.Context, c *Cluster, node string) *stats.Summary {
	if n, err := c.Nodes.Get(node); err != nil || n.Status.DaemonEndpoints.KubeletEndpoint.Port == 0 {
		return nil // no kubelet has run there yet
	}
	s.mu.Lock()
	a := s.nodes[node]
	if a == nil {
		a = &answer{}
		s.nodes[node] = a
	}
	s.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.now().Sub(a.at) < fresh {
		return a.summary
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	summary, err := c.Summary(ctx, node)
	if err != nil {
		summary = nil
	}
	a.at, a.summary = s.now(), summary
	return summary
}

// askAll asks several nodes at once; those without an answer are not in what it returns. Nodes that are gone are forgotten.
func (s *Source) askAll(ctx context.Context, c *Cluster, nodes []string) map[string]*stats.Summary {
	out, mu, all := map[string]*stats.Summary{}, sync.Mutex{}, errgroup.Group{}
	all.SetLimit(askMost)
	for _, node := range nodes {
		all.Go(func() error {
			if summary := s.ask(ctx, c, node); summary != nil {
				mu.Lock()
				defer mu.Unlock()
				out[node] = summary
			}
			return nil
		})
	}
	_ = all.Wait() // none fails
	s.mu.Lock()
	defer s.mu.Unlock()
	for node := range s.nodes {
		if _, err := c.Nodes.Get(node); err != nil {
			delete(s.nodes, node)
		}
	}
	return out
}

// ofNodes is what nodes use, as far as they say.
func (s *Source) ofNodes(ctx context.Context, c *Cluster, nodes []*v1.Node) []metrics.NodeMetrics {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	said := s.askAll(ctx, c, names)
	var out []metrics.NodeMetrics
	for _, n := range nodes {
		summary := said[n.Name]
		if summary == nil {
			continue
		}
		cpu, memory := ofNode(summary.Node)
		if u, at, ok := usage(cpu, memory); ok {
			out = append(out, metrics.NodeMetrics{ObjectMeta: metaOf(n), Timestamp: at, Window: metav1.Duration{Duration: window}, Usage: u})
		}
	}
	return out
}

// ofNode is what all pods of a node use. A node of the pool may be a slice of its machine, and what the kubelet says of itself is
// about the machine.
func ofNode(n stats.NodeStats) (*stats.CPUStats, *stats.MemoryStats) {
	for _, c := range n.SystemContainers {
		if c.Name == stats.SystemContainerPods {
			return c.CPU, c.Memory
		}
	}
	return nil, nil
}

// ofPods is what pods use. One with a container of which nothing is known yet is left out: a part of a sum is worse than none.
func (s *Source) ofPods(ctx context.Context, c *Cluster, pods []*v1.Pod) []metrics.PodMetrics {
	var nodes []string
	known := map[string]bool{"": true}
	for _, p := range pods {
		if !known[p.Spec.NodeName] {
			known[p.Spec.NodeName] = true
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	byUID := map[types.UID]stats.PodStats{}
	for _, summary := range s.askAll(ctx, c, nodes) {
		for _, p := range summary.Pods {
			byUID[types.UID(p.PodRef.UID)] = p
		}
	}
	var out []metrics.PodMetrics
	for _, p := range pods {
		if m, ok := ofPod(p, byUID[p.UID]); ok {
			out = append(out, m)
		}
	}
	return out
}

func ofPod(p *v1.Pod, said stats.PodStats) (metrics.PodMetrics, bool) {
	m := metrics.PodMetrics{ObjectMeta: metaOf(p), Window: metav1.Duration{Duration: window}}
	for _, c := range said.Containers {
		u, at, ok := usage(c.CPU, c.Memory)
		if !ok {
			return m, false
		}
		if m.Timestamp.IsZero() || at.Before(&m.Timestamp) {
			m.Timestamp = at
		}
		m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: c.Name, Usage: u})
	}
	return m, len(m.Containers) > 0
}

// usage is one line of a summary. It is not ok while the kubelet has looked only once.
func usage(cpu *stats.CPUStats, memory *stats.MemoryStats) (v1.ResourceList, metav1.Time, bool) {
	if cpu == nil || cpu.UsageNanoCores == nil || memory == nil || memory.WorkingSetBytes == nil {
		return nil, metav1.Time{}, false
	}
	return v1.ResourceList{
		v1.ResourceCPU:    *resource.NewScaledQuantity(int64(*cpu.UsageNanoCores), resource.Nano),
		v1.ResourceMemory: *resource.NewQuantity(int64(*memory.WorkingSetBytes), resource.BinarySI),
	}, cpu.Time, true
}

// metaOf is what the line of an object says of it.
func metaOf(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), Labels: o.GetLabels(), CreationTimestamp: metav1.Now()}
}
