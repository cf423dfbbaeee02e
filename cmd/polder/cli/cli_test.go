package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	polderv1 "polder.dev/polder/api/polder/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// result is what one command did.
type result struct {
	code     int
	out, err string
}

// command is one invocation against a fake.
type command struct {
	ctx   context.Context
	env   map[string]string
	stdin string
}

func (c command) run(args ...string) result {
	var out, errOut bytes.Buffer
	a := newApp(Main{Streams: Streams{In: strings.NewReader(c.stdin), Out: &out, Err: &errOut}, Getenv: func(k string) string { return c.env[k] }})
	a.poll, a.now = time.Millisecond, func() time.Time { return noon }
	if c.ctx == nil {
		c.ctx = context.Background()
	}
	code := a.run(c.ctx, args)
	return result{code, out.String(), errOut.String()}
}

func (f *fake) env() map[string]string {
	return map[string]string{"POLDER_ADDR": f.url, "POLDER_CA": f.ca, "POLDER_TOKEN": secret}
}

func (f *fake) run(args ...string) result { return command{env: f.env()}.run(args...) }

// TestGolden compares the output of many commands with files in testdata.
func TestGolden(t *testing.T) {
	t.Chdir(plans(t))
	for name, args := range map[string]string{
		"node-list":        "node list",
		"node-list-wide":   "node list -o wide",
		"node-list-json":   "node list -o json --state ready",
		"node-list-yaml":   "node list -o yaml --state unreachable",
		"node-list-name":   "node list -o name",
		"node-list-bare":   "node list --no-headers",
		"node-get":         "node get node-2",
		"volume-list":      "volume list",
		"volume-list-wide": "volume ls -o wide",
		"volume-get":       "volume get pg-data",
		"volume-create":    "volume create scratch --role corp/offline --size 5Gi --label team=ml",
		"volume-wait":      "volume create scratch --role corp/offline --size 5Gi --wait",
		"reservation-list": "reservation list",
		"reservation-wide": "reservation ls -o wide",
		"reservation-json": "reservation list -o json",
		"reservation-get":  "reservation get pg",
		"reservation-make": "reservation create hot --role corp/offline --cpu 2 --memory 4Gi --resource licence=1 --label team=ml",
		"reservation-wait": "reservation create hot --role corp/offline --cpu 2 --wait",
		"role-tree":        "role tree",
		"role-tree-cpu":    "role tree --resource cpu -o wide",
		"role-tree-under":  "role tree corp/offline",
		"role-tree-name":   "role tree -o name",
		"waste":            "waste",
		"waste-role":       "waste corp/offline --since 5m --resource cpu",
		"waste-wide":       "waste -o wide",
		"waste-json":       "waste -o json --since 1h",
		"role-get":         "role get corp/offline",
		"ps":               "ps",
		"ps-all-wide":      "ps --all -o wide",
		"ps-state":         "ps --state leaving,pending",
		"task-get":         "task get count-2.0",
		"task-get-short":   "task get web -o json",
		"lease":            "lease",
		"lease-borrowed":   "lease list --borrowed -o wide",
		"notice-list":      "notice list",
		"event":            "event",
		"event-json":       "event -o json",
		"ask-list":         "ask list -o wide",
		"ask-get":          "ask get web",
		"why":              "why web",
		"why-yaml":         "why web-1 -o yaml",
		"plan-get":         "plan get",
		"plan-preview":     "plan preview -f good.yaml",
		"plan-preview-at":  "plan preview --at 2026-03-02T22:00:00Z",
		"plan-diff":        "plan diff -f good.yaml",
		"plan-diff-text":   "plan diff 3 4",
		"plan-show":        "plan show --at 2026-11-11T00:00",
		"plan-history":     "plan history",
		"token-list":       "token list",
		"access-get":       "access get",
		"access-get-yaml":  "access get -o yaml",
		"access-whoami":    "access whoami",
		"logs":             "logs count-1.0",
		"audit":            "audit --last 3",
		"audit-wide":       "audit --outcome denied -o wide",
		"door-list":        "door list",
		"door-frameworks":  "door frameworks",
		"top":              "top",
		"top-queue":        "top queue",
		"ask-submit-table": "ask submit --role corp/offline --name idx --count 3 --cpu 2 --memory 1Gi -- sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			r := f.run(strings.Fields(args)...)
			got := fmt.Sprintf("$ polder %s\n%s", args, r.out)
			if r.err != "" {
				got += "--- stderr\n" + strings.ReplaceAll(r.err, f.url, "HOST")
			}
			if r.code != 0 {
				t.Errorf("exit code %d", r.code)
			}
			golden(t, name, strings.ReplaceAll(got, f.url, "HOST"))
		})
	}
}

