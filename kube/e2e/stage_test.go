//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// upstream builds the programs of Kubernetes' own tests, if they are to run, and returns what their images are made of.
var upstream func(*world) []string

const patience = 3 * time.Minute

// world is a pool with two agents and a Kubernetes on it, all of them programs, on a network of its own.
type world struct {
	t     *testing.T
	dir   string
	bin   string
	place []string // the beginning of a command that enters the network

	programs map[string]*program
}

// program is one that runs.
type program struct {
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it has
	err     error         // how, then
	crashed bool          // by the test
}

// settle gives a network namespace an address and a way out, which leads nowhere: a kubelet wants to know its node's address.
const settle = `set -e
busybox ip link set lo up
busybox ip link add out type bridge
busybox ip addr add 192.0.2.1/24 dev out
busybox ip link set out up
busybox ip route add default dev out
echo settled
read -r end || true`

func newWorld(t *testing.T) *world {
	w := prepareWorld(t)
	w.start("pool", "The pool is up", "polder", "up", "--kube", "--agents", "2", "--dir", w.data(), "--runtime", "process", "--listen", "127.0.0.1:7800", "--mesos", "", "--docker", "")
	w.startKubernetes()
	return w
}

// prepareWorld builds the programs and makes the network, in which nothing runs yet.
func prepareWorld(t *testing.T) *world {
	for _, missing := range []struct{ file, pkg string }{{"/usr/lib/cni/bridge", "containernetworking-plugins"}, {"/usr/bin/containerd", "containerd"}} {
		if _, err := os.Stat(missing.file); err != nil {
			t.Fatalf("%v: apt-get install %s", err, missing.pkg)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "polder-kube-") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, bin: filepath.Join(dir, "bin"), programs: map[string]*program{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("everything is kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Errorf("what is left: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.build()
	w.enter()
	return w
}

func (w *world) startKubernetes() {
	w.t.Helper()
	w.start("kubernetes", "Kubernetes is up", w.kube()[0], "up", "--dir", w.data(), "--images", filepath.Join(w.dir, "images"), "--sandbox-image", "localhost/pause:1", "--unsafe-no-sync")
}

func (w *world) data() string   { return filepath.Join(w.dir, "d") }
func (w *world) kube() []string { return []string{filepath.Join(w.bin, "polder-kube"), "kubectl"} }

// enter makes the network. It is there until the test ends.
func (w *world) enter() {
	w.t.Helper()
	cmd := exec.Command("unshare", "--net", "sh", "-c", settle)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("the network: %v", err)
		}
	})
	if word, err := bufio.NewReader(out).ReadString('\n'); word != "settled\n" {
		w.t.Fatalf("no network for the test: %v", err)
	}
	w.place = []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", cmd.Process.Pid), "--"}
}

// build builds the programs and the images.
func (w *world) build() {
	w.t.Helper()
	images := filepath.Join(w.dir, "images")
	for _, d := range []string{w.bin, images, w.data()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	flags := "-s -w " + versionFlags(w.t)
	for _, b := range []struct{ dir, pkg string }{{"../..", "./cmd/polder"}, {"..", "./cmd/polder-kube"}, {"..", "./e2e/stock"}, {"..", "./e2e/pause"}, {"..", "./e2e/web"}, {"..", "./e2e/images"}} {
		cmd := exec.Command("go", "build", "-ldflags", flags, "-o", w.bin+"/", b.pkg)
		cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Fatalf("building %s: %v\n%s", b.pkg, err, out)
		}
	}
	args := []string{filepath.Join(w.bin, "pause"), filepath.Join(w.bin, "web"), images}
	if upstream != nil {
		args = append(args, upstream(w)...)
	}
	if out, err := exec.Command(filepath.Join(w.bin, "images"), args...).CombinedOutput(); err != nil {
		w.t.Fatalf("images: %v\n%s", err, out)
	}
}

// versionFlags are for the linker, as in the Makefile: Kubernetes' programs say their version, and kubectl compares it.
func versionFlags(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
	version := strings.TrimSpace(string(out))
	numbers := strings.Split(version, ".")
	if err != nil || len(numbers) != 3 {
		t.Fatalf("the version of Kubernetes: %v, %q", err, version)
	}
	const pkg = "-X k8s.io/component-base/version."
	return pkg + "gitVersion=" + version + " " + pkg + "gitMajor=1 " + pkg + "gitMinor=" + numbers[1]
}

