package node

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"polder.dev/polder/kube/network"
	"polder.dev/polder/kube/port"
)

// containerdConfig is a configuration for a containerd of this node's own. The score that makes the kernel spare a process may
// not be lowered by everybody; where it may not, containers start without.
func (n *machine) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`, n.path("containerd"), n.path("containerd-state"), n.socket, n.path("containerd-opt"), n.Sandbox, n.CNI, n.path("cni"))
}

// network is CNI's configuration: one bridge for all nodes of this machine.
func (n *machine) network() string {
	type object = map[string]any
	data, _ := json.MarshalIndent(object{
		"cniVersion": "0.4.0", "name": "polder",
		"plugins": []object{
			{"type": "bridge", "bridge": network.Bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
				"ipam": object{"type": "host-local", "ranges": [][]object{{{"subnet": n.PodCIDR}}}, "routes": []object{{"dst": "0.0.0.0/0"}}}},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
			{"type": "firewall"},
		},
	}, "", "  ") // of plain values: never fails
	return string(data)
}

// kubeletConfig is the kubelet's configuration. What the machine has beyond the node's part is reserved.
func (n *machine) kubeletConfig() ([]byte, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, err
	}
	free, err := port.Free()
	if err != nil {
		return nil, err
	}
	reservedCPU := max(0, int64(runtime.NumCPU())*1000-n.MilliCPU)
	reservedMemory := max(0, int64(uint64(info.Totalram)*uint64(info.Unit))-n.MemoryBytes)
	c := kubeletv1beta1.KubeletConfiguration{
		TypeMeta:                 metav1.TypeMeta{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"},
		ContainerRuntimeEndpoint: "unix://" + n.socket,
		CgroupDriver:             "cgroupfs", CgroupRoot: n.Cgroup, FailCgroupV1: new(false), FailSwapOn: new(false),
		Port: int32(free), HealthzPort: new(int32(0)), PodLogsDir: n.path("logs"), VolumePluginDir: n.path("plugins"),
		RotateCertificates: true, MakeIPTablesUtilChains: new(false), SerializeImagePulls: new(false),
		ClusterDomain:  network.Domain,
		SystemReserved: map[string]string{"cpu": fmt.Sprintf("%dm", reservedCPU), "memory": fmt.Sprint(reservedMemory)},
		// Leases bound memory: pods of less than their requests are not sent away for the machine's sake.
		EvictionHard: map[string]string{"nodefs.available": "1%", "imagefs.available": "1%"},
	}
	c.Authentication.X509.ClientCAFile = n.path("ca.crt")
	c.Authentication.Anonymous.Enabled, c.Authentication.Webhook.Enabled = new(false), new(true)
	c.Authorization.Mode = kubeletv1beta1.KubeletAuthorizationModeWebhook
	if n.Images != "" { // what came from an archive cannot be pulled again
		c.ImageGCHighThresholdPercent, c.ImageGCLowThresholdPercent = new(int32(100)), new(int32(99))
	}
	if n.DNS != "" {
		c.ClusterDNS = strings.Split(n.DNS, ",")
	}
	return yaml.Marshal(c)
}
