package metrics

import (
	"context"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"
)

// lists is a resource that can be read, and nothing else.
type lists interface {
	rest.Storage
	rest.Scoper
	rest.Lister
	rest.Getter
	rest.SingularNameProvider
}

var _, _ lists = nodeStorage{}, podStorage{}

// nodeStorage serves NodeMetrics.
type nodeStorage struct {
	rest.TableConvertor
	source *Source
}

// podStorage serves PodMetrics.
type podStorage struct {
	rest.TableConvertor
	source *Source
}

func (nodeStorage) New() runtime.Object     { return &metrics.NodeMetrics{} }
func (nodeStorage) NewList() runtime.Object { return &metrics.NodeMetricsList{} }
func (nodeStorage) Destroy()                {}
func (nodeStorage) NamespaceScoped() bool   { return false }
func (nodeStorage) GetSingularName() string { return "node" }

func (podStorage) New() runtime.Object     { return &metrics.PodMetrics{} }
func (podStorage) NewList() runtime.Object { return &metrics.PodMetricsList{} }
func (podStorage) Destroy()                {}
func (podStorage) NamespaceScoped() bool   { return true }
func (podStorage) GetSingularName() string { return "pod" }

// opened is the source's cluster, or why there is none.
func (s *Source) opened() (*Cluster, error) {
	if c := s.cluster.Load(); c != nil {
		return c, nil
	}
	return nil, apierrors.NewServiceUnavailable("the nodes are not known yet; try again")
}

// List implements [rest.Lister].
func (n nodeStorage) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	c, err := n.source.opened()
	if err != nil {
		return nil, err
	}
	all, err := c.Nodes.List(labelsOf(o))
	if err != nil {
		return nil, err
	}
	return &metrics.NodeMetricsList{Items: n.source.ofNodes(ctx, c, selected(all, o))}, nil
}

// Get implements [rest.Getter].
func (n nodeStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	c, err := n.source.opened()
	if err != nil {
		return nil, err
	}
	node, err := c.Nodes.Get(name)
	if err != nil {
		return nil, absent("nodes", name, err)
	}
	if items := n.source.ofNodes(ctx, c, []*v1.Node{node}); len(items) > 0 {
		return &items[0], nil
	}
	return nil, apierrors.NewNotFound(metrics.Resource("nodes"), name)
}

// List implements [rest.Lister].
func (p podStorage) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	c, err := p.source.opened()
	if err != nil {
		return nil, err
	}
	all, err := c.Pods.Pods(request.NamespaceValue(ctx)).List(labelsOf(o))
	if err != nil {
		return nil, err
	}
	return &metrics.PodMetricsList{Items: p.source.ofPods(ctx, c, selected(all, o))}, nil
}

// Get implements [rest.Getter].
func (p podStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	c, err := p.source.opened()
	if err != nil {
		return nil, err
	}
	pod, err := c.Pods.Pods(request.NamespaceValue(ctx)).Get(name)
	if err != nil {
		return nil, absent("pods", name, err)
	}
	if items := p.source.ofPods(ctx, c, []*v1.Pod{pod}); len(items) > 0 {
		return &items[0], nil
	}
	return nil, apierrors.NewNotFound(metrics.Resource("pods"), name)
}

// absent says of a line what the lister says of its object.
func absent(what, name string, err error) error {
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(metrics.Resource(what), name)
	}
	return err
}

func labelsOf(o *internalversion.ListOptions) labels.Selector {
	if o == nil || o.LabelSelector == nil {
		return labels.Everything()
	}
	return o.LabelSelector
}

// selected are the objects that a selector of fields takes: name and namespace are all that can be said.
func selected[T metav1.Object](all []T, o *internalversion.ListOptions) []T {
	if o == nil || o.FieldSelector == nil || o.FieldSelector.Empty() {
		return all
	}
	var out []T
	for _, x := range all {
		if o.FieldSelector.Matches(fields.Set{"metadata.name": x.GetName(), "metadata.namespace": x.GetNamespace()}) {
			out = append(out, x)
		}
	}
	return out
}
