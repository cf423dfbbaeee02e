package controlplane

import (
	"context"
	"errors"
	"net/netip"
	"reflect"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// dnsNumber is the place of the name server's address in the range of services: the tenth, where everybody looks for it.
const dnsNumber = 10

// service is a place in the cluster that no pod serves, but every machine at an address of its own network of pods.
type service struct {
	namespace, name string
	at              netip.Addr
	ports           []v1.ServicePort // of the service
	targets         []int32          // of the machine, in the same order
}

// letFind says where pods find the API server and names, if the machines serve them.
func (f *files) letFind(ctx context.Context, client kubernetes.Interface) error {
	if !f.Machines.IsValid() {
		return nil
	}
	dns := service{metav1.NamespaceSystem, "kube-dns", f.Machines.Addr(), []v1.ServicePort{
		{Name: "dns", Protocol: v1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
		{Name: "dns-tcp", Protocol: v1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
	}, []int32{53, 53}}
	address, err := nthAddress(f.ServiceCIDR, dnsNumber)
	if err != nil {
		return err
	}
	s := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: dns.namespace, Name: dns.name, Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec:       v1.ServiceSpec{ClusterIP: address, Ports: dns.ports},
	}
	services := client.CoreV1().Services(dns.namespace)
	// One more with the address of the one that is there is refused for its address, not for being there.
	if _, err := services.Get(ctx, dns.name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		if _, err := services.Create(ctx, s, metav1.CreateOptions{}); unexpected(err) {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := dns.endpoints(ctx, client); err != nil || f.Advertise != nil {
		return err
	}
	api := service{metav1.NamespaceDefault, "kubernetes", f.Machines.Addr(), []v1.ServicePort{{Name: "https", Protocol: v1.ProtocolTCP}}, []int32{int32(f.Machines.Port())}}
	return errors.Join(api.endpoints(ctx, client), api.oldEndpoints(ctx, client))
}

// oldEndpoints keeps the list in the form that Kubernetes had first. It is the API server that still has one, and some look there.
func (s service) oldEndpoints(ctx context.Context, client kubernetes.Interface) error {
	list := &v1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets:    []v1.EndpointSubset{{Addresses: []v1.EndpointAddress{{IP: s.at.String()}}}},
	}
	for i, p := range s.ports {
		list.Subsets[0].Ports = append(list.Subsets[0].Ports, v1.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: s.targets[i]})
	}
	api := client.CoreV1().Endpoints(s.namespace)
	have, err := api.Get(ctx, s.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, list, metav1.CreateOptions{})
	case err == nil && !reflect.DeepEqual(have.Subsets, list.Subsets):
		have.Subsets = list.Subsets
		_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	}
	return err
}

// endpoints keeps the list of the service's places.
func (s service) endpoints(ctx context.Context, client kubernetes.Interface) error {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.namespace, Name: s.name, Labels: map[string]string{discoveryv1.LabelServiceName: s.name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{s.at.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
	}
	for i, p := range s.ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Protocol: new(p.Protocol), Port: new(s.targets[i])})
	}
	api := client.DiscoveryV1().EndpointSlices(s.namespace)
	have, err := api.Get(ctx, s.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, slice, metav1.CreateOptions{})
	case err == nil && (!reflect.DeepEqual(have.Endpoints, slice.Endpoints) || !reflect.DeepEqual(have.Ports, slice.Ports)):
		have.Endpoints, have.Ports = slice.Endpoints, slice.Ports
		_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	}
	return err
}