// testdata is absolute, because tests change the working directory.
var testdata = func() string {
	p, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	return p
}()

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join(testdata, name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// plans is a directory with a good and a bad plan.
func plans(t *testing.T) string {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good.yaml"), "roles: {corp: {}}\n")
	write(t, filepath.Join(dir, "bad.yaml"), "roles: {bad: {}}\n")
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExit checks codes, the why and the next step of what can go wrong.
func TestExit(t *testing.T) {
	t.Chdir(plans(t))
	write(t, "typo.yaml", "role: corp\ntask:\n  comand: [x]\n")
	for _, c := range []struct {
		args string
		code int
		err  string
		env  map[string]string
	}{
		{"node get node-9", exitNotFound, "polder node get: node \"node-9\" does not exist\n  next: \"polder node list\" shows", nil},
		{"task get c", exitUsage, "task \"c\" is not unique: count-1.0, count-2.0\n  next: Write more", nil},
		{"task get zzz", exitNotFound, "no task \"zzz\"\n  next: \"polder ps --all\" shows", nil},
		{"ps --state runing", exitUsage, "--state \"runing\": choose from pending, starting", nil},
		{"ps -o xml", exitUsage, "choose one of table, wide, json, yaml, name", nil},
		{"ps --colour", exitUsage, "unknown flag: --colour", nil},
		{"ps extra", exitUsage, "next: \"polder ps --help\"", nil},
		{"nodes", exitUsage, "unknown command \"nodes\"; did you mean node?", nil},
		{"node drian", exitUsage, "did you mean drain?", nil},
		{"run --cpu 1 -- x", exitUsage, "which role? Give --role", nil},
		{"run --role r", exitUsage, "nothing to run", nil},
		{"run --role r --cpu lots -- x", exitUsage, "resources: cpu", nil},
		{"ask submit -f typo.yaml", exitUsage, "typo.yaml:3: task.comand: unknown field; did you mean \"command\"?", nil},
		{"ask submit -f typo.yaml --cpu 1", exitUsage, "not both: --cpu", nil},
		{"ask submit -f missing.yaml", exitError, "missing.yaml: no such file", nil},
		{"plan validate -f bad.yaml", exitUsage, "error: line 3, roles[\"corp\"].guarantee.cpu: children have 9", nil},
		{"plan validate", exitUsage, "which plan? Give -f", nil},
		{"plan apply -f good.yaml", exitUsage, "Nobody is here to answer\n  next: Repeat it with --yes", nil},
		{"plan apply -f good.yaml --yes --base-revision 6", exitConflict, "not at revision 6 any more; nothing was changed\n  next: See what changed", nil},
		{"plan show --at teatime", exitUsage, "--at \"teatime\": write", nil},
		{"plan diff one", exitUsage, "revision \"one\" is not a number", nil},
		{"node remove node-3", exitUsage, "--yes", nil},
		{"node remove node-2 --yes", exitConflict, "node node-2 has 1 volume and 1 reservation\n  next: Bring it back, or say that they are lost", nil},
		{"reservation get none", exitNotFound, "\"polder reservation list\" shows", nil},
		{"reservation create x --cpu 1", exitUsage, "which role? Give --role", nil},
		{"reservation create x --role r", exitUsage, "how much? Give --cpu, ", nil},
		{"reservation create x --role r --resource gpu/cpu=1", exitUsage, "name the pool with --pool", nil},
		{"reservation resize x", exitUsage, "how much? Give --cpu, ", nil},
		{"reservation rm pg", exitUsage, "What pg keeps will be anybody's. Delete it? Nobody is here", nil},
		{"volume get none", exitNotFound, "\"polder volume list\" shows", nil},
		{"volume create x --size 1Gi", exitUsage, "which role? Give --role", nil},
		{"volume create x --role r", exitUsage, "how large? Give --size", nil},
		{"volume create x --role r --size 1Gi --label y", exitUsage, "--label \"y\": write key=value", nil},
		{"volume resize x", exitUsage, "how large? Give --size", nil},
		{"volume rm pg-data", exitUsage, "What is in pg-data will be gone for good. Delete it? Nobody is here", nil},
		{"access can-i admin corp", exitDenied, "no: user:eve may not admin on role corp", nil},
		{"access set -f typo.yaml", exitUsage, "typo.yaml:1: role: unknown field", nil},
		{"server --store etcd", exitUsage, "needs --etcd-endpoints", nil},
		{"server --node-lost-after -1s", exitUsage, "want a time, such as 5m", nil},
		{"server --etcd-ca x", exitUsage, "need --store etcd, not embedded", nil},
		{"up --agents 0", exitUsage, "--agents must be at least 1", nil},
		{"up", exitError, "built without \"up\"", nil},
		{"agent --server h:1 --attr zone", exitUsage, "--attr \"zone\": write key=value", nil},
		{"agent --server h:1 --ports 9-1", exitUsage, "--ports: ports \"9-1\"", nil},
		{"exec -t count-1.0 -- sh", exitUsage, "not a terminal", nil},
		{"exec count-1.0 --", exitUsage, "no command after --", nil},
		{"completion tcsh", exitUsage, "invalid argument \"tcsh\"", nil},
		{"ps", exitDenied, "unknown token\n  next: Set POLDER_TOKEN", map[string]string{"POLDER_TOKEN": "wrong"}},
		{"ps", exitError, "nothing listens at 127.0.0.1:1\n  next: Is the server running?", map[string]string{"POLDER_ADDR": "127.0.0.1:1"}},
		{"ps", exitError, "not from the cluster's CA\n  next: Give the right CA", map[string]string{"POLDER_CA": ""}},
		{"ps", exitUsage, "Polder speaks only TLS", map[string]string{"POLDER_ADDR": "http://127.0.0.1:1"}},
		{"ps", exitUsage, "is not an address", map[string]string{"POLDER_ADDR": "user@host/path"}},
		{"ps", exitUsage, "which server?", map[string]string{"POLDER_ADDR": ""}},
		{"ps", exitError, "holds no PEM certificate", map[string]string{"POLDER_CA": "typo.yaml"}},
		{"ps --token-file missing", exitError, "token file: open missing", nil},
	} {
		f := newFake(t)
		env := f.env()
		for k, v := range c.env {
			env[k] = v
		}
		r := command{env: env}.run(strings.Fields(c.args)...)
		if r.code != c.code || !strings.Contains(r.err, c.err) {
			t.Errorf("polder %s: exit %d, want %d with %q; stderr:\n%s", c.args, r.code, c.code, c.err, r.err)
		}
	}
}

// TestServerErrors checks the exit code and that there is a next step for every code a server can answer.
func TestServerErrors(t *testing.T) {
	f := newFake(t)
	want := map[connect.Code]int{
		connect.CodeInvalidArgument: exitUsage, connect.CodeOutOfRange: exitUsage, connect.CodeNotFound: exitNotFound,
		connect.CodePermissionDenied: exitDenied, connect.CodeUnauthenticated: exitDenied, connect.CodeAborted: exitConflict,
		connect.CodeAlreadyExists: exitConflict, connect.CodeFailedPrecondition: exitConflict, connect.CodeDeadlineExceeded: exitTimeout,
		connect.CodeResourceExhausted: exitError, connect.CodeUnavailable: exitError, connect.CodeUnimplemented: exitError,
		connect.CodeInternal: exitError, connect.CodeUnknown: exitError, connect.CodeDataLoss: exitError,
	}
	for code, exit := range want {
		f.onCall = func(string, int) error { return connect.NewError(code, errors.New("the reason")) }
		r := f.run("lease")
		if r.code != exit || !strings.Contains(r.err, "the reason") || !strings.Contains(r.err, "next: ") {
			t.Errorf("%s: exit %d, want %d; stderr:\n%s", code, r.code, exit, r.err)
		}
	}
}

func TestRequestTimeout(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	f.onCall = func(string, int) error { <-release; return nil }
	r := f.run("ps", "--request-timeout", "20ms")
	if r.code != exitTimeout {
		t.Errorf("exit %d, want %d: %s", r.code, exitTimeout, r.err)
	}
}

// TestPlainServer: something that is not TLS at the other end is named as such.
func TestPlainServer(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	r := command{env: map[string]string{"POLDER_ADDR": strings.TrimPrefix(srv.URL, "http://")}}.run("ps")
	if r.code != exitError || !strings.Contains(r.err, "does not speak TLS") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// TestTree walks all commands: each says what it is and shows how to use it, each flag is described.
func TestTree(t *testing.T) {
	root := newApp(Main{}).root()
	count := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		count++
		if c.Short == "" || c.Example == "" || !strings.Contains(c.Example, "polder") {
			t.Errorf("%s: needs Short and an Example", c.CommandPath())
		}
		if strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short ends with a stop", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if len(f.Usage) < 5 || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: usage %q", c.CommandPath(), f.Name, f.Usage)
			}
		})
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(root)
	if count < 45 {
		t.Errorf("only %d commands", count)
	}
}

