package mirror

import (
	"context"
	"log/slog"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"polder.dev/polder/kube/pool"
)

const (
	settle    = 250 * time.Millisecond // changes of so long are one
	again     = 10 * time.Second       // without any change
	callLimit = 10 * time.Second
	// awakeFor is how old a kubelet's sign of life may be: it gives one every ten seconds.
	awakeFor = 40 * time.Second
)

// Run keeps the Nodes true until ctx is done.
func Run(ctx context.Context, client kubernetes.Interface, nodes *pool.Nodes, log *slog.Logger) {
	m := &mirror{client: client, nodes: nodes, now: time.Now}
	changed := nodes.Changed()
	select {
	case <-nodes.Ready():
	case <-ctx.Done():
		return
	}
	for {
		if err := m.pass(ctx); err != nil && ctx.Err() == nil {
			log.Warn("the Nodes of Kubernetes could not be brought up to date", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(again):
		}
		select { // several changes at once are usual
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
	}
}

type mirror struct {
	client kubernetes.Interface
	nodes  *pool.Nodes
	now    func() time.Time
}

// pass compares all nodes once.
func (m *mirror) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	list, err := m.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	have := map[string]*v1.Node{}
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	awake, err := m.awake(ctx)
	if err != nil {
		return err
	}
	for _, n := range m.nodes.All() {
		node := have[objectName(n.Name)]
		delete(have, objectName(n.Name))
		if err := m.one(ctx, n, node, awake[objectName(n.Name)]); err != nil && !apierrors.IsConflict(err) { // a conflict is tried at the next pass
			return err
		}
	}
	for name, node := range have {
		if node.Labels[PoolNodeLabel] == "" {
			continue // somebody else's
		}
		if err := m.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// objectName is the name of a node's object. Names of nodes that are none in Kubernetes are not shown.
func objectName(node string) string { return strings.ToLower(node) }

// one brings one node up to date; have is nil when it is new.
func (m *mirror) one(ctx context.Context, n pool.Node, have *v1.Node, awake bool) error {
	api := m.client.CoreV1().Nodes()
	if have == nil {
		created, err := api.Create(ctx, desired(n), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		have = created
	}
	next := have.DeepCopy()
	var err error
	if describe(next, n, awake) {
		if next, err = api.Update(ctx, next, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	if m.report(next, n, awake) {
		_, err = api.UpdateStatus(ctx, next, metav1.UpdateOptions{})
	}
	return err
}

// awake are the nodes whose kubelets run.
func (m *mirror) awake(ctx context.Context) (map[string]bool, error) {
	leases, err := m.client.CoordinationV1().Leases(v1.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, l := range leases.Items {
		renewed := l.Spec.RenewTime
		out[l.Name] = renewed != nil && m.now().Sub(renewed.Time) < awakeFor
	}
	return out, nil
}
