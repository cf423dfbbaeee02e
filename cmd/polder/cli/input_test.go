package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	polderv1 "polder.dev/polder/api/polder/v1"
)

const fullAsk = `
name: idx
role: corp/search
count: 4
gang: true
task:
  image: "python:3"
  command: [python, -c, "print(1)"]
  env: {MODE: fast, N: 3, ON: yes}
  mounts: [{source: /data, target: /d, readOnly: true}, {volume: pg-data, target: /v}]
  resources: {cpu: 0.5, memory: 4Gi}
  ports: [{name: http, containerPort: 80}]
  constraints: ["zone==a"]
  reservation: pg
  spread: [{attribute: zone, maxSkew: 1, required: true}]
  preemptible: false
  reclaimGrace: 1m30s
  notice: {signal: SIGUSR1}
  health: {http: "http://127.0.0.1:{port:http}/", interval: 5s, failures: 2}
  kill: {grace: 20s}
  restart: {policy: on-failure, maxAttempts: 3}
  maxRunTime: 1h
`

const fullFlags = `--name idx --role corp/search --count 4 --gang --image python:3 --env MODE=fast --env N=3 --env ON=yes
 --mount /data:/d:ro --volume pg-data:/v --cpu 0.5 --memory 4Gi --port http:80 --constraint zone==a --reservation pg --spread zone,required --no-preempt
 --grace 90s --notice-signal SIGUSR1 --health-http http://127.0.0.1:{port:http}/ --health-interval 5s --health-failures 2
 --kill-grace 20s --restart on-failure:3 --max-runtime 1h -- python -c print(1)`

// TestFileAndFlagsAgree submits the same ask in both forms.
func TestFileAndFlagsAgree(t *testing.T) {
	f := newFake(t)
	if r := f.run(append([]string{"ask", "submit"}, strings.Fields(fullFlags)...)...); r.code != 0 {
		t.Fatal(r.err)
	}
	if r := (command{env: f.env(), stdin: fullAsk}).run("ask", "submit", "-f", "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	if d := cmp.Diff(f.submitted[0].Asks, f.submitted[1].Asks, protocmp.Transform()); d != "" {
		t.Errorf("(-flags +file)\n%s", d)
	}
}

func TestDecodeStrict(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"role: r\nrole: s\n", "f:2: role: given twice"},
		{"role: r\ntask:\n  resurces: {cpu: 1}\n", `f:3: task.resurces: unknown field; did you mean "resources"?`},
		{"role: r\ntask: {max_run_time: 1s}\n", `f:2: task.max_run_time: unknown field; did you mean "maxRunTime"?`},
		{"role: r\nzebra: 1\n", "f:2: zebra: unknown field"},
		{"role: r\ncount: many\n", `f:2: count: "many" is not a valid uint32`},
		{"role: r\ncount: -1\n", `f:2: count: "-1" is not a valid uint32`},
		{"role: r\ngang: \"true\"\n", `f:2: gang: "true" is not a valid bool`},
		{"role: r\nrole2:\n", "f:2: role2: unknown field"},
		{"role:\n", "f:1: role: has no value"},
		{"role: [a]\n", "f:1: role: want string, not a list"},
		{"role: r\ntask: {command: ls}\n", `f:2: task.command: want a list, not "ls"`},
		{"role: r\ntask: {command: [ls, null]}\n", "f:2: task.command[1]: want string, not nothing"},
		{"role: r\ntask: {env: {a: 1, a: 2}}\n", "f:2: task.env.a: given twice"},
		{"role: r\ntask: {mounts: [{source: a, to: b}]}\n", "f:2: task.mounts[0].to: unknown field"},
		{"role: r\ntask: {reclaimGrace: soon}\n", `f:2: task.reclaimGrace: want a duration such as 30s or 5m, not "soon"`},
		{"role: r\ntask: 3\n", `f:2: task: want fields, not "3"`},
		{"- role: r\n", "f:1: want fields, not a list"},
		{"? [a]\n: b\n", "f:1: a field's name must be a word"},
		{"role: r\n---\nrole: s\nx: 1\n", "f:4: x: unknown field"},
		{"role: {\n", "f: line"},
		{"", "f: no asks in it"},
		{"asks: []\n", "f: no asks in it"},
		{"asks: [{role: r}]\ndryRun: true\n", "dryRun and idempotencyKey are flags"},
	} {
		_, err := decodeAsks("f", strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestDecodeForms(t *testing.T) {
	for _, text := range []string{
		"role: a\n---\nrole: b\n",
		"asks:\n- role: a\n- role: b\n",
		`{"asks": [{"role": "a"}, {"role": "b"}]}`,
		"---\n# nothing here\n---\nrole: a\n---\nrole: b\n...\n",
	} {
		asks, err := decodeAsks("f", strings.NewReader(text))
		if err != nil || len(asks) != 2 || asks[0].Role != "a" || asks[1].Role != "b" {
			t.Errorf("%q: %v %v", text, asks, err)
		}
	}
}

// TestAliasBomb: a short text must not become a huge message.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("asks:\n- &a\n  role: r\n  task:\n    command: &c [" + strings.TrimSuffix(strings.Repeat("x,", 1000), ",") + "]\n")
	for range 1000 {
		b.WriteString("- *a\n")
	}
	if _, err := decodeAsks("f", strings.NewReader(b.String())); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func FuzzDecodeAsks(f *testing.F) {
	for _, s := range []string{"role: r\ntask: {env: {a: 1}}", "role: r\n", "asks: [{role: r}]", `{"role":"r"}`, "a: &a [*a]", "role: r\n---\n", "? x", "<<: {role: r}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		asks, err := decodeAsks("file", strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "file") {
				t.Errorf("error does not name the file: %v", err)
			}
			return
		}
		for _, a := range asks {
			if _, err := proto.Marshal(a); err != nil {
				t.Errorf("accepted what cannot be sent: %v", err)
			}
		}
	})
}

