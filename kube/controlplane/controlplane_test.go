package controlplane

import (
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"
)

func newFiles(t *testing.T, dir string) *files {
	t.Helper()
	f, err := prepare(Config{Dir: dir, Listen: "127.0.0.1:6443", ServiceCIDR: "10.97.0.0/16", Advertise: net.ParseIP("192.0.2.7"), Hosts: []string{"kube.example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestServerIsKnown by every name that it is called by, and only through its own authority.
func TestServerIsKnown(t *testing.T) {
	f := newFiles(t, t.TempDir())
	c, _, err := loadPair(f.server[0], f.server[1])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(f.ca.cert)
	for _, name := range []string{"127.0.0.1", "localhost", "192.0.2.7", "10.97.0.1", "kubernetes.default.svc", "kube.example.org"} {
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	client, _, err := loadPair(f.etcdClient[0], f.etcdClient[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		t.Error("etcd's clients are known to the API server's authority")
	}
}

// TestKubeconfigsSayWhoCalls.
func TestKubeconfigsSayWhoCalls(t *testing.T) {
	dir := t.TempDir()
	f := newFiles(t, dir)
	for file, want := range map[string]string{AdminFile: "polder-admin", schedulerFile: "system:kube-scheduler"} {
		c, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		cert, _, err := loadPair(filepath.Join(dir, pkiDir, strings.TrimSuffix(file, ".kubeconfig")+".crt"), filepath.Join(dir, pkiDir, strings.TrimSuffix(file, ".kubeconfig")+".key"))
		if err != nil || cert.Subject.CommonName != want || c.Host != "https://127.0.0.1:6443" {
			t.Errorf("%s: %v, %+v, %s", file, err, cert.Subject, c.Host)
		}
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	join, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, JoinFile))
	if err != nil || join.BearerToken != f.bootstrap || len(f.bootstrap) != 23 || f.bootstrap[6] != '.' {
		t.Errorf("join with %q, %v", join.BearerToken, err)
	}
}

// TestAuthorityStays over restarts; what is damaged is told, not replaced.
func TestAuthorityStays(t *testing.T) {
	dir := t.TempDir()
	first, second := newFiles(t, dir), newFiles(t, dir)
	if !first.ca.cert.Equal(second.ca.cert) || first.bootstrap != second.bootstrap {
		t.Error("a restart made another authority, or another token")
	}
	if err := os.WriteFile(filepath.Join(dir, pkiDir, "ca.key"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(first.Config); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("a damaged key: %v", err)
	}
}

// TestOneControlPlaneADirectory: the second is told, and may start when the first has ended.
func TestOneControlPlaneADirectory(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), "in use by another polder-kube up") {
		t.Errorf("the second: %v", err)
	}
	lock.Close()
	if lock, err = lockDir(dir); err != nil {
		t.Fatal(err)
	}
	lock.Close()
}

// TestFindAgain: after a restart the service for names is there, and its address is taken.
func TestFindAgain(t *testing.T) {
	f := &files{Config: Config{ServiceCIDR: "10.97.0.0/16", Machines: netip.MustParseAddrPort("10.89.0.1:6444")}}
	client := fake.NewClientset()
	client.PrependReactor("create", "services", func(kubetesting.Action) (bool, runtime.Object, error) {
		if list, err := client.Tracker().List(v1.SchemeGroupVersion.WithResource("services"), v1.SchemeGroupVersion.WithKind("Service"), ""); err != nil || len(list.(*v1.ServiceList).Items) > 0 {
			return true, nil, apierrors.NewInvalid(v1.SchemeGroupVersion.WithKind("Service").GroupKind(), "kube-dns", nil)
		}
		return false, nil, nil
	})
	for range 2 {
		if err := f.letFind(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := client.CoreV1().Services("kube-system").Get(t.Context(), "kube-dns", metav1.GetOptions{}); err != nil || s.Spec.ClusterIP != "10.97.0.10" {
		t.Errorf("the service for names: %v, %v", s, err)
	}
}

func TestBadAddresses(t *testing.T) {
	for _, c := range []Config{{Listen: "nowhere", ServiceCIDR: "10.0.0.0/8"}, {Listen: "127.0.0.1:1", ServiceCIDR: "ten"}} {
		c.Dir = t.TempDir()
		if _, err := prepare(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// TestSchedulerConfig: the plugin is on and preemption is off, and fewer nodes are compared; without a plugin everything is stock.
func TestSchedulerConfig(t *testing.T) {
	s := Scheduler{Kubeconfig: "/k", Name: DefaultScheduler, Plugins: []Plugin{{Name: "Polder", Binds: true}}}
	for _, want := range []string{"- name: Polder\n      disabled:\n      - name: DefaultPreemption\n    bind:\n      enabled:\n      - name: Polder\n      - name: DefaultBinder\n", "schedulerName: \"default-scheduler\"\n"} {
		text := s.config()
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
		if fewer := strings.Contains(text, "\npercentageOfNodesToScore: 5\nleaderElection:"); fewer != (s.Plugins != nil) || fewer != strings.Contains(text, "\nparallelism: ") {
			t.Errorf("with plugins %v:\n%s", s.Plugins, text)
		}
		s.Plugins = nil
	}
}

// TestEtcdListens at a socket that nobody else can open, and on loopback with certificates where a socket's path would be too long or the
// parts are to speak as separate processes do.
func TestEtcdListens(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"as usual", Config{Dir: "/var/lib/polder"}, "unix:///var/lib/polder/pki/etcd.sock"},
		{"deep below", Config{Dir: "/" + strings.Repeat("x", mostSocket)}, "https://127.0.0.1:"},
		{"as separate processes", Config{Dir: "/var/lib/polder", Wire: true}, "https://127.0.0.1:"},
	} {
		if u, err := (&files{Config: c.config}).etcdListens(); err != nil || !strings.HasPrefix(u.String(), c.want) {
			t.Errorf("%s: %v, %v", c.name, &u, err)
		}
	}
}