// start runs a program until the test ends, and waits for a word in its log.
func (w *world) start(name, word, file string, args ...string) {
	w.t.Helper()
	log := filepath.Join(w.dir, name+".log")
	f, err := os.Create(log)
	if err != nil {
		w.t.Fatal(err)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(w.bin, file)
	}
	args = slices.Concat(w.place[1:], []string{file}, args)
	cmd := exec.Command(w.place[0], args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = f, f, w.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p := &program{cmd: cmd, ended: make(chan struct{})}
	go func() { p.err = cmd.Wait(); close(p.ended) }()
	w.programs[name] = p
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if <-p.ended; p.err != nil && !p.crashed {
			w.t.Errorf("%s ended: %v", name, p.err)
		}
		f.Close()
	})
	w.await(name, func() (string, bool) {
		data, _ := os.ReadFile(log)
		return string(data), strings.Contains(string(data), word)
	})
}

// crash kills a program.
func (w *world) crash(name string) {
	w.t.Helper()
	p := w.programs[name]
	p.crashed = true
	if err := p.cmd.Process.Kill(); err != nil {
		w.t.Fatal(err)
	}
	<-p.ended
}

// run runs a command of a user and returns what it says.
func (w *world) run(command ...string) (string, error) {
	var all bytes.Buffer
	err := w.exec(&all, &all, command...)
	return all.String(), err
}

// output is what a command prints, without what it says about it.
func (w *world) output(command ...string) (string, error) {
	var out bytes.Buffer
	err := w.exec(&out, io.Discard, command...)
	return out.String(), err
}

func (w *world) exec(stdout, stderr io.Writer, command ...string) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.place[0], slices.Concat(w.place[1:], command)...)
	cmd.Env = append(os.Environ(), "POLDER_CONTEXT="+filepath.Join(w.data(), "context.yaml"), "KUBECONFIG="+filepath.Join(w.data(), "kube/admin.kubeconfig"))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd.Run()
}

func (w *world) must(command ...string) string {
	w.t.Helper()
	out, err := w.run(command...)
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return out
}

func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	return w.must(append(w.kube(), args...)...)
}

func (w *world) polder(args ...string) string {
	w.t.Helper()
	return w.must(append([]string{filepath.Join(w.bin, "polder")}, args...)...)
}

// await tries until it is so; what it saw last is in the failure.
func (w *world) await(what string, try func() (saw string, ok bool)) {
	w.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		saw, ok := try()
		if ok {
			return
		}
		if time.Now().After(until) {
			w.t.Fatalf("%s: not within %v; last:\n%s", what, patience, saw)
		}
	}
}

// awaitSays waits until a command's answer has a word.
func (w *world) awaitSays(word string, command ...string) {
	w.t.Helper()
	w.await(fmt.Sprintf("%q in what %s says", word, strings.Join(command, " ")), func() (string, bool) {
		out, err := w.run(command...)
		return out, err == nil && strings.Contains(out, word)
	})
}

// deploy applies a Deployment of pods that serve until they are told to end.
func (w *world) deploy(namespace, name string, replicas int, cpu string) {
	w.t.Helper()
	w.deployCommand(namespace, name, replicas, cpu, "trap 'exit 0' TERM; echo serving; while :; do sleep 0.1; done")
}

// deployCommand applies a Deployment of pods that run a command of the shell.
func (w *world) deployCommand(namespace, name string, replicas int, cpu, command string) {
	w.t.Helper()
	w.apply(deployment(namespace, name, replicas, cpu, command), "deployment.apps/"+name)
}

// apply applies a text, once its namespace is there.
func (w *world) apply(text, says string) {
	w.t.Helper()
	file := filepath.Join(w.dir, strings.ReplaceAll(says, "/", "-")+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.awaitSays(says, append(w.kube(), "apply", "-f", file)...) // its namespace comes with its role
}

func deployment(namespace, name string, replicas int, cpu, command string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      terminationGracePeriodSeconds: 4
      containers:
      - name: main
        image: localhost/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, "%[5]s"]
        resources: {requests: {cpu: %[4]s, memory: 16Mi}}
`, namespace, name, replicas, cpu, command)
}
