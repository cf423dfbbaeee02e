package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/e2e/stage"
)

const doorPlan = `cluster: {reclaimDelay: 100ms}
roles:
  default: {guarantee: {cpu: 1500m, memory: 1536Mi, disk: 1Gi}, lendGrace: 2s}
  online:  {guarantee: {cpu: 900m, memory: 512Mi}, lendGrace: 3s}
  offline: {reclaimGrace: 2s}
`

// client is the docker program with the configuration that "polder door env docker" wrote.
type client struct {
	t      testing.TB
	env    []string
	dir    string
	tool   string // polder
	engine string // where the engine itself answers
	pool   *stage.Pool
}

// newClient puts a pool of three nodes on an engine and opens its door.
func newClient(t testing.TB) *client {
	dir, remove, err := stage.TempDir("door")
	must(t, err)
	t.Cleanup(func() { must(t, remove(t.Failed())) })
	host, stop, err := stage.Engine(t.Context(), filepath.Join(dir, "engine"))
	must(t, err)
	t.Cleanup(func() { must(t, stop()) })
	programs, err := stage.Build(t.Context(), dir)
	must(t, err)
	pool, err := stage.Open(t.Context(), stage.Options{
		Dir: dir, Programs: programs, Agents: 3, Capacity: "cpu=1,memory=1Gi,disk=1Gi,gpu=1", Runtime: "docker", DockerHost: host, Plan: doorPlan,
		ServerFlags: []string{"--docker", "127.0.0.1:0"},
	})
	must(t, err)
	t.Cleanup(func() { must(t, pool.Close()) })
	c := &client{t: t, env: append(os.Environ(), "POLDER_CONTEXT="+filepath.Join(dir, "server", "context.yaml")), dir: dir, tool: programs.Polder, engine: host, pool: pool}
	return c.configured("admin")
}

// configured is a client with a configuration of its own, of whose token its environment has.
func (c *client) configured(name string, flags ...string) *client {
	c.t.Helper()
	out, code := c.run("", append([]string{c.tool, "door", "env", "docker", "--dir", filepath.Join(c.dir, name)}, flags...)...)
	words, ok := strings.CutPrefix(strings.TrimSpace(out), "export ")
	if code != 0 || !ok {
		c.t.Fatalf("door env: %d %s", code, out)
	}
	return c.with(c.t, strings.Fields(strings.ReplaceAll(words, "'", ""))...)
}

// with is the same client for another test, or with more in its environment.
func (c *client) with(t testing.TB, env ...string) *client {
	other := *c
	other.t, other.env = t, append(slices.Clone(c.env), env...)
	return &other
}

