package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopLimit is what kube-proxy gets to end.
const stopLimit = 5 * time.Second

// proxy runs the kube-proxy that is in this program until ctx is done; it ends by itself never.
func (s *server) proxy(ctx context.Context) error {
	cmd, err := kubeProxy(ctx, "--kubeconfig="+s.Kubeconfig, "--hostname-override="+s.Node, "--proxy-mode=iptables", "--cluster-cidr="+s.PodCIDR,
		"--healthz-bind-address=", "--metrics-bind-address=",
		// The machine's own settings of connections stay as they are.
		"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s")
	if err != nil {
		return err
	}
	if err := cmd.Run(); ctx.Err() == nil {
		return fmt.Errorf("kube-proxy ended: %v; its log is above", err)
	}
	return ctx.Err()
}

// kubeProxy is a command that ends with this process, however it ends.
func kubeProxy(ctx context.Context, args ...string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, append([]string{"kube-proxy"}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	return cmd, nil
}

// cleanProxy takes away every rule that kube-proxy has made.
func cleanProxy(ctx context.Context) error {
	cmd, err := kubeProxy(ctx, "--cleanup")
	if err != nil {
		return err
	}
	return cmd.Run()
}
