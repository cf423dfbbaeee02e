package metrics

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/rest"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/metrics/pkg/apis/metrics"
	"k8s.io/metrics/pkg/apis/metrics/install"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// readerRole is the role of Kubernetes that reads metrics, by the name that metrics-server gave it.
const readerRole = "system:aggregated-metrics-reader"

// Install serves the source in an API server that has not started yet.
func Install(server *genericserver.GenericAPIServer, s *Source) error {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, v1)
	scheme.AddUnversionedTypes(v1, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	group := genericserver.NewDefaultAPIGroupInfo(metrics.GroupName, scheme, runtime.NewParameterCodec(scheme), serializer.NewCodecFactory(scheme))
	group.PrioritizedVersions = []schema.GroupVersion{v1beta1.SchemeGroupVersion}
	group.VersionedResourcesStorageMap[v1beta1.SchemeGroupVersion.Version] = map[string]rest.Storage{
		"nodes": nodeStorage{rest.NewDefaultTableConvertor(metrics.Resource("nodes")), s},
		"pods":  podStorage{rest.NewDefaultTableConvertor(metrics.Resource("pods")), s},
	}
	return server.InstallAPIGroup(&group)
}

// Register lists the group among the API's, and lets who may view pods read it.
func Register(ctx context.Context, config *restclient.Config) error {
	groups, err := aggregator.NewForConfig(config)
	if err != nil {
		return err
	}
	gv := v1beta1.SchemeGroupVersion
	service := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group},
		Spec: apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: 100, VersionPriority: 100}} // of no service: it is served here
	if _, err := groups.ApiregistrationV1().APIServices().Create(ctx, service, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for _, role := range []string{"view", "edit", "admin"} {
		labels["rbac.authorization.k8s.io/aggregate-to-"+role] = "true"
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: readerRole, Labels: labels},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{gv.Group}, Resources: []string{"pods", "nodes"}, Verbs: []string{"get", "list"}}}}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}
