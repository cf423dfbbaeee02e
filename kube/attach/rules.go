package attach

import (
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Name is that of the account and of what it may do.
const Name = "polder-kube"

// schedulerRoles are every cluster's own, and follow its version.
var schedulerRoles = []string{"system:kube-scheduler", "system:volume-scheduler"}

func rule(group, resources, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
}

// doorRules are what the door does itself.
var doorRules = []rbacv1.PolicyRule{
	rule("", "namespaces nodes", "get list watch"),
	rule("", "pods", "get list watch patch delete"),
	rule("", "pods/binding pods/eviction", "create"),
	rule("", "pods/status", "patch"),
	rule("policy", "poddisruptionbudgets", "get list watch"),
	rule("events.k8s.io", "events", "create patch"),
}

// schedulerRules are some of what the scheduler does: enough to see whether somebody has given the caller its roles.
var schedulerRules = []rbacv1.PolicyRule{
	rule("", "persistentvolumes persistentvolumeclaims services replicationcontrollers", "list watch"),
	rule("apps", "replicasets statefulsets", "list watch"),
	rule("storage.k8s.io", "storageclasses csinodes csidrivers csistoragecapacities volumeattachments", "list watch"),
}

// Manifest is what an administrator of the cluster applies: an account for the door in a namespace of its own.
func Manifest(namespace string) (string, error) {
	subject := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: Name, Namespace: namespace}}
	kind := func(k string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: k}
	}
	binding := func(name, role string) rbacv1.ClusterRoleBinding {
		return rbacv1.ClusterRoleBinding{TypeMeta: kind("ClusterRoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
	}
	objects := []any{
		rbacv1.ClusterRole{TypeMeta: kind("ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: Name}, Rules: doorRules},
		binding(Name, Name),
	}
	for _, role := range schedulerRoles {
		objects = append(objects, binding(Name+":"+role, role))
	}
	text := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %[1]s\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: %[2]s\n  namespace: %[1]s\n", namespace, Name)
	for _, o := range objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			return "", err
		}
		text += "---\n" + string(data)
	}
	return text, nil
}
