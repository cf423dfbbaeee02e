package start

import (
	"log/slog"
	"maps"
	"path/filepath"

	"polder.dev/polder/agent"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/cgroup"
	"polder.dev/polder/agent/runtime/kube"
	"polder.dev/polder/cmd/polder/cli"
)

// kubeFile names what agents of "polder up" start for pods; empty when they are to run none.
func kubeFile(o cli.UpOptions) string {
	if !o.Kube {
		return ""
	}
	return filepath.Join(o.Dir, cli.KubeFile)
}

// podLogs is where a kubelet keeps pods' output unless it is told otherwise.
const podLogs = "/var/log/pods"

// openKube opens the runtime for pods: of a kubelet that others run, or of one that offers what the agent does.
func openKube(log *slog.Logger, tree *cgroup.Tree, o cli.AgentOptions) (runtime.Runtime, error) {
	if o.Kubelet != "" {
		return kube.New(kube.Options{Node: o.Node, Kubelet: o.Kubelet, Output: podLogs, State: filepath.Join(o.Dir, "kube"), Tree: tree, Logger: log})
	}
	whole, err := agent.Detect(o.Dir)
	if err != nil {
		return nil, err
	}
	maps.Copy(whole, o.Capacity)
	file, err := filepath.Abs(o.Kube)
	if err != nil {
		return nil, err
	}
	return kube.New(kube.Options{
		Node: o.Node, Config: file, State: filepath.Join(o.Dir, "kube"), Tree: tree,
		CPU: int64(whole["cpu"]), MemoryBytes: int64(whole["memory"]), Logger: log,
	})
}
