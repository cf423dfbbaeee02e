package namespace

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

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
)

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
	if a.GetResource().Resource != "namespaces" || a.GetResource().Group != "" || a.GetSubresource() != "" {
		return nil
	}
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
// plan it.
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
	if !identity.Known(u) || level == baseline || level == "restricted" || level == was && level != "" {
		return nil
	}
	path := ns.GetAnnotations()[RoleAnnotation]
	if path == "" {
		path = m.roleFor(ns.GetName())
	}
	err := g.ask(ctx, u, auth.Host, path)
	if err != nil && level == "" && was == "" {
		labels := ns.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[enforceLabel] = baseline
		ns.SetLabels(labels)
		return nil
	}
	return err
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
