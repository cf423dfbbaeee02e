package namespace

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubernetes/pkg/apis/core"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

// may is a table of permissions: "verb role".
type may []string

// Can implements [Permissions].
func (m may) Can(_ context.Context, _ user.Info, verb auth.Verb, role string) (bool, string, error) {
	return slices.Contains(m, string(verb)+" "+role), fmt.Sprintf("may not %s on %s", verb, role), nil
}

var (
	alice = &user.DefaultInfo{Name: "user:alice", Extra: map[string][]string{"polder.dev/token": {"x"}}}
	other = &user.DefaultInfo{Name: "polder-admin"}
)

func namespaceOf(name string, annotations, labels map[string]string) *v1.Namespace {
	return &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations, Labels: labels}}
}

// admit asks the gate about a namespace; before is nil when it is new.
func admit(t *testing.T, w *world, m may, u user.Info, ns, before *v1.Namespace) error {
	g := NewGate(m)
	g.Open(w.Map)
	kind := schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	resource := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	op, old := admission.Create, &v1.Namespace{}
	if before != nil {
		op, old = admission.Update, before
	}
	return g.Admit(t.Context(), admission.NewAttributesRecord(ns, old, kind, "", ns.Name, resource, "", op, nil, false, u), nil)
}

type notes = map[string]string

// TestWhoseRoleANamespaceMayBe.
func TestWhoseRoleANamespaceMayBe(t *testing.T) {
	w := newWorld(t)
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, ns, role string
		may            may
		who            user.Info
		want           notes  // annotations
		refused        string // or a word of why
	}{
		{name: "a role of one's own", ns: "shop", role: "corp/search", may: may{"run corp/search"}, who: alice, want: notes{RoleAnnotation: "corp/search"}},
		{name: "a role of somebody else", ns: "shop", role: "corp/search", who: alice, refused: "may not run on corp/search"},
		{name: "by its name", ns: "corp--search", who: alice, refused: "may not run on corp/search"},
		{name: "the usual role", ns: "shop", may: may{"run default"}, who: alice, want: notes{RoleAnnotation: "default"}},
		{name: "the name of a role that others make later", ns: "corp--later", may: may{"run default"}, who: alice, want: notes{RoleAnnotation: "default"}},
		{name: "not even the usual role", ns: "shop", who: alice, refused: "may not run on default"},
		{name: "a new role", ns: "shop", role: "corp/new", may: may{"plan corp/new"}, who: alice, want: notes{RoleAnnotation: "corp/new", NewRoleAnnotation: "true"}},
		{name: "a new role of somebody else", ns: "shop", role: "corp/new", who: alice, refused: "may not plan on corp/new"},
		{name: "a new role by its name", ns: "corp--new", may: may{"plan corp/new"}, who: alice, want: notes{RoleAnnotation: "corp/new", NewRoleAnnotation: "true"}},
		{name: "no role's name", ns: "shop", role: "a//b", who: alice, refused: "not the path of a role"},
		{name: "anybody's, for who may do everything", ns: "shop", role: "corp/new", who: other, want: notes{RoleAnnotation: "corp/new", NewRoleAnnotation: "true"}},
		{name: "no new role by its name for others", ns: "e2e-17", who: other},
	} {
		ns := namespaceOf(c.ns, nil, nil)
		if c.role != "" {
			ns.Annotations = notes{RoleAnnotation: c.role}
		}
		err := admit(t, w, c.may, c.who, ns, nil)
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && (len(ns.Annotations) != len(c.want) || ns.Annotations[RoleAnnotation] != c.want[RoleAnnotation] || ns.Annotations[NewRoleAnnotation] != c.want[NewRoleAnnotation]) {
			t.Errorf("%s: annotations %v, want %v", c.name, ns.Annotations, c.want)
		}
	}
	had := namespaceOf("shop", notes{RoleAnnotation: "default"}, notes{enforceLabel: baseline})
	moved := namespaceOf("shop", notes{RoleAnnotation: "corp/search", NewRoleAnnotation: "true"}, notes{enforceLabel: baseline})
	if err := admit(t, w, may{"run default"}, alice, moved, had); err == nil {
		t.Error("a namespace moves to a role of somebody else")
	}
	if err := admit(t, w, may{"run corp/search"}, alice, moved, had); err != nil || moved.Annotations[NewRoleAnnotation] != "" {
		t.Errorf("%v, %v", err, moved.Annotations)
	}
}

