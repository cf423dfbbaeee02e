package controlplane

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Config says where the control plane keeps its things and where it listens.
type Config struct {
	// Dir holds everything; it is made if missing.
	Dir string
	// Listen is the API server's address, host:port.
	Listen string
	// Advertise is the address pods reach the API server at, if it is not on loopback only.
	Advertise net.IP
	// Machines is where every machine serves its own pods: names at the address, port 53, and the way to the API server at the port.
	// The zero value is nowhere.
	Machines netip.AddrPort
	// Hosts are further names and addresses of the API server, for its certificate.
	Hosts []string
	// ServiceCIDR is the range of services' addresses.
	ServiceCIDR string
	// Plugins are put into the scheduler, beside all of its own.
	Plugins []Plugin
	// Tokens knows callers beside those of Kubernetes; nil is nobody.
	Tokens authenticator.Token
	// Authorize is asked before Kubernetes' own rules; nil is not.
	Authorize authorizer.Authorizer
	// Follow serves requests with a handler as long as they are permitted, of which some last; nil looks at permissions at the beginning only.
	Follow func(http.Handler, authorizer.Authorizer, request.LongRunningRequestCheck) http.Handler
	// Admission looks at every change beside Kubernetes' own plugins; nil is none.
	Admission admission.Interface
	// Install adds groups to the API, before it is served; nil adds none.
	Install func(*genericserver.GenericAPIServer) error
	// Lifecycle has Kubernetes judge which nodes are ready, where no pool does; for tests.
	Lifecycle bool
	// Wire has the components of this process call the API server as separate processes would, through TLS; for measurements.
	Wire bool
	// UnsafeNoSync has etcd write without waiting for the disk; for tests.
	UnsafeNoSync bool
}

// files are what the components are started with.
type files struct {
	Config
	ca, etcdCA       *authority
	server           [2]string // certificate and key
	etcd, etcdClient [2]string
	kubelet          [2]string // of the API server as a client of kubelets
	serviceAccounts  string    // private key
	bootstrap        string    // token that new kubelets ask for a certificate with
	inside           inside    // the way of this process's own components to the API server
}

// Callers that are components of this process.
const (
	doorUser      = "system:polder"
	managerUser   = "system:kube-controller-manager"
	schedulerUser = "system:kube-scheduler"
)

// Files of the directory.
const (
	AdminFile     = "admin.kubeconfig"   // for people: everything is allowed
	DoorFile      = "door.kubeconfig"    // for the door's own controllers
	managerFile   = "manager.kubeconfig" // for kube-controller-manager
	schedulerFile = "scheduler.kubeconfig"
	JoinFile      = "join.kubeconfig" // for kubelets that have no certificate yet
	schedulerConf = "scheduler.yaml"
	bootstrapFile = "bootstrap.token"
	etcdDir       = "etcd"
	pkiDir        = "pki"
)

// lockDir makes the directory and takes it for this process: etcd would wait for another's end without a word. The lock is let go
// when the file is closed.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another polder-kube up: stop that one first, it takes some seconds to end", dir), f.Close())
	}
	return f, nil
}

// prepare makes the certificates and the kubeconfigs.
func prepare(c Config) (*files, error) {
	f := &files{Config: c}
	pki := filepath.Join(c.Dir, pkiDir)
	if err := os.MkdirAll(pki, 0o700); err != nil {
		return nil, err
	}
	var err error
	if f.ca, err = openAuthority(pki, "ca"); err != nil {
		return nil, err
	}
	if f.etcdCA, err = openAuthority(pki, "etcd-ca"); err != nil {
		return nil, err
	}
	if _, err = openAuthority(pki, "service-accounts"); err != nil { // its certificate is not used
		return nil, err
	}
	f.serviceAccounts = filepath.Join(pki, "service-accounts.key")
	if f.bootstrap, err = openToken(filepath.Join(c.Dir, bootstrapFile)); err != nil {
		return nil, err
	}
	return f, errors.Join(f.servers(pki), f.kubeconfigs(pki))
}