// run runs a program and returns what it said on both outputs.
func (c *client) run(stdin string, argv ...string) (string, int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.env, strings.NewReader(stdin), &out, &out
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		c.t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func (c *client) docker(args ...string) (string, int) {
	c.t.Helper()
	return c.run("", append([]string{"docker"}, args...)...)
}

// polder runs polder and returns its output; it must succeed.
func (c *client) polder(stdin string, args ...string) string {
	c.t.Helper()
	out, code := c.run(stdin, append([]string{c.tool}, args...)...)
	if code != 0 {
		c.t.Fatalf("polder %s: %d %s", strings.Join(args, " "), code, out)
	}
	return strings.TrimSpace(out)
}

// says runs docker and returns its output; it must succeed.
func (c *client) says(args ...string) string {
	c.t.Helper()
	out, code := c.docker(args...)
	if code != 0 {
		c.t.Fatalf("docker %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return strings.TrimSpace(out)
}

// until repeats a docker command until it says something.
func (c *client) until(want string, args ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	must(c.t, stage.Retry(ctx, func(context.Context) error {
		if out, _ := c.docker(args...); !strings.Contains(out, want) {
			return errors.New("docker " + strings.Join(args, " ") + " says " + out)
		}
		return nil
	}))
}

// line is one line of the transcript: what is typed, and what must come of it.
type line struct {
	typed string // words; a word of several in single quotes
	stdin string
	code  int
	want  string // part of the output
	never string // not in the output
	until bool   // it is repeated until it says that
}

const image = stage.Image

// transcript is a session at a terminal. Each line builds on those before.
var transcript = []line{
	{typed: "version --format {{.Server.Os}}", want: "linux"},
	{typed: "info", want: "Role: default"},
	{typed: "images", want: "polder/busybox"},
	{typed: "run --rm IMAGE echo hello", want: "hello"},
	{typed: "run --rm -i IMAGE cat", stdin: "over and back", want: "over and back"},
	{typed: "run --rm -i IMAGE wc -c", stdin: strings.Repeat("x", 300_000), want: "300000"},
	{typed: "run --rm IMAGE sh -c 'exit 7'", code: 7},
	{typed: "run --rm IMAGE nosuch", code: 127, want: "executable file not found"},
	{typed: "run -d --name one --memory 64m --cpus 0.2 --stop-timeout 1 IMAGE sh -c 'echo begun; exec sleep 600'"},
	{typed: "run -d --name one IMAGE true", code: 125, want: `name "/one" is already in use`},
	{typed: "ps --format '{{.Names}} {{.State}} {{.Label \"polder.role\"}} {{.Label \"polder.funding\"}}'", want: "one running default default"},
	{typed: "ps --filter name=other --format {{.Names}}", never: "one"},
	{typed: "ps --filter nosuch=1", code: 1, want: "invalid filter"},
	{typed: "logs one", want: "begun"},
	{typed: "top one", want: "sleep 600"},
	{typed: "stats --no-stream one", want: "64MiB"},
	{typed: "exec one sh -c 'echo inside; exit 3'", code: 3, want: "inside"},
	{typed: "exec -i one cat", stdin: "typed", want: "typed"},
	{typed: "cp /etc/debian_version one:/tmp/file"},
	{typed: "exec one grep -c . /tmp/file", want: "1"},
	{typed: "diff one", want: "A /tmp/file"},
	{typed: "rename one two"},
	{typed: "inspect one", code: 1, want: "No such object"},
	{typed: "inspect two --format '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{.Mounts}}'", want: "67108864 no []"},
	{typed: "pause two"},
	{typed: "ps --filter status=paused --format {{.Names}}", want: "two"},
	{typed: "unpause two"},
	{typed: "restart two"},
	{typed: "rm two", code: 1, want: "cannot remove a running container"},
	{typed: "stop two"},
	{typed: "wait two", want: "137"},
	{typed: "start two"},
	{typed: "kill two"},
	{typed: "commit two polder/kept", want: "sha256"},
	{typed: "run --rm polder/kept grep -c . /tmp/file", want: "1"},
	{typed: "tag polder/kept polder/other"},
	{typed: "rmi polder/other polder/kept", want: "Untagged: polder/kept"},
	{typed: "rm two"},
	{typed: "run --rm -v /etc:/x IMAGE true", code: 125, want: "--allow-mount /etc"},
	{typed: "run --rm --cpu-shares 2 IMAGE true", code: 125, want: "HostConfig.CpuShares: who goes first"},
	{typed: "run --rm --cpus 1.5 IMAGE true", code: 125, want: "no node could hold it even when empty"},
	{typed: "run --rm --gpus all IMAGE true", code: 125, want: "say how many"},
	{typed: "run --rm --gpus 2 IMAGE true", code: 125, want: "no node could hold it even when empty"},
	{typed: "run --rm --gpus 1 IMAGE true", code: 125, want: "could not select device driver"}, // there is none on this machine
	{typed: "run --rm --label polder.role=nosuch IMAGE true", code: 125, want: `no role "nosuch"`},
	{typed: "run --rm -e constraint:node==nosuch IMAGE true", code: 125, want: "no node with a container engine may run this"},
	{typed: "volume create data", want: "data"},
	{typed: "run --rm -v data:/d IMAGE sh -c 'echo kept > /d/file'"},
	{typed: "run --rm -v data:/d IMAGE cat /d/file", want: "kept"},
	{typed: "volume rm data", want: "data"},
	{typed: "network create net"},
	{typed: "run -d --name web --network net --stop-timeout 1 IMAGE httpd -f -p 80"},
	{typed: "run --rm --network net IMAGE wget -qO- http://web/nothing", code: 1, want: "404 Not Found"},
	{typed: "network inspect net --format '{{range .Containers}}{{.Name}}{{end}}'", want: "web"},
	{typed: "rm -f web"},
	{typed: "network rm net"},
	{typed: "build -q -t polder/built -", stdin: "FROM polder/busybox\nRUN echo made > /made\n", want: "sha256"},
	{typed: "run --rm polder/built cat /made", want: "made"},
	{typed: "rmi -f polder/built", code: 1, want: "shared by all roles"},
	{typed: "swarm init", code: 1, want: "already part of a swarm"},
	{typed: "image prune -f", want: "Total reclaimed space"},
	{typed: "system prune -f", want: "Total reclaimed space"},
	{typed: "swarm unlock-key", code: 1, want: "no unlock key is set"},
	{typed: "plugin ls --format {{.Name}}", never: "x"},
	{typed: "ps -aq", never: "x"},
}

// words splits a typed line; words of several words are in single quotes.
func (l line) words() (out []string) {
	for i, part := range strings.Split(l.typed, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(strings.ReplaceAll(part, "IMAGE", image))...)
		}
	}
	return out
}

// play types one line and compares what comes of it.
func (c *client) play(l line) {
	c.t.Helper()
	once := func(context.Context) error {
		out, code := c.run(l.stdin, append([]string{"docker"}, l.words()...)...)
		if code != l.code || !strings.Contains(out, l.want) || l.never != "" && strings.Contains(out, l.never) {
			return fmt.Errorf("docker %s: exit code %d, want %d and %q without %q\n%s", l.typed, code, l.code, l.want, l.never, out)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	err := once(ctx)
	if err != nil && l.until {
		err = stage.Retry(ctx, once)
	}
	if err != nil {
		c.t.Error(err)
	}
}

// TestDoor replays a session of the docker program, then what only a pool can do.
func TestDoor(t *testing.T) {
	c := newClient(t)
	t.Run("transcript", func(t *testing.T) {
		for _, l := range transcript {
			c.with(t).play(l)
		}
	})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *client)
	}{{"strangers", stranger}, {"certificates", certified}, {"libraries", libraries}, {"tenants", tenants}, {"create holds nothing", moved}, {"update", resized},
		{"reclaim", reclaimed}, {"sized volumes", sized}, {"shared volumes", shared}, {"services", swarmMode}} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c.with(t)) })
	}
}

