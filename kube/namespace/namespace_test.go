package namespace

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	polderv1 "polder.dev/polder/api/polder/v1"
	polder "polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/server/servertest"
)

const plan = `
roles:
  corp: {guarantee: {cpu: 4}, limit: {cpu: 6}}
  corp/search: {guarantee: {cpu: 2}, borrow: {cpu: 1}}
  default: {}
`

type world struct {
	*Map
	kube       *fake.Clientset
	namespaces cache.Indexer
	events     *events.FakeRecorder
}

func newWorld(t *testing.T) *world {
	server := servertest.Start(t, nil)
	client := pool.NewClient(server.HTTP(t), "https://"+server.Addr, server.Admin)
	if _, err := client.Plans.Apply(t.Context(), connect.NewRequest(&polderv1.ApplyRequest{Plan: plan, BaseRevision: 1})); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w := &world{kube: fake.NewClientset(), events: events.NewFakeRecorder(10), namespaces: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})}
	w.Map = New(client, pool.WatchNodes(client, log), w.kube, corelisters.NewNamespaceLister(w.namespaces), "default", w.events, log)
	return w
}

func (w *world) add(name, role string) {
	ns := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if role != "" {
		ns.Annotations = map[string]string{RoleAnnotation: role}
	}
	_ = w.namespaces.Add(ns)
}

// TestRoleOf: by annotation, by name, or the usual one.
func TestRoleOf(t *testing.T) {
	w := newWorld(t)
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.add("corp--search", "")
	w.add("shop", "corp/search")
	w.add("kube-system", "")
	w.add("lost", "corp/nothing")
	for namespace, want := range map[string]string{"corp--search": "corp/search", "shop": "corp/search", "kube-system": "default"} {
		if got, err := w.RoleOf(namespace); got != want || err != nil {
			t.Errorf("%s has role %q, %v, want %q", namespace, got, err, want)
		}
	}
	if _, err := w.RoleOf("lost"); err == nil || !strings.Contains(err.Error(), `the role "corp/nothing"`) {
		t.Errorf("an annotation with a role that is not there: %v", err)
	}
	w.usual = ""
	if _, err := w.RoleOf("kube-system"); err == nil || !strings.Contains(err.Error(), RoleAnnotation) {
		t.Errorf("no role at all: %v", err)
	}
	if _, err := w.RoleOf("gone"); err == nil {
		t.Error("a namespace that is not there has a role")
	}
}

// TestNames: a name leads back to its role, or there is none.
func TestNames(t *testing.T) {
	for role, want := range map[string]string{"corp/search": "corp--search", "online": "online", "a--b": "", "A": "", "x_y": ""} {
		got, ok := Name(role)
		if ok != (want != "") || ok && got != want {
			t.Errorf("role %s has namespace %q, %v", role, got, ok)
		}
		if ok && RoleName(got) != role {
			t.Errorf("namespace %s leads to %s, not %s", got, RoleName(got), role)
		}
	}
}

// TestEveryRoleHasANamespaceAndItsQuota: made when it is missing, healed when it was edited.
func TestEveryRoleHasANamespaceAndItsQuota(t *testing.T) {
	w := newWorld(t)
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := w.kube.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 3 {
		t.Fatalf("namespaces %v, %v", list.Items, err)
	}
	for i := range list.Items {
		_ = w.namespaces.Add(&list.Items[i])
	}
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	api := w.kube.CoreV1().ResourceQuotas("corp--search")
	q, err := api.Get(t.Context(), QuotaName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hard := q.Status.Hard[v1.ResourceRequestsCPU]
	if !hard.IsZero() { // there are no nodes: nothing can be held
		t.Errorf("hard is %v", hard.String())
	}
	if len(w.events.Events) > 0 {
		t.Errorf("nobody edited a quota: %s", <-w.events.Events)
	}
	q = q.DeepCopy()
	q.Spec.Hard = v1.ResourceList{v1.ResourceRequestsCPU: resource.MustParse("99")}
	if _, err := api.Update(t.Context(), q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	q, _ = api.Get(t.Context(), QuotaName, metav1.GetOptions{})
	if hard = q.Spec.Hard[v1.ResourceRequestsCPU]; !hard.IsZero() {
		t.Errorf("an edited quota still says %v", hard.String())
	}
	if len(w.events.Events) != 1 || !strings.Contains(<-w.events.Events, "PutBack") {
		t.Error("nobody was told that the quota was edited")
	}
}

func TestQuotaStatus(t *testing.T) {
	capacity := polder.Resources{"cpu": 8000, "memory": 16 << 30}
	tests := []struct {
		name      string
		effective *polderv1.EffectiveRole
		want      string
	}{
		{"no bound", &polderv1.EffectiveRole{}, "8"},
		{"limit", &polderv1.EffectiveRole{Limit: map[string]string{"cpu": "6"}}, "6"},
		{"borrow", &polderv1.EffectiveRole{Limit: map[string]string{"cpu": "6"}, Guarantee: map[string]string{"cpu": "2"}, Borrow: map[string]string{"cpu": "1500m"}}, "3500m"},
		{"borrow nothing, guaranteed nothing", &polderv1.EffectiveRole{Borrow: map[string]string{"cpu": "0"}}, "0"},
	}
	for _, test := range tests {
		s := QuotaStatus(&polderv1.RoleStatus{Effective: test.effective, Usage: map[string]string{"cpu": "1250m", "memory": "3Gi"}}, capacity)
		hard, used, memory := s.Hard[v1.ResourceRequestsCPU], s.Used[v1.ResourceRequestsCPU], s.Used[v1.ResourceRequestsMemory]
		if hard.String() != test.want || used.String() != "1250m" || memory.String() != "3Gi" {
			t.Errorf("%s: hard %s, used %s and %s", test.name, hard.String(), used.String(), memory.String())
		}
	}
}
