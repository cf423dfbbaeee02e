package controlplane

import (
	"context"
	"strings"

	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// namesRole is what the name server of a machine reads.
const namesRole = "polder:names"

// letJoin keeps the token with which kubelets ask for their certificate, and lets them be granted. A node may then read what the
// machine's kube-proxy and name server need.
func (f *files) letJoin(ctx context.Context, client kubernetes.Interface) error {
	id, secret, _ := strings.Cut(f.bootstrap, ".")
	token := &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id}, Type: v1.SecretTypeBootstrapToken,
		StringData: map[string]string{"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true", "description": "agents of the pool"},
	}
	if _, err := client.CoreV1().Secrets(token.Namespace).Create(ctx, token, metav1.CreateOptions{}); unexpected(err) {
		return err
	}
	read := []string{"list", "watch"}
	names := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: namesRole}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services", "namespaces"}, Verbs: read},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: read},
	}}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, names, metav1.CreateOptions{}); unexpected(err) {
		return err
	}
	for _, b := range []struct{ name, role, group string }{
		{"polder:join", "system:node-bootstrapper", "system:bootstrappers"},
		{"polder:join-approved", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", "system:bootstrappers"},
		{"polder:renew-approved", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes"},
		{"polder:proxy", "system:node-proxier", "system:nodes"},
		{namesRole, namesRole, "system:nodes"},
	} {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: b.name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: b.group}},
		}
		if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); unexpected(err) {
			return err
		}
	}
	return nil
}

// unexpected reports whether an error of a creation is one: what is there already is fine.
func unexpected(err error) bool { return err != nil && !apierrors.IsAlreadyExists(err) }