// sized: a volume with a size is a lease of the pool. What one container writes the next one reads, a service's task too, on its node; while
// anything has it nobody deletes it.
func sized(t *testing.T, c *client) {
	c.says("volume", "create", "-o", "size=16m", "kept")
	if out := c.polder("", "volume", "get", "kept"); !strings.Contains(out, "16Mi") || !strings.Contains(out, "ready") {
		t.Errorf("the pool has %s", out)
	}
	directory := c.says("volume", "inspect", "-f", "{{.Mountpoint}}", "kept")
	if _, err := os.Stat(directory); err != nil {
		t.Error(err)
	}
	if out, code := c.docker("volume", "create", "-o", "size=100g", "huge"); code == 0 || !strings.Contains(out, "disk") {
		t.Errorf("without room it says %d %s", code, out)
	}
	task := []string{"--memory", "32m", "--cpus", "0.05", "-v", "kept:/data", image}
	c.says(append(append([]string{"run", "--rm"}, task...), "sh", "-c", "echo hello > /data/said")...)
	c.says(append(append([]string{"run", "-d", "--name", "holder", "--stop-timeout", "1"}, task...), "sleep", "600")...)
	if out := c.says("exec", "holder", "cat", "/data/said"); out != "hello" {
		t.Errorf("the next container reads %q", out)
	}
	if out := c.says("inspect", "holder", "--format", "{{range .Mounts}}{{if .Name}}{{.Type}} {{.Name}}{{end}}{{end}}"); out != "volume kept" {
		t.Errorf("it has %q mounted", out)
	}
	c.says("service", "create", "-q", "-d", "--name", "reader", "--mode", "replicated-job", "--no-resolve-image", "--limit-memory", "32m", "--limit-cpu", "0.05",
		"--mount", "type=volume,src=kept,dst=/data", image, "cat", "/data/said")
	c.until("hello", "service", "logs", "--raw", "reader")
	c.says("service", "rm", "reader")
	if out, code := c.docker("volume", "rm", "kept"); code == 0 || !strings.Contains(out, "in use") {
		t.Errorf("removing it while it is used says %d %s", code, out)
	}
	if out, code := c.run("", c.tool, "volume", "delete", "kept", "--yes"); code == 0 || !strings.Contains(out, "mounted by") {
		t.Errorf("so does polder: %d %s", code, out)
	}
	c.says("rm", "-f", "holder")
	for out, code := c.docker("volume", "rm", "kept"); code != 0; out, code = c.docker("volume", "rm", "kept") {
		if !strings.Contains(out, "in use") && !strings.Contains(out, "mounted by") {
			t.Fatal(out)
		}
	}
	if out := c.says("volume", "ls", "-q") + c.polder("", "volume", "list"); strings.Contains(out, "kept") {
		t.Errorf("volumes are %s", out)
	}
	if _, err := os.Stat(directory); !os.IsNotExist(err) {
		t.Errorf("its directory is there: %v", err)
	}
}