// TestPodsStayWithinThemselves unless somebody may run others.
func TestPodsStayWithinThemselves(t *testing.T) {
	w := newWorld(t)
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	ns := namespaceOf("shop", nil, nil)
	if err := admit(t, w, may{"run default"}, alice, ns, nil); err != nil || ns.Labels[enforceLabel] != baseline {
		t.Errorf("a new namespace: %v, %v", err, ns.Labels)
	}
	open := namespaceOf("shop", nil, notes{enforceLabel: "privileged"})
	if err := admit(t, w, may{"run default"}, alice, open.DeepCopy(), ns); err == nil {
		t.Error("it is opened by who may not")
	}
	if err := admit(t, w, may{"run default"}, alice, namespaceOf("shop", nil, nil), ns); err == nil {
		t.Error("its label is taken away by who may not")
	}
	if err := admit(t, w, may{"run default", "host default"}, alice, open.DeepCopy(), ns); err != nil {
		t.Error(err)
	}
	if err := admit(t, w, nil, other, open.DeepCopy(), ns); err != nil {
		t.Error(err)
	}
	open.Annotations = notes{RoleAnnotation: "default"}
	moved := open.DeepCopy()
	moved.Annotations[RoleAnnotation] = "corp/search"
	if err := admit(t, w, may{"run default", "host default", "run corp/search"}, alice, moved.DeepCopy(), open); err == nil {
		t.Error("an open namespace moves to a role on which its owner may not host")
	}
	if err := admit(t, w, may{"run corp/search", "host corp/search"}, alice, moved.DeepCopy(), open); err != nil {
		t.Error(err)
	}
}

// TestDefaultNamespace: the API server makes it before anything is known of roles. Whoever may run on its role may not reach beyond the pods
// for that.
func TestDefaultNamespace(t *testing.T) {
	for name, want := range map[string]string{"default": baseline, "kube-system": ""} {
		ns := namespaceOf(name, nil, nil)
		kind, resource := schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
		a := admission.NewAttributesRecord(ns, &v1.Namespace{}, kind, "", name, resource, "", admission.Create, nil, false, other)
		if err := NewGate(may{}).Admit(t.Context(), a, nil); err != nil || ns.Labels[enforceLabel] != want {
			t.Errorf("%s: %v, labels %v", name, err, ns.Labels)
		}
	}
}

// TestWhoseKubeletEvicts: a pod for which the kubelet ends others is only where pods may reach beyond themselves.
func TestWhoseKubeletEvicts(t *testing.T) {
	w := newWorld(t)
	g := NewGate(may{})
	g.Open(w.Map)
	for ns, level := range map[string]string{"kept": baseline, "strict": restricted, "open": "privileged", "kube-system": ""} {
		_ = w.namespaces.Add(namespaceOf(ns, nil, notes{enforceLabel: level}))
	}
	for _, c := range []struct {
		namespace, class string
		refused          bool
	}{
		{"kept", "system-node-critical", true}, {"strict", "system-cluster-critical", true}, {"nowhere", "system-node-critical", true},
		{"kept", "important", false}, {"kept", "", false}, {"open", "system-node-critical", false}, {"kube-system", "system-node-critical", false},
	} {
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "p"}, Spec: core.PodSpec{PriorityClassName: c.class}}
		kind, resource := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, schema.GroupVersionResource{Version: "v1", Resource: "pods"}
		err := g.Admit(t.Context(), admission.NewAttributesRecord(pod, nil, kind, c.namespace, "p", resource, "", admission.Create, nil, false, other), nil)
		if (err != nil) != c.refused {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestNewNamespaceGetsItsRole in the plan, once.
func TestNewNamespaceGetsItsRole(t *testing.T) {
	w := newWorld(t)
	ns := namespaceOf("shop", notes{RoleAnnotation: "corp/new", NewRoleAnnotation: "true"}, nil)
	if _, err := w.kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_ = w.namespaces.Add(ns)
	for range 2 {
		if err := w.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if role, err := w.RoleOf("shop"); role != "corp/new" || err != nil {
		t.Errorf("%q, %v", role, err)
	}
	res, err := w.client.Plans.Get(t.Context(), connect.NewRequest(&polderv1.PlanServiceGetRequest{}))
	if err != nil || !strings.Contains(res.Msg.Yaml, "corp/new") || !strings.Contains(res.Msg.Revision.Comment, "shop") {
		t.Errorf("%v, %v", res, err)
	}
	got, err := w.kube.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || got.Annotations[NewRoleAnnotation] != "" {
		t.Errorf("%v, %v", got, err)
	}
}
