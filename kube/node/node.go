package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/tools/clientcmd"

	"polder.dev/polder/kube/network"
)

const (
	startLimit = time.Minute
	stopLimit  = 20 * time.Second // between SIGTERM and SIGKILL of a child
	lookEvery  = 50 * time.Millisecond
	// mostPath is the longest path that a socket can have.
	mostPath = 107
)

// Options say what the node is. The agent gives the first five; the others come from the control plane's file.
type Options struct {
	Name        string // the node's name in the pool
	Dir         string // everything of it
	Cgroup      string // parent of the pods' cgroups, as "/polder/n1/.kube"
	MilliCPU    int64  // what pods may have in all
	MemoryBytes int64

	Join       string // kubeconfig with a token to join with
	Containerd string // socket of a running containerd with CRI; empty: one of its own is started
	Sandbox    string // image of the containers that hold pods' namespaces
	Images     string // directory of image archives to load at the start; empty is none
	PodCIDR    string // range of the pods' addresses on this machine
	CNI        string // directory of CNI's plugins
	DNS        string // address of the cluster's DNS; empty is the machine's own, or none with a containerd that is not ours

	Logger *slog.Logger
}

// child is a program that runs as long as the node does.
type child struct {
	name  string
	cmd   *exec.Cmd
	ended chan error
}

// Run runs the node until ctx is done, which is no error, or one of its programs ends, which is.
func Run(ctx context.Context, o Options) error {
	n, err := prepare(o)
	if err != nil {
		return err
	}
	defer n.leaveNetwork()
	defer n.stop()
	if o.Containerd == "" {
		if err := n.startContainerd(ctx); err != nil {
			return err
		}
	}
	if err := n.loadImages(ctx); err != nil {
		return err
	}
	if err := n.startKubelet(); err != nil {
		return err
	}
	defer n.joinNetwork(ctx)()
	defer background(ctx, n.watchExits)()
	o.Logger.Info("the kubelet runs", "node", o.Name)
	return n.wait(ctx)
}

// joinNetwork takes part in the machine's network of pods until the function that it returns is called.
func (n *machine) joinNetwork(ctx context.Context) (leave func()) {
	return background(ctx, func(ctx context.Context) {
		err := network.Run(ctx, network.Options{
			Node: strings.ToLower(n.Name), Kubeconfig: n.path("kubelet.kubeconfig"), PodCIDR: n.PodCIDR, Own: n.Containerd == "", Logger: n.Logger,
		})
		if err != nil {
			n.Logger.Error("there is no network of pods", "error", err)
		}
	})
}

// background runs something until the function that it returns is called, which waits for its end.
func background(ctx context.Context, run func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	return func() { cancel(); <-done }
}

// leaveNetwork comes after everything else has ended.
func (n *machine) leaveNetwork() {
	ctx, cancel := context.WithTimeout(context.Background(), purgeLimit)
	defer cancel()
	if err := network.Clean(ctx); err != nil {
		n.Logger.Warn("the rules of the network of pods could not be removed", "error", err)
	}
}

type machine struct {
	Options
	socket   string
	children []*child // in the order they were started
}

func prepare(o Options) (*machine, error) {
	gateway, err := network.Gateway(o.PodCIDR)
	if err != nil {
		return nil, err
	}
	n := &machine{Options: o, socket: o.Containerd}
	if n.socket == "" {
		n.socket = filepath.Join(o.Dir, "containerd.sock")
		n.DNS = cmp.Or(o.DNS, gateway.Addr().String())
	}
	if len(n.socket) > mostPath {
		return nil, fmt.Errorf("socket %s has more than %d characters: give the agent a shorter --dir", n.socket, mostPath)
	}
	for _, dir := range []string{"", "cni", "kubelet", "pki", "logs", "plugins"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	join, err := clientcmd.LoadFromFile(o.Join)
	if err != nil {
		return nil, fmt.Errorf("%w; is polder-kube up running with this directory?", err)
	}
	for _, c := range join.Clusters {
		if err := os.WriteFile(n.path("ca.crt"), c.CertificateAuthorityData, 0o644); err != nil {
			return nil, err
		}
	}
	return n, errors.Join(os.WriteFile(n.path("cni", "10-polder.conflist"), []byte(n.network()), 0o644),
		os.WriteFile(n.path("containerd.toml"), []byte(n.containerdConfig()), 0o644))
}

func (n *machine) path(parts ...string) string {
	return filepath.Join(append([]string{n.Dir}, parts...)...)
}

// start runs a program that ends with this one, however this one ends.
func (n *machine) start(name, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c := &child{name, cmd, make(chan error, 1)}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	go func() { c.ended <- cmd.Wait() }()
	n.children = append(n.children, c)
	return nil
}

func (n *machine) startContainerd(ctx context.Context) error {
	program, err := exec.LookPath("containerd")
	if err != nil {
		return fmt.Errorf("%w; install containerd, or name a running one's socket with --containerd", err)
	}
	if err := n.start("containerd", program, "--config", n.path("containerd.toml"), "--log-level", "warn"); err != nil {
		return err
	}
	return n.awaitSocket(ctx)
}

// awaitSocket waits until containerd answers.
func (n *machine) awaitSocket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c := n.children[len(n.children)-1]
	for {
		conn, err := net.Dial("unix", n.socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-c.ended:
			c.ended <- err
			return fmt.Errorf("containerd ended: %v; its log is above", err)
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer at %s: %w", n.socket, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

// loadImages loads the archives of a directory into the kubelet's part of containerd.
func (n *machine) loadImages(ctx context.Context) error {
	if n.Images == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(n.Images, "*.tar"))
	if err != nil {
		return err
	}
	for _, f := range files {
		out, err := exec.CommandContext(ctx, "ctr", "-a", n.socket, "-n", "k8s.io", "images", "import", f).CombinedOutput()
		if err != nil {
			return fmt.Errorf("loading image %s: %w: %s", f, err, out)
		}
	}
	return nil
}

// startKubelet starts the kubelet that is in this program.
func (n *machine) startKubelet() error {
	config, err := n.kubeletConfig()
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.path("kubelet.yaml"), config, 0o644); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"kubelet", "--config=" + n.path("kubelet.yaml"), "--kubeconfig=" + n.path("kubelet.kubeconfig"),
		"--bootstrap-kubeconfig=" + n.Join, "--hostname-override=" + n.Name, "--root-dir=" + n.path("kubelet"), "--cert-dir=" + n.path("pki")}
	// Without an address the kubelet looks the node's name up, and where no name server answers nobody can look into a pod for ten seconds.
	if ip, err := utilnet.ChooseHostInterface(); err == nil {
		args = append(args, "--node-ip="+ip.String())
	}
	return n.start("kubelet", exe, args...)
}

// wait returns when ctx is done or a child has ended.
func (n *machine) wait(ctx context.Context) error {
	ended := make(chan error, len(n.children))
	for _, c := range n.children {
		go func() {
			err := <-c.ended
			c.ended <- err
			ended <- fmt.Errorf("%s ended: %v; its log is above", c.name, err)
		}()
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// stop ends the children, the last one first. Between the kubelet and containerd it removes what pods that ended have left.
func (n *machine) stop() {
	for i := len(n.children) - 1; i >= 0; i-- {
		c := n.children[i]
		if c.name == "containerd" {
			if err := n.purge(); err != nil {
				n.Logger.Warn("what ended pods have left could not be removed", "error", err)
			}
		}
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // one that has ended is fine
		select {
		case <-c.ended:
		case <-time.After(stopLimit):
			_ = c.cmd.Process.Kill()
			<-c.ended
		}
	}
}