// shared: a volume that polder made is there for docker, by its name and for who has it; one that polder deletes leaves nothing in the way.
func shared(t *testing.T, c *client) {
	c.polder("", "volume", "create", "made", "--role", "default", "--size", "16Mi", "--wait")
	if out := c.says("volume", "ls", "--format", "{{.Name}} {{.Label \"polder.size\"}}"); !strings.Contains(out, "made 16Mi") {
		t.Errorf("volumes are %s", out)
	}
	write := []string{"run", "--memory", "32m", "--cpus", "0.05", "-v", "made:/data", "--name"}
	c.says(append(write, "writer", image, "sh", "-c", "echo hello > /data/said")...)
	if out, err := os.ReadFile(filepath.Join(c.says("volume", "inspect", "-f", "{{.Mountpoint}}", "made"), "said")); string(out) != "hello\n" {
		t.Errorf("in its directory is %q, %v", out, err)
	}
	if out, code := c.docker("volume", "rm", "made"); code == 0 || !strings.Contains(out, "in use") {
		t.Errorf("removing what an ended container has says %d %s", code, out)
	}
	if out := c.says("system", "df", "-v"); !strings.Contains(out, "16.78MB") {
		t.Errorf("df says %s", out)
	}
	c.says("rm", "writer")
	c.polder("", "volume", "delete", "made", "--yes")
	c.says("volume", "create", "made")
	if out := c.says(append(write, "reader", "--rm", image, "ls", "/data")...); out != "" {
		t.Errorf("in the engine's own is %s", out)
	}
	c.says("volume", "rm", "made")
}

// stranger: without a token or a certificate nothing is told.
func stranger(t *testing.T, c *client) {
	ca, err := os.ReadFile(filepath.Join(c.dir, "admin", "ca.pem"))
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600))
	nobody := c.with(t, "DOCKER_CONFIG="+dir, "DOCKER_CERT_PATH="+dir)
	if out, code := nobody.docker("ps"); code == 0 || !strings.Contains(out, "not authenticated") {
		t.Errorf("a stranger is told %d %s", code, out)
	}
}

// certified: a client that sends no token is known by its certificate, until the token is revoked; so is the docker context.
func certified(t *testing.T, c *client) {
	var made struct {
		Secret string
		Token  struct{ ID string }
	}
	must(t, json.Unmarshal([]byte(c.polder("", "token", "create", "cert", "-o", "json")), &made))
	c.polder(`permissions: [{subject: "user:cert", verbs: [view, run], role: online}]`, "access", "set", "-f", "-")
	own := c.with(t, "POLDER_TOKEN="+made.Secret).configured("cert", "--role", "online")
	bare := filepath.Join(c.dir, "bare")
	must(t, os.MkdirAll(bare, 0o700))
	headless := own.with(t, "DOCKER_CONFIG="+bare) // the certificate is found by DOCKER_CERT_PATH
	if out := headless.says("run", "-d", "--name", "proved", "--memory", "32m", "--stop-timeout", "1", image, "sleep", "600"); len(out) != 64 {
		t.Errorf("it says %q", out)
	}
	if role := headless.says("inspect", "proved", "--format", `{{index .Config.Labels "polder.role"}}`); role != "online" {
		t.Errorf("its role is %q", role)
	}
	inContext := own.with(t, "DOCKER_HOST=", "DOCKER_CERT_PATH=", "DOCKER_TLS_VERIFY=")
	if out := inContext.says("--context", "polder", "ps", "--format", "{{.Names}}"); out != "proved" {
		t.Errorf("in the context polder there is %q", out)
	}
	headless.says("rm", "-f", "proved")
	c.polder("", "token", "revoke", made.Token.ID)
	if out, code := headless.docker("ps"); code == 0 || !strings.Contains(out, "revoked") {
		t.Errorf("with a revoked token's certificate: %d %s", code, out)
	}
}

