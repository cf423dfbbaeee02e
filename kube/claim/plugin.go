package claim

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"

	"polder.dev/polder/kube/pool"
)

// Name is the plugin's in the scheduler's configuration.
const Name = "Polder"

// mostNames is how many nodes a constraint can name; a pod that more nodes would take may go to any.
const mostNames = 64

// Plugin is the scheduler's side of a [Book].
type Plugin struct {
	book   *Book
	client kubernetes.Interface
}

// Factory makes the plugin, for the scheduler to call.
func Factory(b *Book) func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	return func(_ context.Context, _ runtime.Object, h fwk.Handle) (fwk.Plugin, error) {
		return &Plugin{book: b, client: h.ClientSet()}, nil
	}
}

// Name is the plugin's name.
func (p *Plugin) Name() string { return Name }

// EventsToRegister says what may help a pod that was refused here. What the pool does is told by [Book.Run].
func (p *Plugin) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeTaint | fwk.UpdateNodeLabel}}}, nil
}

// refused is a verdict that other nodes, and victims, change nothing about.
func refused(format string, args ...any) *fwk.Status {
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf(format, args...))
}

// PreFilter finds out what the pod needs of the pool, and sends a pod with a lease to where the lease is.
func (p *Plugin) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	r, err := p.book.request(pod)
	if err != nil {
		return nil, refused("%v", err)
	}
	state.Write(Name, r)
	e, _ := p.book.Get(pod.UID)
	r.lease = e
	switch {
	case e.Held():
		return &fwk.PreFilterResult{NodeNames: sets.New(e.Node)}, nil
	case e.Ask != "":
		return nil, refused("%s", e.waiting())
	}
	return nil, nil
}

// PreFilterExtensions are none: what other pods of Kubernetes do is in the pool's picture.
func (p *Plugin) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

func requestIn(state fwk.CycleState) (*request, *fwk.Status) {
	data, err := state.Read(Name)
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	return data.(*request), nil
}

// SignPod says what of a pod this plugin looks at, so that the scheduler may use what it found for the pod before. What the pool knows
// of the pod already is looked at as well.
func (p *Plugin) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if _, known := p.book.Get(pod.UID); known {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the pool knows the pod")
	}
	r, err := p.book.request(pod)
	if err != nil {
		return nil, refused("%v", err)
	}
	return []fwk.SignFragment{{Key: Name, Value: r.need}}, nil
}

// Filter lets nodes pass that have room in the pool's picture.
func (p *Plugin) Filter(_ context.Context, state fwk.CycleState, pod *v1.Pod, info fwk.NodeInfo) *fwk.Status {
	r, bad := requestIn(state)
	if bad != nil {
		return bad
	}
	name := info.Node().Name
	if r.lease.Held() && r.lease.Node == name {
		return nil
	}
	n, ok := p.book.nodes.Get(name)
	switch {
	case !ok && p.book.guest != "":
		return refused("no agent of the pool runs pods there")
	case !ok:
		return refused("no node of the pool")
	case n.State != pool.Ready:
		return refused("%s in the pool", n.State)
	}
	if kind := p.book.lacks(n, r); kind != "" {
		return refused("too little %s free in the pool", kind)
	}
	return nil
}

// PostFilter makes a pod an ask that has no room on the nodes that are otherwise fine. A lease that the pod cannot use, because
// its node has become unfit, is given back.
func (p *Plugin) PostFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, why fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	no := func(text string) (*fwk.PostFilterResult, *fwk.Status) {
		return nil, fwk.NewStatus(fwk.Unschedulable, text)
	}
	e, _ := p.book.Get(pod.UID)
	r, bad := requestIn(state)
	switch {
	case bad != nil || e.Ask != "":
		return no("")
	case e.Held() && time.Since(e.Since) < lastSeconds && full(why.Get(e.Node)):
		return no("it has a lease on node " + e.Node + ", where Kubernetes still counts a pod that has ended")
	case e.Held():
		p.book.release(ctx, pod.UID)
		return no("its lease on node " + e.Node + " was given back: the node does not take the pod any more")
	}
	nodes, some := p.candidates(why)
	if !some {
		return no("")
	}
	text, err := p.wait(ctx, pod, r, nodes)
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	return no(text)
}

