package attach

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	kubetesting "k8s.io/client-go/testing"
)

// cluster is one of a version where some things are refused.
func cluster(minor string, refused ...string) *fake.Clientset {
	c := fake.NewClientset()
	c.Discovery().(*fakediscovery.FakeDiscovery).FakedServerVersion = &version.Info{Major: "1", Minor: minor}
	c.PrependReactor("create", "selfsubjectaccessreviews", func(a kubetesting.Action) (bool, runtime.Object, error) {
		r := a.(kubetesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		at := r.Spec.ResourceAttributes
		r.Status.Allowed = true
		for _, no := range refused {
			if no == at.Verb+" "+at.Resource+"/"+at.Subresource {
				r.Status.Allowed = false
			}
		}
		return true, r, nil
	})
	return c
}

// TestCheck: everything that is missing is named at once, and an API server that our scheduler is not made for is refused.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		minor   string
		refused []string
		want    []string // of the error; none is no error
	}{
		{minor: "37"}, {minor: "38+"},
		{minor: "36", want: []string{"Kubernetes 1.36", "API servers 1.37 and 1.38"}},
		{minor: "39", want: []string{"Kubernetes 1.39"}},
		{minor: "37", refused: []string{"create pods/eviction", "watch poddisruptionbudgets/", "list csinodes/"},
			want: []string{": create pods/eviction, watch poddisruptionbudgets.policy, list csinodes.storage.k8s.io;", "polder-kube rbac"}},
	} {
		err := Check(t.Context(), cluster(c.minor, c.refused...))
		if len(c.want) == 0 && err != nil || len(c.want) > 0 && err == nil {
			t.Errorf("1.%s, without %v: %v", c.minor, c.refused, err)
		}
		for _, word := range c.want {
			if err != nil && !strings.Contains(err.Error(), word) {
				t.Errorf("1.%s, without %v: %v, want %q", c.minor, c.refused, err, word)
			}
		}
	}
}

// TestManifest: a cluster understands every object of it.
func TestManifest(t *testing.T) {
	text, err := Manifest("polder-system")
	if err != nil {
		t.Fatal(err)
	}
	docs, kinds := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))), []string{}
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		_, kind, err := scheme.Codecs.UniversalDeserializer().Decode(bytes.TrimPrefix(doc, []byte("---\n")), nil, nil)
		if err != nil {
			t.Fatalf("%v:\n%s", err, doc)
		}
		kinds = append(kinds, kind.Kind)
	}
	if got := strings.Join(kinds, " "); got != "Namespace ServiceAccount ClusterRole ClusterRoleBinding ClusterRoleBinding ClusterRoleBinding" {
		t.Error(got)
	}
	if strings.Contains(text, "*") {
		t.Error("it allows everything of a kind")
	}
}