// servers issues the certificates of servers, and of the API server as a client.
func (f *files) servers(pki string) error {
	host, _, err := net.SplitHostPort(f.Listen)
	if err != nil {
		return fmt.Errorf("listening address: %w; give host:port", err)
	}
	service, err := nthAddress(f.ServiceCIDR, 1) // of the service "kubernetes"
	if err != nil {
		return err
	}
	hosts := append([]string{host, "localhost", "127.0.0.1", service, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local"}, f.Hosts...)
	if f.Advertise != nil {
		hosts = append(hosts, f.Advertise.String())
	}
	for _, l := range []struct {
		by    *authority
		leaf  leaf
		files *[2]string
	}{
		{f.ca, leaf{name: "server", user: "kube-apiserver", hosts: hosts}, &f.server},
		{f.ca, leaf{name: "kubelet-client", user: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}}, &f.kubelet},
		{f.etcdCA, leaf{name: "etcd", user: "etcd", hosts: []string{"127.0.0.1", "localhost"}}, &f.etcd},
		{f.etcdCA, leaf{name: "etcd-client", user: "kube-apiserver"}, &f.etcdClient},
	} {
		crt, key, err := l.by.issue(pki, l.leaf)
		if err != nil {
			return err
		}
		*l.files = [2]string{crt, key}
	}
	return nil
}

// nthAddress is an address of a range of services.
func nthAddress(cidr string, n int) (string, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return "", fmt.Errorf("range of services: %w", err)
	}
	at := p.Masked().Addr()
	for range n {
		at = at.Next()
	}
	if !p.Contains(at) {
		return "", fmt.Errorf("range of services %s: too small; give at least a /24", cidr)
	}
	return at.String(), nil
}

// kubeconfigs writes a kubeconfig for everybody who calls the API server.
func (f *files) kubeconfigs(pki string) error {
	for _, u := range []struct {
		file, user string
		groups     []string
	}{
		{AdminFile, "polder-admin", []string{"system:masters"}},
		{DoorFile, doorUser, []string{"system:masters"}},
		{managerFile, managerUser, []string{"system:masters"}},
		{schedulerFile, schedulerUser, nil},
	} {
		crt, key, err := f.ca.issue(pki, leaf{name: strings.TrimSuffix(u.file, ".kubeconfig"), user: u.user, groups: u.groups})
		if err != nil {
			return err
		}
		auth := &clientcmdapi.AuthInfo{}
		if auth.ClientCertificateData, err = os.ReadFile(crt); err != nil {
			return err
		}
		if auth.ClientKeyData, err = os.ReadFile(key); err != nil {
			return err
		}
		if err := f.kubeconfig(u.file, u.user, auth); err != nil {
			return err
		}
	}
	return f.kubeconfig(JoinFile, "join", &clientcmdapi.AuthInfo{Token: f.bootstrap})
}

// URL is where the API server answers.
func (c Config) URL() string { return "https://" + c.Listen }

func (f *files) kubeconfig(file, user string, auth *clientcmdapi.AuthInfo) error {
	ca, err := os.ReadFile(f.ca.file)
	if err != nil {
		return err
	}
	k := clientcmdapi.NewConfig()
	k.Clusters["polder"] = &clientcmdapi.Cluster{Server: f.URL(), CertificateAuthorityData: ca}
	k.AuthInfos[user] = auth
	k.Contexts["polder"] = &clientcmdapi.Context{Cluster: "polder", AuthInfo: user}
	k.CurrentContext = "polder"
	data, err := clientcmd.Write(*k)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(f.Dir, file), data, 0o600)
}

// openToken reads a token of the form "id.secret", or makes one.
func openToken(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	b := make([]byte, 11)
	_, _ = rand.Read(b) // never fails
	token := hex.EncodeToString(b[:3]) + "." + hex.EncodeToString(b[3:])
	return token, writeFile(file, []byte(token+"\n"), 0o600)
}