// tenants: who has one role sees and touches only that role's containers, volumes and networks, and reaches no machine.
func tenants(t *testing.T, c *client) {
	c.polder(`permissions: [{subject: "user:ann", verbs: [view, logs, run, exec], role: offline}]`, "access", "set", "-f", "-")
	words := strings.Fields(c.polder("", "token", "create", "ann")) // the secret and, on the other output, what to do with it
	token := words[slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "polder-") })]
	ann := c.with(t, "POLDER_TOKEN="+token).configured("ann", "--role", "offline")
	c.says("run", "-d", "--name", "foreign", "--memory", "64m", "--stop-timeout", "1", "-v", "secret:/s", image, "sleep", "600")
	c.says("network", "create", "foreignnet")
	if out := ann.says("run", "--rm", image, "echo", "mine"); !strings.Contains(out, "mine") {
		t.Errorf("ann's own container says %q", out)
	}
	for _, l := range []line{
		{typed: "ps -a --format {{.Names}}", never: "foreign"},
		{typed: "inspect foreign", code: 1, want: "No such object"},
		{typed: "logs foreign", code: 1, want: "No such container"},
		{typed: "exec foreign true", code: 1, want: "No such container"},
		{typed: "rm -f foreign", want: "No such container"},
		{typed: "cp foreign:/etc/passwd -", code: 1, want: "No such container"},
		{typed: "commit foreign", code: 1, want: "No such container"},
		{typed: "volume ls", never: "secret"},
		{typed: "volume rm secret", code: 1, want: "no such volume"},
		{typed: "network ls", never: "foreignnet"},
		{typed: "run --rm --network foreignnet IMAGE true", code: 125, want: "not found"},
		{typed: "run --rm --network container:foreign IMAGE true", code: 125, want: "No such container"},
		{typed: "run --rm --volumes-from foreign IMAGE true", code: 125, want: "No such container"},
		{typed: "run --rm -v secret:/s IMAGE true", code: 126, want: "may not run on role default"},
		{typed: "run --rm --label polder.role=default IMAGE true", code: 126, want: "may not run on role default"},
		{typed: "run --rm --privileged IMAGE true", code: 126, want: "HostConfig.Privileged"},
		{typed: "run --rm -v /:/x IMAGE true", code: 126, want: "may not host on role offline"},
		{typed: "run --rm --pid host IMAGE true", code: 126, want: "HostConfig.PidMode"},
	} {
		out, code := ann.run("", append([]string{"docker"}, l.words()...)...)
		if code != l.code || !strings.Contains(out, l.want) || l.never != "" && strings.Contains(out, l.never) {
			t.Errorf("docker %s: exit code %d, want %d and %q without %q\n%s", l.typed, code, l.code, l.want, l.never, out)
		}
	}
	c.says("rm", "-f", "foreign")
	c.says("network", "rm", "foreignnet")
	c.says("volume", "rm", "secret")
}

// moved: a container takes nothing until it is started, and then a lease where there is room, under the same id.
func moved(t *testing.T, c *client) {
	node := func(name string) string {
		return c.says("inspect", name, "--format", `{{index .Config.Labels "polder.node"}}`)
	}
	id := c.says("create", "--name", "late", "--memory", "64m", "--cpus", "0.4", image, "echo", "moved")
	before := node("late")
	c.says("run", "-d", "--name", "full", "--memory", "64m", "--cpus", "0.8", "-e", "constraint:node=="+before, "--stop-timeout", "1", image, "sleep", "600")
	if out := c.says("start", "-a", "late"); out != "moved" {
		t.Errorf("the moved container says %q", out)
	}
	if after := node("late"); after == before {
		t.Errorf("it ran on %s, which was full", after)
	}
	if now := c.says("inspect", "late", "--format", "{{.Id}}"); now != id {
		t.Errorf("its id was %s and is %s", id, now)
	}
	c.says("rm", "-f", "late", "full")
}