// TestDecodeAgreesWithJSON: what the API's own JSON encoder writes is read back as the same ask.
func TestDecodeAgreesWithJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~]{0,8}`)
		ask := &polderv1.AskSpec{
			Name: word.Draw(t, "name"), Role: word.Draw(t, "role"), Count: rapid.Uint32().Draw(t, "count"), Gang: rapid.Bool().Draw(t, "gang"),
			Task: &polderv1.TaskSpec{
				Command: rapid.SliceOfN(word, 0, 3).Draw(t, "command"), Env: rapid.MapOfN(word, word, 0, 3).Draw(t, "env"),
				Priority: rapid.Int32().Draw(t, "priority"), MaxRunTime: given(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "max")) * time.Millisecond),
				Preemptible: proto.Bool(rapid.Bool().Draw(t, "preemptible")),
			},
		}
		data, err := protojson.Marshal(ask)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAsks("f", strings.NewReader(string(data)))
		if err != nil || len(got) != 1 || !proto.Equal(got[0], ask) {
			t.Fatalf("%s: %v %v", data, got, err)
		}
	})
}

func TestSpecErrors(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--mount /data", `--mount "/data": write source:target`},
		{"--mount /a:/b:rx", "--mount"},
		{"--volume pg-data", `--volume "pg-data": write name:target`},
		{"--port =80", `--port "=80": write name`},
		{"--port http=0", "--port"},
		{"--port http=80/sctp", "--port"},
		{"--port http=70000", "--port"},
		{"--env MODE", `--env "MODE": write key=value`},
		{"--env A=1 --env A=2", "--env: A is given twice"},
		{"--resource pool/cpu=1", "name the pool with --pool"},
		{"--resource Licence=1", "Licence"},
		{"--memory 4Q", "memory"},
		{"--spread =1", "--spread"},
		{"--spread zone=0", "--spread"},
		{"--restart sometimes", "choose never"},
		{"--restart on-failure:0", "1 or more"},
		{"--restart always:3", "choose never"},
		{"--health-interval 5s", "need --health-cmd"},
		{"--health-cmd x --health-tcp y:1", "give one of"},
	} {
		args := append(append([]string{"ask", "submit", "--role", "r"}, strings.Fields(c.args)...), "--", "x")
		r := command{env: map[string]string{"POLDER_ADDR": "127.0.0.1:1"}}.run(args...)
		if r.code != exitUsage || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: exit %d, %s", c.args, r.code, r.err)
		}
	}
}

func TestPortForms(t *testing.T) {
	for text, want := range map[string]*polderv1.Port{
		"http":          {Name: "http"},
		"http=8080":     {Name: "http", HostPort: 8080},
		"http:80":       {Name: "http", ContainerPort: 80},
		"http=8080:80":  {Name: "http", HostPort: 8080, ContainerPort: 80},
		"dns=53:53/udp": {Name: "dns", HostPort: 53, ContainerPort: 53, Protocol: "udp"},
	} {
		got, err := parsePort(text)
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
}

// TestContext checks the order in which a context file is found, and that paths in it are relative to it.
func TestContext(t *testing.T) {
	f := newFake(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := errors.Join(os.MkdirAll(".polder", 0o755), os.MkdirAll("config/polder", 0o755), os.MkdirAll("named", 0o755)); err != nil {
		t.Fatal(err)
	}
	write(t, "named/token", secret+"\n")
	write(t, "named/ca.pem", f.ca)
	use := func(path string, c Context) {
		t.Helper()
		if err := c.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	wrong := Context{Server: "127.0.0.1:1"}
	good := Context{Server: f.url, CA: f.ca, TokenFile: filepath.Join(dir, "named/token")}
	env := map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "config")}

	use("config/polder/context.yaml", good)
	if r := (command{env: env}).run("access", "whoami"); r.code != 0 {
		t.Errorf("user's config: %s", r.err)
	}
	use(".polder/context.yaml", wrong)
	if r := (command{env: env}).run("access", "whoami"); r.code != exitError || !strings.Contains(r.err, "127.0.0.1:1") {
		t.Errorf("working directory: exit %d %s", r.code, r.err)
	}
	use("named/context.yaml", Context{Server: f.url, CA: "ca.pem", TokenFile: "token"})
	env["POLDER_CONTEXT"] = "named/context.yaml"
	if r := (command{env: env}).run("access", "whoami"); r.code != 0 {
		t.Errorf("named: %s", r.err)
	}
	env["POLDER_TOKEN"] = "wrong"
	if r := (command{env: env}).run("access", "whoami"); r.code != exitDenied {
		t.Errorf("POLDER_TOKEN goes before the file: exit %d", r.code)
	}
	if r := (command{env: env}).run("access", "whoami", "--token-file", "named/token"); r.code != 0 {
		t.Errorf("--token-file goes before POLDER_TOKEN: %s", r.err)
	}
	env["POLDER_CONTEXT"] = "nowhere.yaml"
	if r := (command{env: env}).run("access", "whoami"); r.code != exitError || !strings.Contains(r.err, "nowhere.yaml") {
		t.Errorf("named but missing: exit %d %s", r.code, r.err)
	}
}

// TestForeignContext: a context file that others can write decides nothing just by lying in the working directory.
func TestForeignContext(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir(".polder", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, ".polder/context.yaml", "server: evil:1\n")
	if err := os.Chmod(".polder/context.yaml", 0o644); err != nil {
		t.Fatal(err)
	}
	r := command{env: map[string]string{"POLDER_TOKEN": secret}}.run("ps")
	if r.code != exitDenied || !strings.Contains(r.err, "not private to you") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestContextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "context.yaml")
	if _, err := ReadContext(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	want := Context{Server: "h:1", CA: "-----BEGIN CERTIFICATE-----\nx\n", TokenFile: "/t"}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadContext(path); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	for text, want := range map[string]string{"server: h\nport: 1\n": "unknown field \"port\"", "ca: x\n": "no server", "server: [": "context.yaml"} {
		write(t, path, text)
		if _, err := ReadContext(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 35 * time.Second: "35s", 2 * time.Minute: "2m", 10 * time.Minute: "10m", 90 * time.Second: "1m30s", time.Hour: "1h", 70 * time.Minute: "1h10m", 36000 * time.Second: "10h", 3605 * time.Second: "1h0m5s", 1500 * time.Millisecond: "1.5s"} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if got := amounts(map[string]string{"zz": "1", "memory": "2Gi", "cpu": "1", "gpu/cpu": "3", "aa": "4"}); got != "cpu=1,memory=2Gi,aa=4,zz=1,gpu/cpu=3" {
		t.Error(got)
	}
	if got := clean("a\x1b[31m\tb\u202ec"); got != "a [31m b c" {
		t.Errorf("%q", got)
	}
}

// TestDiffLines: the diff contains both texts in order, and no more changes than needed for equal ones.
func TestDiffLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 8)
		a, b := lines.Draw(t, "a"), lines.Draw(t, "b")
		var left, right []string
		changes := 0
		for _, l := range diffLines(a, b) {
			if l[0] != '+' {
				left = append(left, l[2:])
			}
			if l[0] != '-' {
				right = append(right, l[2:])
			}
			if l[0] != ' ' {
				changes++
			}
		}
		if !cmp.Equal(left, a, cmpEmpty) || !cmp.Equal(right, b, cmpEmpty) {
			t.Fatalf("%v %v: %v %v", a, b, left, right)
		}
		if best := len(a) + len(b) - 2*commonLengths(a, b)[0][0]; changes != best {
			t.Fatalf("%d changes, want %d", changes, best)
		}
	})
}

// cmpEmpty makes no lines and nil lines the same.
var cmpEmpty = cmp.Transformer("len", func(s []string) [2]any { return [2]any{len(s), strings.Join(s, "\n")} })
