package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

const join = `
apiVersion: v1
kind: Config
clusters: [{name: polder, cluster: {server: https://127.0.0.1:1, certificate-authority-data: Y2VydGlmaWNhdGU=}}]
`

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "kn") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "join.kubeconfig")
	if err := os.WriteFile(file, []byte(join), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := prepare(Options{Name: "n1", Dir: filepath.Join(dir, "node"), Cgroup: "/polder/n1/.kube", MilliCPU: 600, MemoryBytes: 1 << 30, Join: file,
		Sandbox: "localhost/pause:1", PodCIDR: "10.89.0.0/16", CNI: "/usr/lib/cni", DNS: "10.97.0.10"})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKubeletOffersWhatTheAgentDoes: the rest of the machine is reserved.
func TestKubeletOffersWhatTheAgentDoes(t *testing.T) {
	n := newMachine(t)
	data, err := n.kubeletConfig()
	if err != nil {
		t.Fatal(err)
	}
	var c kubeletv1beta1.KubeletConfiguration
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		t.Fatal(err)
	}
	wantCPU, _ := json.Marshal(runtime.NumCPU()*1000 - 600)
	if c.SystemReserved["cpu"] != string(wantCPU)+"m" || c.CgroupRoot != "/polder/n1/.kube" || *c.FailCgroupV1 || *c.Authentication.Anonymous.Enabled ||
		c.ContainerRuntimeEndpoint != "unix://"+n.socket || !slices.Equal(c.ClusterDNS, []string{"10.97.0.10"}) {
		t.Errorf("%s", data)
	}
}

func TestFilesOfTheNode(t *testing.T) {
	n := newMachine(t)
	if ca, err := os.ReadFile(n.path("ca.crt")); err != nil || string(ca) != "certificate" {
		t.Errorf("CA %q, %v", ca, err)
	}
	var network struct{ Plugins []struct{ Type string } }
	data, _ := os.ReadFile(n.path("cni", "10-polder.conflist"))
	if err := json.Unmarshal(data, &network); err != nil || len(network.Plugins) != 3 || !strings.Contains(string(data), "10.89.0.0/16") {
		t.Errorf("network %s, %v", data, err)
	}
	if c := n.containerdConfig(); !strings.Contains(c, "restrict_oom_score_adj = true") || !strings.Contains(c, `sandbox_image = "localhost/pause:1"`) {
		t.Errorf("containerd's configuration:\n%s", c)
	}
}

func TestSocketPathIsBounded(t *testing.T) {
	_, err := prepare(Options{Dir: "/" + strings.Repeat("x", 100), PodCIDR: "10.89.0.0/16"})
	if err == nil || !strings.Contains(err.Error(), "shorter --dir") {
		t.Errorf("%v", err)
	}
}

func TestMountsBelow(t *testing.T) {
	const info = "1 0 0:1 / /d/kubelet rw - ext4 x rw\n2 0 0:1 / /d/kubelet-other rw - ext4 x rw\n3 0 0:1 / /d/kubelet/pods/a\\040b rw - tmpfs x rw\n4 0 0:1 / / rw - ext4 x rw\nshort\n"
	if got := mountsBelow(info, "/d/kubelet"); !slices.Equal(got, []string{"/d/kubelet/pods/a b", "/d/kubelet"}) {
		t.Errorf("%q", got)
	}
}

// TestNobodyIsBusyWithoutPods: there is nothing below a cgroup that does not exist.
func TestNobodyIsBusyWithoutPods(t *testing.T) {
	if newMachine(t).busy() {
		t.Error("busy")
	}
}