// resized: docker update changes the lease and the limits together, or neither; the next start claims the new size.
func resized(t *testing.T, c *client) {
	lease := func() string {
		res, err := c.pool.API.Tasks.List(t.Context(), connect.NewRequest(&polderv1.TaskServiceListRequest{Role: "default"}))
		must(t, err)
		if len(res.Msg.Tasks) != 1 {
			t.Fatalf("%d tasks run", len(res.Msg.Tasks))
		}
		return res.Msg.Tasks[0].Resources["cpu"] + " " + res.Msg.Tasks[0].Resources["memory"]
	}
	limits := func() string {
		return c.says("inspect", "sized", "--format", "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}")
	}
	c.says("run", "-d", "--name", "sized", "--memory", "64m", "--cpus", "0.2", "--stop-timeout", "1", image, "sleep", "600")
	for _, step := range []struct{ change, code, want, lease, limits string }{
		{"--cpus 0.5 --memory 96m --memory-swap 192m", "0", "", "0.5 96Mi", "500000000 100663296"},
		{"--cpus 1.2", "1", "cannot become larger", "0.5 96Mi", "500000000 100663296"},
		{"--memory 128m --memory-swap 100m", "1", "memoryswap", "0.5 96Mi", "500000000 100663296"},
		{"--cpu-shares 5", "1", "CpuShares: who goes first", "0.5 96Mi", "500000000 100663296"},
		{"--restart always", "1", "RestartPolicy.Name: it is what", "0.5 96Mi", "500000000 100663296"},
		{"--cpus 0.1", "0", "", "0.1 96Mi", "100000000 100663296"},
	} {
		out, code := c.docker(append(append([]string{"update"}, strings.Fields(step.change)...), "sized")...)
		if fmt.Sprint(code) != step.code || !strings.Contains(out, step.want) || lease() != step.lease || limits() != step.limits {
			t.Errorf("docker update %s: exit code %d, lease %s, limits %s; want %+v\n%s", step.change, code, lease(), limits(), step, out)
		}
	}
	c.says("stop", "sized")
	c.says("update", "--cpus", "0.3", "sized")
	c.says("start", "sized")
	if lease() != "0.3 96Mi" || limits() != "300000000 100663296" {
		t.Errorf("started again it leases %s within %s", lease(), limits())
	}
	c.says("rm", "-f", "sized")
}

// reclaimed: a borrower is told, leaves, and comes back when there is room again.
func reclaimed(t *testing.T, c *client) {
	for _, name := range []string{"b1", "b2", "b3"} {
		c.says("run", "-d", "--name", name, "--restart", "always", "--label", "polder.role=offline", "--memory", "64m", "--cpus", "0.9", "--stop-timeout", "1",
			image, "sh", "-c", "trap 'cat /polder/notice.json; exit 0' TERM; while :; do sleep 0.1; done")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := exec.CommandContext(ctx, "docker", "events", "--filter", "event=reclaim", "--format", "{{.Actor.Attributes.name}} {{.Actor.Attributes.claimant}} {{.Actor.Attributes.state}}")
	var seen bytes.Buffer
	watch.Env, watch.Stdout = c.env, &seen
	must(t, watch.Start())
	began := time.Now()
	c.says("run", "-d", "--name", "owner", "--label", "polder.role=online", "--memory", "64m", "--cpus", "0.9", "--stop-timeout", "1", image, "sleep", "600")
	t.Logf("the owner's container ran %v after it was asked for", time.Since(began).Round(10*time.Millisecond))
	cancel()
	_ = watch.Wait() // it was ended
	if !strings.Contains(seen.String(), "online") || !strings.HasPrefix(seen.String(), "b") {
		t.Errorf("docker events --filter event=reclaim says %q", seen.String())
	}
	if n := strings.Count(c.says("ps", "--format", "{{.Names}}"), "b"); n != 2 {
		t.Errorf("%d borrowers run, want 2", n)
	}
	victim := seen.String()[:2]
	if out := c.says("logs", victim); !strings.Contains(out, `"claimant"`) {
		t.Errorf("the borrower read no notice: %q", out)
	}
	c.says("rm", "-f", "owner")
	c.until("running", "inspect", victim, "--format", "{{.State.Status}}")
	c.says("rm", "-f", "b1", "b2", "b3")
}