// wait makes a pod an ask, with the volumes that it has so far.
func (p *Plugin) wait(ctx context.Context, pod *v1.Pod, r *request, nodes string) (string, error) {
	err := p.book.mount(ctx, pod, r)
	if err != nil {
		return "", fmt.Errorf("the pod's volumes: %w", err)
	}
	text, err := p.book.wait(ctx, entryOf(pod, r), r, nodes)
	if err != nil {
		return "", fmt.Errorf("asking the pool: %w", err)
	}
	return text, nil
}

// candidates is a constraint on the nodes that only want of room refuses, by the pool's picture or by Kubernetes' own, which pods that are
// on their way out fill; empty is all nodes. some is false when there is no such node.
func (p *Plugin) candidates(why fwk.NodeToStatusReader) (constraint string, some bool) {
	all := p.book.nodes.All()
	var fit []string
	for _, n := range all {
		if s := why.Get(n.Name); s != nil && (s.Plugin() == Name || full(s)) {
			fit = append(fit, n.Name)
		}
	}
	switch {
	case len(fit) == 0:
		return "", false
	case len(fit) == len(all) || len(fit) > mostNames:
		return "", true
	}
	return "node in (" + strings.Join(fit, ",") + ")", true
}

// full reports whether Kubernetes refuses a node for the pods that are on it.
func full(s *fwk.Status) bool {
	return s != nil && s.Plugin() == names.NodeResourcesFit && s.Code() == fwk.Unschedulable
}

func entryOf(pod *v1.Pod, r *request) Entry {
	return Entry{UID: pod.UID, Pod: pod.Namespace + "/" + pod.Name, Role: r.role}
}

// Reserve pencils the place in: the pods after this one look past it.
func (p *Plugin) Reserve(_ context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	r, bad := requestIn(state)
	if bad != nil {
		return bad
	}
	if !r.lease.Held() || r.lease.Node != node {
		p.book.reserve(pod.UID, node, r.need)
	}
	return nil
}

// Bind claims the place, beside the scheduler's next pods, and binds the pod to the lease. The first claim wins: a pod that is refused
// waits for the pool.
func (p *Plugin) Bind(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	r, bad := requestIn(state)
	if bad != nil {
		return bad
	}
	if err := p.book.mount(ctx, pod, r); err != nil {
		return fwk.AsStatus(fmt.Errorf("the pod's volumes: %w", err))
	}
	e, _ := p.book.Get(pod.UID)
	if e.Held() && e.Volumes < len(r.task.Mounts) {
		return p.again(ctx, pod, r)
	}
	if !e.Held() || e.Node != node {
		refusal, err := p.book.take(ctx, entryOf(pod, r), r, node)
		switch {
		case err != nil:
			return fwk.AsStatus(fmt.Errorf("claiming a place in the pool: %w", err))
		case refusal != "":
			return fwk.NewStatus(fwk.Unschedulable, "the pool refuses: "+refusal)
		}
		e, _ = p.book.Get(pod.UID)
	}
	binding := &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Annotations: annotations(e.Task, e.Role, e.Funding)},
		Target:     v1.ObjectReference{Kind: "Node", Name: node},
	}
	return fwk.AsStatus(p.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}))
}

// again gives a lease back that the pool granted before the pod's volumes were made, and asks for one that names them.
func (p *Plugin) again(ctx context.Context, pod *v1.Pod, r *request) *fwk.Status {
	p.book.release(ctx, pod.UID)
	text, err := p.wait(ctx, pod, r, "")
	if err != nil {
		return fwk.AsStatus(err)
	}
	return fwk.NewStatus(fwk.Unschedulable, "its volumes were made after it got a lease: "+text)
}

// Unreserve gives the place back when the pod is not bound after all.
func (p *Plugin) Unreserve(ctx context.Context, _ fwk.CycleState, pod *v1.Pod, node string) {
	if e, _ := p.book.Get(pod.UID); e.Held() && e.Node == node {
		p.book.release(ctx, pod.UID)
		return
	}
	p.book.rub(pod.UID, node)
}

// Activator has the scheduler try waiting pods again.
type Activator interface {
	Activate(logger klog.Logger, pods map[string]*v1.Pod)
}
