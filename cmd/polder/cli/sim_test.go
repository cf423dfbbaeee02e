package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polder.dev/polder/sim"
)

const tinyScenario = `name: tiny
start: 2026-03-02T10:00
end: +10m
nodes: [{name: n, count: 1, capacity: {cpu: 4}}]
plan: {roles: {a: {guarantee: {cpu: 2}}}}
work: [{name: w, role: a, kind: batch, resources: {cpu: 1}, duration: 1m, every: 1m}]
expect: [{name: it is busy, measure: usage.cpu, at: +5m, least: 1}]
`

// TestSim plays scenarios from files: what holds, what does not, what cannot run, and the ways to print it.
func TestSim(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tiny.yaml")
	write(t, file, tinyScenario)
	if r := (command{}).run("sim", "run", file, "--out", filepath.Join(dir, "r.html"), "--trace", filepath.Join(dir, "trace")); r.code != 0 || !strings.Contains(r.out, "it is busy") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, name := range []string{"r.html", "trace"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(data) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
	var report sim.Report
	if r := (command{}).run("sim", "run", file, "-o", "json", "--seed", "9"); json.Unmarshal([]byte(r.out), &report) != nil || report.Seed != 9 {
		t.Errorf("the report is %s", r.out)
	}
	if r := (command{}).run("sim", "run", file, "--seeds", "3"); r.code != 0 || !strings.Contains(r.out, "tiny: 3 of 3 seeds held") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := (command{}).run("sim", "compare", file); r.code != 0 || !strings.Contains(r.out, "static") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	write(t, file, strings.Replace(tinyScenario, "least: 1", "least: 3", 1))
	if r := (command{}).run("sim", "run", file); r.code != exitError || !strings.Contains(r.err, "1 of 1 expectations did not hold") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := (command{}).run("sim", "run", file, "--seeds", "2"); r.code != exitError || !strings.Contains(r.err, "2 of 2 seeds failed") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	write(t, file, strings.Replace(tinyScenario, "kind: batch", "kind: batch, colour: red, size: big", 1))
	if r := (command{}).run("sim", "run", file); r.code != exitUsage || !strings.Contains(r.err, "\n    line 6: work[0].colour: unknown field \"colour\"") ||
		!strings.Contains(r.err, "\n    line 6: work[0].size") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := (command{}).run("sim", "run", "nothing"); r.code != exitNotFound {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// TestSimRefuses sees that what cannot be played is refused before anything is, with the reason.
func TestSimRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.csv")
	write(t, empty, "")
	trace := []string{"sim", "trace", empty, "--nodes", empty}
	for want, args := range map[string][]string{
		"--seeds 0: play at least one":           {"sim", "run", "day-night", "--seeds", "0"},
		"there is no directory /nonexistent":     {"sim", "run", "day-night", "--out", "/nonexistent/r.html"},
		"--seeds -1, --jobs 1: play":             {"sim", "random", "--seeds", "-1"},
		"--seeds 1, --jobs 0: play":              {"sim", "random", "--seeds", "1", "--jobs", "0"},
		"--node-share 0: keep a part":            append(trace, "--node-share", "0"),
		"--skip -5s: begin with the trace":       append(trace, "--skip", "-5s"),
		"--turn 0s: decide at most":              append(trace, "--turn", "0s"),
		"empty.csv:1: no line with the names":    trace,
		"the first line names them":              trace,
		"there is no scenario and no file \"x\"": {"sim", "compare", "x"},
	} {
		if r := (command{}).run(args...); r.code != exitUsage && r.code != exitNotFound || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit %d: %s", args, r.code, r.err)
		}
	}
}

// TestSimTrace reads a trace with a broken line both ways.
func TestSimTrace(t *testing.T) {
	dir := t.TempDir()
	pods, nodes := filepath.Join(dir, "pods.csv"), filepath.Join(dir, "nodes.csv")
	write(t, nodes, "sn,cpu_milli,memory_mib,gpu,model\nn1,4000,8192,0,\n")
	write(t, pods, "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"+
		"p1,1000,1024,0,0,,LS,Running,0,60,0\np2,much,1024,0,0,,LS,Running,0,60,0\n")
	if r := (command{}).run("sim", "trace", pods, "--nodes", nodes); r.code != exitUsage || !strings.Contains(r.err, `pods.csv:3: cpu_milli is "much"`) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	r := command{}.run("sim", "trace", pods, "--nodes", nodes, "--on-error", "skip")
	if r.code != 0 || !strings.Contains(r.err, "pods.csv:3") || !strings.Contains(r.err, "1 broken lines were left out") || !strings.Contains(r.out, "ls") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// TestRecordAndReplay records the fake cluster, replays it under another plan and proves something of it.
func TestRecordAndReplay(t *testing.T) {
	f := newFake(t)
	file := filepath.Join(t.TempDir(), "recording.json")
	if r := f.run("debug", "record", "--out", file); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := sim.ReadRecording(data)
	if err != nil || len(rec.Nodes) == 0 || len(rec.Asks) == 0 || len(rec.Events) == 0 {
		t.Fatalf("%v: %d nodes, %d asks, %d events", err, len(rec.Nodes), len(rec.Asks), len(rec.Events))
	}
	write(t, file, strings.Replace(string(data), sim.RecordingFormat, "polder-recording/0", 1))
	if r := f.run("plan", "verify", "a gets cpu=1 within 1m in 2026", "--from", file); r.code != exitUsage || !strings.Contains(r.err, `the format "polder-recording/0"`) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	rec.Plan = "roles:\n"
	seen := map[string]bool{}
	for _, a := range rec.Asks {
		if !seen[a.Role] {
			rec.Plan += "  " + a.Role + ": {guarantee: {cpu: 1}}\n"
		}
		seen[a.Role] = true
	}
	data, _ = json.Marshal(rec)
	write(t, file, string(data))
	plan := filepath.Join(t.TempDir(), "plan.yaml")
	write(t, plan, rec.Plan)
	if r := f.run("plan", "replay", plan, "--from", file); r.code != 0 || !strings.Contains(r.out, "core-hours as recorded") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	statement := rec.Asks[0].Role + " gets cpu=1 within 5m at any time in 2026"
	if r := f.run("plan", "verify", statement, "--plan", plan); r.code != 0 || !strings.HasPrefix(r.out, "proven") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.run("plan", "verify", strings.Replace(statement, "cpu=1 ", "cpu=2 ", 1), "--plan", plan); r.code != exitError || !strings.Contains(r.out, "is guaranteed cpu=1") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}
