package sim

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

const podsHead = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
const nodesHead = "sn,cpu_milli,memory_mib,gpu,model\n"

// unzip reads a file of testdata.
func unzip(t *testing.T, name string) io.Reader {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// TestOpenb plays the last four weeks of the openb trace on one node of a hundred, with lending and without.
func TestOpenb(t *testing.T) {
	trace, err := ReadTrace("openb_pods", unzip(t, "openb_pods.csv.gz"), "openb_nodes", unzip(t, "openb_nodes.csv.gz"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(trace.Nodes) != 1523 || len(trace.Tasks) != 8152 {
		t.Fatalf("%d nodes and %d tasks", len(trace.Nodes), len(trace.Tasks))
	}
	s, err := trace.Scenario(TraceOptions{Skip: 2880 * 3600e9, Share: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	hours := map[Lending]float64{}
	for _, l := range []Lending{LendingOn, LendingOff, LendingStatic} {
		v, err := s.With(l)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Run(context.Background(), v, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range r.Violations {
			t.Errorf("lending %s: %s", l, bad)
		}
		for _, p := range r.Whole() {
			if p.Resource == "gpu" {
				hours[l] = p.Hours
			}
		}
	}
	if !(hours[LendingOn] > hours[LendingOff] && hours[LendingOff] > hours[LendingStatic]) {
		t.Errorf("GPU hours are %v; want more with lending than without, and least on machines divided for good", hours)
	}
}

func TestReadTraceRefuses(t *testing.T) {
	good := "p1,1000,1024,0,0,,LS,Running,0,60,0\n"
	node := "n1,4000,8192,0,\n"
	for name, test := range map[string]struct{ pods, nodes, want string }{
		"no column":     {strings.Replace(podsHead, "qos", "class", 1) + good, nodesHead + node, "pods.csv:1: there is no column qos"},
		"no head":       {"", nodesHead + node, "pods.csv:1: no line with the names"},
		"no number":     {podsHead + good + "p2,much,1024,0,0,,LS,Running,0,60,0\n", nodesHead + node, `pods.csv:3: cpu_milli is "much"`},
		"negative":      {podsHead + "p2,-1,1024,0,0,,LS,Running,0,60,0\n", nodesHead + node, `pods.csv:2: cpu_milli is "-1"`},
		"short line":    {podsHead + "p2,1000\n", nodesHead + node, "pods.csv:2: 2 values for 11 columns"},
		"broken quote":  {podsHead + "p2,\"1000\n", nodesHead + node, "pods.csv:2: "},
		"ends too soon": {podsHead + "p2,1000,1024,0,0,,LS,Running,60,59,0\n", nodesHead + node, "pods.csv:2: it is deleted at 59, before"},
		"needs nothing": {podsHead + "p2,0,0,0,0,,LS,Running,0,60,0\n", nodesHead + node, "pods.csv:2: it needs nothing"},
		"node":          {podsHead + good, nodesHead + "n1,4000,8192,none,\n", `nodes.csv:2: gpu is "none"`},
		"no pods":       {podsHead, nodesHead + node, "pods.csv has no pod"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadTrace("pods.csv", strings.NewReader(test.pods), "nodes.csv", strings.NewReader(test.nodes), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestReadTraceGoesOn leaves broken lines out and tells each.
func TestReadTraceGoesOn(t *testing.T) {
	pods := podsHead + "p1,1000,1024,0,0,,LS,Running,0,60,0\nbroken\np2,1000,1024,1,500,T4|P100,BE,Running,5,60,0\np3,x,1024,0,0,,LS,Running,0,60,0\n"
	var told []int
	trace, err := ReadTrace("pods.csv", strings.NewReader(pods), "nodes.csv", strings.NewReader(nodesHead+"n1,4000,8192,2,T4\n"), func(b BadLine) bool {
		told = append(told, b.Line)
		return true
	})
	if err != nil || len(trace.Tasks) != 2 || len(told) != 2 || told[0] != 3 || told[1] != 5 {
		t.Fatalf("%v; tasks %v, told of lines %v", err, trace, told)
	}
	if got := trace.Tasks[1]; got.Role != "be" || got.Resources.String() != "cpu=1,gpu=0.5,memory=1Gi" || got.Constraints[0].String() != "gpu-model in (T4,P100)" {
		t.Errorf("the second pod is %+v", got)
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add(podsHead+"p1,1000,1024,0,0,,LS,Running,0,60,0\n", nodesHead+"n1,4000,8192,2,T4\n")
	f.Fuzz(func(t *testing.T, pods, nodes string) {
		_, err := ReadTrace("pods", strings.NewReader(pods), "nodes", strings.NewReader(nodes), nil)
		var bad BadLine
		if errors.As(err, &bad) && (bad.Line < 1 || bad.Reason == "") {
			t.Errorf("%+v says neither where nor why", bad)
		}
	})
}
