package namespace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubernetes/pkg/apis/core"

	"polder.dev/polder/auth"
	"polder.dev/polder/core/role"
	"polder.dev/polder/kube/identity"
)

// NewRoleAnnotation is on a namespace whose role is still to be put into the plan. The gate sets it, and nobody else can.
const NewRoleAnnotation = "polder.dev/new-role"

// enforceLabel is how Kubernetes knows what pods of a namespace may do to their machine.
const (
	enforceLabel = "pod-security.kubernetes.io/enforce"
	baseline     = "baseline"
	restricted   = "restricted"
)

// systemClasses begins the names of Kubernetes' own priority classes. Nobody can make others with it.
const systemClasses = "system-"

// Permissions says what callers of the pool may do; package identity has them.
type Permissions interface {
	Can(ctx context.Context, u user.Info, verb auth.Verb, role string) (allowed bool, reason string, err error)
}

// Gate looks at every namespace that is made or changed: whether its maker may use the role, whether the role is new, and whether its pods
// may reach beyond themselves on their machine.
type Gate struct {
	permissions Permissions
	roles       atomic.Pointer[Map]
}

// NewGate is a gate that refuses every caller of the pool until it is opened.
func NewGate(p Permissions) *Gate { return &Gate{permissions: p} }

// Open says which roles there are.
func (g *Gate) Open(m *Map) { g.roles.Store(m) }

var _ admission.MutationInterface = (*Gate)(nil)

// Handles implements [admission.Interface].
func (g *Gate) Handles(o admission.Operation) bool {
	return o == admission.Create || o == admission.Update
}

// Admit implements [admission.MutationInterface].
func (g *Gate) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Group != "" || a.GetSubresource() != "" {
		return nil
	}
	switch a.GetResource().Resource {
	case "namespaces":
		return g.admitNamespace(ctx, a)
	case "pods":
		return g.admitPod(a)
	}
	return nil
}

func (g *Gate) admitNamespace(ctx context.Context, a admission.Attributes) error {
	ns, err := meta.Accessor(a.GetObject())
	if err != nil {
		return err
	}
	var before metav1.Object = &metav1.ObjectMeta{}
	if a.GetOperation() == admission.Update {
		if before, err = meta.Accessor(a.GetOldObject()); err != nil {
			return err
		}
	}
	if a.GetOperation() == admission.Create && ns.GetName() == metav1.NamespaceDefault {
		keepWithin(ns) // the API server makes it, for whoever may run on its role
	}
	m := g.roles.Load()
	if m == nil {
		if identity.Known(a.GetUserInfo()) {
			return admission.NewForbidden(a, errors.New("the pool's roles are not known yet; try again"))
		}
		return nil // the API server's own, at the start
	}
	if err := g.look(ctx, m, a, ns, before); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// admitPod refuses Kubernetes' own priority classes where pods are kept from reaching beyond themselves: for a pod of theirs the kubelet ends
// pods of others, whose leases stand, without asking anybody. The pod may have been made by a controller: what counts is its namespace.
func (g *Gate) admitPod(a admission.Attributes) error {
	pod, ok := a.GetObject().(*core.Pod)
	m := g.roles.Load()
	if !ok || m == nil || a.GetOperation() != admission.Create || !strings.HasPrefix(pod.Spec.PriorityClassName, systemClasses) {
		return nil
	}
	ns, err := m.namespaces.Get(a.GetNamespace())
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if level := ns.Labels[enforceLabel]; level != baseline && level != restricted {
		return nil
	}
	return admission.NewForbidden(a, fmt.Errorf("priority class %s lets a kubelet end other pods of its machine for this one: it needs a namespace without the label %s=%s, which takes the verb host on its role",
		pod.Spec.PriorityClassName, enforceLabel, ns.Labels[enforceLabel]))
}

func (g *Gate) look(ctx context.Context, m *Map, a admission.Attributes, ns, before metav1.Object) error {
	made := a.GetOperation() == admission.Create
	name := ns.GetAnnotations()[RoleAnnotation]
	if identity.Known(a.GetUserInfo()) {
		annotate(ns, NewRoleAnnotation, before.GetAnnotations()[NewRoleAnnotation])
	}
	if made || name != before.GetAnnotations()[RoleAnnotation] {
		if err := g.take(ctx, m, a.GetUserInfo(), ns, made); err != nil {
			return err
		}
	}
	return g.contain(ctx, m, a.GetUserInfo(), ns, before)
}

// take finds the role of a namespace and asks whether the caller may use it. A role that is not there yet is for those to make who may
// plan it. The role of a caller's namespace is written down, so that the namespace does not become that of a role which is made later and has
// its name.
func (g *Gate) take(ctx context.Context, m *Map, u user.Info, ns metav1.Object, made bool) error {
	name := ns.GetAnnotations()[RoleAnnotation]
	known := identity.Known(u)
	switch {
	case name != "" && !role.ValidPath(name):
		return fmt.Errorf("annotation %s: %q is not the path of a role; write it as corp/search", RoleAnnotation, name)
	case name == "" && !known:
		return nil
	case name == "":
		name = m.roleFor(ns.GetName())
		if own := RoleName(ns.GetName()); made && !m.has(own) && role.ValidPath(own) {
			if may, _, err := g.permissions.Can(ctx, u, auth.Plan, own); may || err != nil {
				annotate(ns, RoleAnnotation, own)
				annotate(ns, NewRoleAnnotation, "true")
				return err
			}
		}
		annotate(ns, RoleAnnotation, name)
	case !m.has(name):
		annotate(ns, NewRoleAnnotation, "true")
		return g.ask(ctx, u, auth.Plan, name)
	}
	return g.ask(ctx, u, auth.Run, name)
}

// ask refuses what a caller of the pool may not do. Everybody else is Kubernetes' business.
func (g *Gate) ask(ctx context.Context, u user.Info, verb auth.Verb, role string) error {
	if !identity.Known(u) {
		return nil
	}
	may, reason, err := g.permissions.Can(ctx, u, verb, role)
	if err == nil && !may {
		err = errors.New(reason)
	}
	return err
}

// contain keeps the pods of a namespace from reaching beyond themselves, unless its maker may run such.
func (g *Gate) contain(ctx context.Context, m *Map, u user.Info, ns, before metav1.Object) error {
	level, was := ns.GetLabels()[enforceLabel], before.GetLabels()[enforceLabel]
	moved := ns.GetAnnotations()[RoleAnnotation] != before.GetAnnotations()[RoleAnnotation] // what one may on the old role says nothing
	if !identity.Known(u) || level == baseline || level == restricted || level == was && level != "" && !moved {
		return nil
	}
	path := ns.GetAnnotations()[RoleAnnotation]
	if path == "" {
		path = m.roleFor(ns.GetName())
	}
	err := g.ask(ctx, u, auth.Host, path)
	if err != nil && level == "" && was == "" {
		keepWithin(ns)
		return nil
	}
	return err
}

// keepWithin keeps the pods of a namespace within themselves, unless it says how far they reach.
func keepWithin(ns metav1.Object) {
	labels := ns.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	if labels[enforceLabel] == "" {
		labels[enforceLabel] = baseline
	}
	ns.SetLabels(labels)
}

// annotate sets an annotation, or takes it away when the value is empty.
func annotate(o metav1.Object, key, value string) {
	all := o.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	if all[key] = value; value == "" {
		delete(all, key)
	}
	o.SetAnnotations(all)
}
