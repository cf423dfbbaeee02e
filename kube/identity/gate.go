package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"polder.dev/polder/auth"
)

// everything is a role that no plan can have: only a rule for all roles covers it.
const everything = "?"

// Roles says which role a namespace is.
type Roles interface {
	RoleOf(namespace string) (role string, why error)
}

// Gate says what callers of the pool may do in Kubernetes. Its roles come later than it does: see [Gate.Open].
type Gate struct {
	callers *Callers
	every   time.Duration // between two looks at the permission of what lasts
	roles   atomic.Pointer[Roles]
}

// NewGate is a gate that lets nobody in yet.
func NewGate(c *Callers) *Gate { return &Gate{callers: c, every: TTL} }

// Open says which roles the namespaces are.
func (g *Gate) Open(r Roles) { g.roles.Store(&r) }

// Authorize implements [authorizer.Authorizer] by [authorizer.AuthorizerFunc]. It allows or has no opinion.
func (g *Gate) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !Known(a.GetUser()) {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if forEverybody(a) {
		return authorizer.DecisionAllow, "", nil
	}
	q, err := g.question(a)
	switch {
	case apierrors.IsNotFound(err) && a.GetResource() == "namespaces" && reads(a):
		return authorizer.DecisionAllow, "", nil // to be told that it is not there
	case err != nil:
		return authorizer.DecisionNoOpinion, err.Error(), nil
	}
	allowed, reason, err := g.callers.Can(ctx, a.GetUser(), q.verb, q.role)
	switch {
	case err != nil:
		return authorizer.DecisionNoOpinion, reason, err
	case !allowed && q.role == everything:
		return authorizer.DecisionNoOpinion, fmt.Sprintf("%s may not %s in all namespaces: that needs a rule for the role **", a.GetUser().GetName(), q.verb), nil
	case !allowed:
		return authorizer.DecisionNoOpinion, reason, nil
	}
	return authorizer.DecisionAllow, "", nil
}

// forEverybody is what every user of the pool may do: read the classes that a manifest can name, and make a namespace, whose role is asked
// about when its annotations are known.
func forEverybody(a authorizer.Attributes) bool {
	switch {
	case !a.IsResourceRequest() || a.GetSubresource() != "":
		return false
	case a.GetAPIGroup() == "" && a.GetResource() == "namespaces":
		return a.GetVerb() == "create"
	}
	return reads(a) && slices.Contains(classes, a.GetResource()+"."+a.GetAPIGroup())
}

var classes = []string{"storageclasses.storage.k8s.io", "priorityclasses.scheduling.k8s.io", "ingressclasses.networking.k8s.io", "runtimeclasses.node.k8s.io"}

// question is what a request amounts to in the pool.
func (g *Gate) question(a authorizer.Attributes) (question, error) {
	switch {
	case !a.IsResourceRequest():
		return question{auth.Admin, ""}, nil // discovery is for everybody, by a rule of Kubernetes
	case a.GetNamespace() == "":
		return ofCluster(a), nil
	case strings.HasPrefix(a.GetNamespace(), "kube-"):
		return question{onlyView(a), ""}, nil
	}
	roles := g.roles.Load()
	if roles == nil {
		return question{}, fmt.Errorf("the pool's roles are not known yet; try again")
	}
	role, err := (*roles).RoleOf(a.GetNamespace())
	return question{inNamespace(a), role}, err
}

func reads(a authorizer.Attributes) bool {
	return slices.Contains([]string{"get", "list", "watch"}, a.GetVerb())
}

// onlyView is the verb where only admins may do more than look.
func onlyView(a authorizer.Attributes) auth.Verb {
	if reads(a) && a.GetSubresource() == "" && a.GetResource() != "secrets" {
		return auth.View
	}
	return auth.Admin
}

// ofCluster is what a request outside of namespaces, or over all of them, needs.
func ofCluster(a authorizer.Attributes) question {
	switch {
	case a.GetResource() == "nodes" && a.GetSubresource() == "" && reads(a):
		return question{auth.View, ""}
	case a.GetResource() == "nodes" && a.GetSubresource() == "" && slices.Contains([]string{"update", "patch", "delete"}, a.GetVerb()):
		return question{auth.Node, ""}
	case reads(a) && looks(a):
		return question{inNamespace(a), everything}
	}
	return question{auth.Admin, ""} // also nodes/proxy, which leads into every pod, if only with "get"
}

// Things in a namespace that need more than the usual verb.
var (
	reaching = []string{"pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/ephemeralcontainers", "services/proxy"}
	ruling   = []string{"roles", "rolebindings", "resourcequotas", "limitranges", "bindings", "localsubjectaccessreviews"}
	plain    = []string{"", "scale", "eviction", "token", "rollback"} // subresources that are as good as their objects
	looking  = []string{"", "scale", "status"}                        // subresources that only show what is written down
)

// looks reports whether reading is all that a request does. A connection into a pod is a "get", too.
func looks(a authorizer.Attributes) bool { return slices.Contains(looking, a.GetSubresource()) }

// inNamespace is the verb that a request in a namespace needs on its role.
func inNamespace(a authorizer.Attributes) auth.Verb {
	what := a.GetResource()
	if a.GetSubresource() != "" {
		what += "/" + a.GetSubresource()
	}
	switch {
	case what == "pods/log":
		return auth.Logs
	case slices.Contains(reaching, what), reads(a) && !looks(a):
		return auth.Exec
	case reads(a) && a.GetResource() == "secrets":
		return auth.Run
	case reads(a):
		return auth.View
	case slices.Contains(ruling, a.GetResource()), !slices.Contains(plain, a.GetSubresource()):
		return auth.Admin
	case slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, a.GetVerb()):
		return auth.Run
	}
	return auth.Admin // impersonate, bind, escalate, and whatever else there will be
}