// TestExamples parses the flags of every example that stays on one line.
func TestExamples(t *testing.T) {
	var walk func(c *cobra.Command)
	var lines []string
	walk = func(c *cobra.Command) {
		lines = append(lines, strings.Split(c.Example, "\n")...)
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(newApp(Main{}).root())
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "polder" || strings.ContainsAny(line, "'|>\"") {
			continue
		}
		cmd, rest, err := newApp(Main{}).root().Find(words[1:])
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil && cmd.Args != nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestCompletion(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct{ args, want string }{
		{"node get \"\"", "node-1 node-2 node-3"},
		{"node drain node-1 \"\"", ""},
		{"ps --role corp/o", "corp/offline corp/offline/night corp/online"},
		{"ps --node \"\"", "node-1 node-2 node-3"},
		{"ps -o \"\"", "table wide json yaml name"},
		{"kill count", "count-1.0 count-2.0"},
		{"why w", "web-1.0 web-1"},
		{"ask cancel \"\"", "count-1 web-1"},
		{"notice done \"\"", "count-2.0"},
		{"token revoke t", "tok1 tic2"},
		{"access can-i \"\"", "view logs run exec host plan node token admin"},
		{"access can-i run pl", "play"},
		{"completion z", "zsh"},
	} {
		r := f.run(append([]string{"__completeNoDesc"}, strings.Fields(strings.ReplaceAll(c.args, `""`, " "))...)...)
		if strings.HasSuffix(c.args, `""`) {
			r = f.run(append(append([]string{"__completeNoDesc"}, strings.Fields(strings.TrimSuffix(c.args, `""`))...), "")...)
		}
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		if got := strings.Join(lines[:len(lines)-1], " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := f.run("completion", shell); r.code != 0 || len(r.out) < 500 {
			t.Errorf("completion %s: exit %d, %d bytes", shell, r.code, len(r.out))
		}
	}
}

// TestCompletionWithoutServer: the Tab key must neither fail nor hang.
func TestCompletionWithoutServer(t *testing.T) {
	r := command{env: map[string]string{"POLDER_ADDR": "127.0.0.1:1"}}.run("__completeNoDesc", "node", "get", "")
	if r.code != 0 || strings.TrimSpace(r.out) != ":4" {
		t.Errorf("exit %d: %q", r.code, r.out)
	}
}

func TestProcessesGetTheirOptions(t *testing.T) {
	var up UpOptions
	var srv ServerOptions
	var agent AgentOptions
	m := Main{Getenv: func(k string) string { return map[string]string{"POLDER_JOIN_TOKEN": "tok"}[k] }}
	m.Up = func(_ context.Context, _ Streams, o UpOptions) error { up = o; return nil }
	m.Server = func(_ context.Context, _ Streams, o ServerOptions) error { srv = o; return nil }
	m.Agent = func(_ context.Context, _ Streams, o AgentOptions) error { agent = o; return nil }
	for _, line := range []string{
		"up",
		"server --store etcd --etcd-endpoints https://a:1,https://b:1 --advertise x.example.com",
		"join --server h:7070 --attr zone=a --capacity cpu=2,memory=1Gi --ports 100-200 --runtime process",
	} {
		if code := m.Run(context.Background(), strings.Fields(line)); code != 0 {
			t.Errorf("%s: exit %d", line, code)
		}
	}
	if up.Dir != ".polder" || up.Agents != 3 || up.Listen != "127.0.0.1:7070" {
		t.Errorf("up: %+v", up)
	}
	if srv.Listen != "127.0.0.1:7070" || len(srv.Etcd.Endpoints) != 2 || srv.Store != "etcd" {
		t.Errorf("server: %+v", srv)
	}
	if agent.Token != "tok" || agent.Attributes["zone"] != "a" || agent.Capacity.String() != "cpu=2,memory=1Gi" || agent.Ports.Len() != 101 {
		t.Errorf("agent: %+v", agent)
	}
}

func TestWrites(t *testing.T) {
	t.Chdir(plans(t))
	f := newFake(t)
	write(t, "access.yaml", "revision: 8\npermissions:\n  - {subject: \"user:bob\", verbs: [view], role: corp}\n")
	for _, c := range []struct{ args, out string }{
		{"node cordon node-1 node-2", "node-1 is cordoned, with 2 tasks\nnode-2 is cordoned, with 1 task, 1 volume and 1 reservation\n"},
		{"node uncordon node-1", "node-1 is ready, with 2 tasks\n"},
		{"node drain node-1 --deadline 10m", "node-1 is draining, with 2 tasks to leave in 10m\n"},
		{"node remove node-3 --yes", "node-3 is forgotten\n"},
		{"node drain node-2", "node-2 is draining, with 1 task to leave in 5m\n1 volume on it will stay; see polder volume list --node node-2\n1 reservation on it will stay; see polder reservation list --node node-2\n"},
		{"node remove node-2 --yes --lose-volumes", "node-2 is forgotten\n"},
		{"reservation resize pg --cpu 3", "pg has cpu=3,disk=50Gi\n"},
		{"reservation rm --yes pg cache", "pg is deleted\ncache is deleted\n"},
		{"volume resize pg-data --size 20Gi", "pg-data has 20Gi\n"},
		{"volume rm --yes pg-data models", "pg-data is deleted\nmodels is deleted\n"},
		{"kill web count-1", "web-1.0 is stopping\ncount-1.0 is stopping\n"},
		{"ask cancel web", "1 withdrawn, 1 stopping\n"},
		{"notice done count-2.0", "notice to count-2.0 is done: - for corp/online: web-1\n"},
		{"notice release count-2 cpu=1", "notice to count-2.0 is open: cpu=1 for corp/online: web-1\n"},
		{"token create --join rack", "polder-join-s3cret\n"},
		{"token revoke tok", "tok1 is revoked\n"},
		{"access can-i view corp", "yes\n"},
		{"plan validate -f good.yaml", "the plan is good\n"},
		{"plan apply -f good.yaml --yes", "applied as revision 8\n"},
		{"access set -f access.yaml", "1 rules set, revision 9\n"},
	} {
		r := f.run(strings.Fields(c.args)...)
		if r.code != 0 || !strings.HasSuffix(r.out, c.out) {
			t.Errorf("polder %s: exit %d\n%s%swant %s", c.args, r.code, r.out, r.err, c.out)
		}
	}
}

func TestPlanDryRunChangesNothing(t *testing.T) {
	t.Chdir(plans(t))
	f := newFake(t)
	if r := f.run("plan", "apply", "-f", "good.yaml", "--dry-run"); r.code != 0 || f.revision != 7 {
		t.Errorf("exit %d, revision %d: %s", r.code, f.revision, r.err)
	}
}

func TestSubmitRefused(t *testing.T) {
	f := newFake(t)
	f.refuse = &polderv1.Reason{Code: "OverLimit", Message: "corp needs cpu=9, its limit is cpu=8", UnblockedBy: "a higher limit"}
	r := command{env: f.env(), stdin: "role: corp\ntask: {command: [x]}\n---\nrole: corp\ntask: {command: [y], resources: {cpu: 9}}\n"}.run("ask", "submit", "-f", "-", "--dry-run", "-o", "name")
	if r.code != exitConflict || r.out != "ask-1\n" || !strings.Contains(r.err, "ask 2 (role corp) was refused (OverLimit): corp needs cpu=9, its limit is cpu=8\n  next: A higher limit.") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	if got := f.submitted[0]; !got.DryRun || len(got.Asks) != 2 || got.Asks[1].Task.Resources["cpu"] != "9" {
		t.Errorf("submitted %v", got)
	}
}

// TestSubmitMixed: some asks are queued and some are not; the command says which to repeat, and how to exit.
func TestSubmitMixed(t *testing.T) {
	for code, want := range map[string]int{"InvalidArgument": exitUsage, "NotFound": exitNotFound, "Impossible": exitConflict, "Recovering": exitError} {
		f := newFake(t)
		f.refuse = &polderv1.Reason{Code: code, Message: "no"}
		stdin := "role: corp\ntask: {command: [x]}\n---\nrole: corp\nname: big\ntask: {command: [y], resources: {cpu: 9}}\n"
		r := command{env: f.env(), stdin: stdin}.run("ask", "submit", "-f", "-", "-o", "name")
		if r.code != want || r.out != "ask-1\n" || !strings.Contains(r.err, "ask 2 (big, role corp)") || !strings.Contains(r.err, "The 1 above are queued: repeat only the refused ones") {
			t.Errorf("%s: exit %d\n%s%s", code, r.code, r.out, r.err)
		}
	}
}

// TestNamesMustExist: a list narrowed to a misspelt name is an error and not an empty list.
func TestNamesMustExist(t *testing.T) {
	f := newFake(t)
	for _, line := range []string{"ps --role nosuch", "ps --node nosuch", "ps --ask nosuch", "role tree nosuch"} {
		if r := f.run(strings.Fields(line)...); r.code != exitNotFound {
			t.Errorf("%s: exit %d\n%s%s", line, r.code, r.out, r.err)
		}
	}
}

func TestInputThatCannotBe(t *testing.T) {
	f := newFake(t)
	if r := (command{env: f.env(), stdin: "roles: {\xff: {}}"}).run("plan", "validate", "-f", "-"); r.code != exitUsage || !strings.Contains(r.err, "not UTF-8") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := f.run("ask", "submit", "--role", "corp", "--count", "0", "--", "x"); r.code != exitUsage || !strings.Contains(r.err, "--count") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
