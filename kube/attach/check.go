package attach

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Minor is the Kubernetes 1.x whose scheduler is in this program.
const Minor = 37

// Check says what keeps the door from working in a cluster: an API server of a version that the scheduler is not made for, or
// permissions that are missing, all of them. nil is nothing.
func Check(ctx context.Context, client kubernetes.Interface) error {
	v, err := client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("the API server does not answer: %w; check --kubeconfig", err)
	}
	if err := fits(v.Major, v.Minor); err != nil {
		return err
	}
	var missing []string
	for _, r := range slices.Concat(doorRules, schedulerRules) {
		more, err := lacking(ctx, client, r)
		if err != nil {
			return err
		}
		missing = append(missing, more...)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the kubeconfig's user may not, in all namespaces: %s; \"polder-kube rbac\" prints what allows it", strings.Join(missing, ", "))
	}
	return nil
}

// fits refuses an API server that Kubernetes does not support with our scheduler: one that is older, or newer by more than a version.
func fits(major, minor string) error {
	n, err := strconv.Atoi(strings.TrimRight(minor, "+"))
	if err != nil || major != "1" || n < Minor || n > Minor+1 {
		return fmt.Errorf("the API server is Kubernetes %s.%s, and the scheduler in this program 1.%d, which is made for API servers 1.%d and 1.%d",
			major, minor, Minor, Minor, Minor+1)
	}
	return nil
}

// lacking asks for every verb on every resource of a rule.
func lacking(ctx context.Context, client kubernetes.Interface, r rbacv1.PolicyRule) (missing []string, err error) {
	for _, resource := range r.Resources {
		for _, verb := range r.Verbs {
			name, sub, _ := strings.Cut(resource, "/")
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Group: r.APIGroups[0], Resource: name, Subresource: sub, Verb: verb}}}
			said, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("asking the cluster for the kubeconfig's permissions: %w", err)
			}
			if !said.Status.Allowed {
				missing = append(missing, strings.TrimSuffix(verb+" "+resource+"."+r.APIGroups[0], "."))
			}
		}
	}
	return missing, nil
}
