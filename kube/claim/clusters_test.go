package claim

import (
	"testing"

	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
)

// TestOtherClustersPods: another cluster's door on the same pool leaves leases of pods alone that are not of its cluster.
func TestOtherClustersPods(t *testing.T) {
	w := newWorld(t, plan)
	pod := w.pod("online", "a", "500m")
	if s := w.schedule(pod); !s.IsSuccess() {
		t.Fatal(s)
	}
	// A second cluster, attached to the same pool, with no pods at all.
	other := NewBook(w.client, w.nodes, roles{}, nil, w.book.log)
	other.Guest("polder")
	other.InCluster("other")
	none := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	k := newKeeper(other, Cluster{Client: fake.NewClientset(), Pods: corelisters.NewPodLister(none), Events: events.NewFakeRecorder(10)})
	if err := k.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(k.over) > 0 {
		t.Errorf("the door of another cluster is about to end leases, of pods that it cannot see: %v", k.over)
	}
}
