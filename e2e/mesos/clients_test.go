package mesos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/e2e/stage"
)

// theClients are programs of mesos-go, which the module in clients pins.
var theClients = []string{"example-executor", "example-scheduler", "msh", "mwatch"}

// patience bounds every step of the tests.
const patience = 90 * time.Second

// pool is a "polder up" with a Mesos door.
type pool struct {
	dir, polder, addr, token string
}

// start starts a pool and builds the clients. A tool that is missing fails the test.
func start(t *testing.T) *pool {
	t.Helper()
	p := startPool(t)
	for _, name := range theClients {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", p.dir+"/", "github.com/mesos/mesos-go/api/v1/cmd/"+name)
		cmd.Dir = "clients"
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // msh speaks with the terminal through C: a C compiler must be there
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
	}
	return p
}

// startPool builds Polder and starts a pool.
func startPool(t *testing.T) *pool {
	t.Helper()
	dir, remove, err := stage.TempDir("mesos")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(t.Failed()); err != nil {
			t.Error(err)
		}
	})
	programs, err := stage.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{dir: dir, polder: programs.Polder}
	p.up(t)
	return p
}

// up starts "polder up" and waits until its door is there.
func (p *pool) up(t *testing.T) {
	home := filepath.Join(p.dir, "up")
	cmd := exec.Command(p.polder, "up", "--dir", home, "--agents", "2", "--listen", "127.0.0.1:0", "--mesos", ownLoopback()+":5050", "--runtime", "process")
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			t.Errorf("polder up: %v\n%s", err, out.String())
		}
	})
	await(t, "the pool is up", func() bool { return strings.Contains(out.String(), "The pool is up") })
	p.addr, p.token = read(t, filepath.Join(home, "mesos.addr")), read(t, filepath.Join(home, "admin.token"))
}

// ownLoopback is an address of this machine that nobody else uses: msh knows agents at port 5051 alone.
func ownLoopback() string {
	n := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+n>>16&0x7f, n>>8&0xff, 1+n%250)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// await polls for what only another process can bring about.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// run runs a client to its end, with its token in the environment, and returns what it wrote.
func (p *pool) run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, name), args...)
	cmd.Env = append(os.Environ(), "POLDER_TOKEN="+p.token)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestRealClients runs the clients one after the other on one pool.
func TestRealClients(t *testing.T) {
	p := start(t)
	t.Run("example-scheduler", func(t *testing.T) { exampleScheduler(t, p) })
	t.Run("msh and mwatch", func(t *testing.T) { shellAndWatch(t, p) })
	t.Run("msh on a terminal", func(t *testing.T) { shellOnTerminal(t, p) })
	t.Run("msh on a terminal, with a pod", func(t *testing.T) { shellOnTerminal(t, p, "-pod") })
	t.Run("mesos-framework", func(t *testing.T) { nodeFramework(t, p) })
	t.Run("no token", func(t *testing.T) { withoutToken(t, p) })
}

// exampleScheduler runs mesos-go's example: a custom executor, fetched from the scheduler's own server, and five tasks on
// it, in both encodings.
func exampleScheduler(t *testing.T, p *pool) {
	secret := filepath.Join(p.dir, "secret")
	if err := os.WriteFile(secret, []byte(p.token), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, codec := range []string{"protobuf", "json"} {
		// It ends with an error even when all went well: its own context, canceled.
		out, _ := p.run(t, "example-scheduler", "-url", "http://"+p.addr+"/api/v1/scheduler", "-codec", codec, "-authmode", "basic",
			"-credentials.username", "admin", "-credentials.passwordFile", secret, "-executor", filepath.Join(p.dir, "example-executor"), "-exec.image", "",
			"-cpu", "0.05", "-tasks", "5", "-server.address", "127.0.0.1", "-verbose")
		if !strings.Contains(out, "mission accomplished") || strings.Count(out, "is in state TASK_FINISHED") < 5 {
			t.Errorf("%s: the mission was not accomplished:\n%s", codec, out)
		}
	}
}

// shellAndWatch runs mesos-go's shell, as a command and as a pod, while its watcher looks on. Neither can send credentials.
func shellAndWatch(t *testing.T, p *pool) {
	host, port, _ := strings.Cut(p.addr, ":")
	ctx, cancel := context.WithCancel(t.Context())
	watch := exec.CommandContext(ctx, filepath.Join(p.dir, "mwatch"), "-master", host, "-port", port)
	watch.Env = append(os.Environ(), "POLDER_TOKEN="+p.token)
	var seen syncBuffer
	watch.Stdout, watch.Stderr = &seen, &seen
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = watch.Wait() // it is killed
	}()
	for _, args := range [][]string{{}, {"-pod"}} {
		args = append(append([]string{"-master", p.addr, "-cpus", "0.05"}, args...), "--", "/bin/echo", "hello")
		if out, err := p.run(t, "msh", args...); err != nil || !strings.Contains(out, "TASK_FINISHED") {
			t.Errorf("msh %v: %v\n%s", args, err, out)
		}
	}
	out, err := p.run(t, "msh", "-master", p.addr, "-cpus", "0.05", "--", "/bin/false")
	if err == nil || !strings.Contains(out, "TASK_FAILED") {
		t.Errorf("msh of a command that fails: %v\n%s", err, out)
	}
	await(t, "mwatch sees a task finish", func() bool {
		return strings.Contains(seen.String(), "TASK_UPDATED") && strings.Contains(seen.String(), "TASK_FINISHED") && strings.Contains(seen.String(), "FRAMEWORK_ADDED")
	})
}

// nodeFramework runs a scheduler of the npm package mesos-framework: one task with a port.
func nodeFramework(t *testing.T, p *pool) {
	dir := filepath.Join(p.dir, "node")
	if err := os.CopyFS(dir, os.DirFS("node")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o755); err != nil { // the package's own log
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, args := range [][]string{{"npm", "ci", "--no-audit", "--no-fund"}, {"node", "scheduler.js", p.addr}} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "POLDER_TOKEN="+p.token)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}

// withoutToken: who shows no token, or a wrong one, gets nothing.
func withoutToken(t *testing.T, p *pool) {
	for _, secret := range []string{"", "wrong"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.addr+"/state", nil)
		if err != nil {
			t.Fatal(err)
		}
		if secret != "" {
			r.SetBasicAuth("admin", secret)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("with secret %q the answer is %s", secret, res.Status)
		}
	}
}
