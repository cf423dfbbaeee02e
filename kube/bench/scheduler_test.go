//go:build bench

package bench

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

var (
	nodeCount = flag.Int("nodes", 1000, "nodes")
	podCount  = flag.Int("pods", 2000, "pods, all of them there when the scheduler starts")
	rounds    = flag.Int("rounds", 3, "rounds of each kind, by turns")
	profiles  = flag.String("profiles", "", "a directory for profiles of the processors' time, from the first pod that is bound to the last")
)

// role is the variable that says what a process of this measurement is.
const role = "POLDER_KUBE_BENCH"

// figures are what one control plane says at its end.
type figures struct {
	Bound  int
	Events int     // that were written
	Rate   float64 // pods a second, from the first that was bound to the last
	Seconds,
	CPU float64 // of processor time from then until the events were written, user and system
	Memory int64 // kB resident at the most
}

// TestMain starts the parts that are processes of their own.
func TestMain(m *testing.M) {
	flag.Parse()
	switch os.Getenv(role) {
	case "pool", "stock", "polder":
		_ = flag.Set("test.run", "TestPart")
	}
	os.Exit(m.Run())
}

// TestPart is what a child process does.
func TestPart(t *testing.T) {
	switch kind := os.Getenv(role); kind {
	case "pool":
		runPool(t)
	case "stock", "polder":
		runPlane(t, kind == "polder")
	default:
		t.SkipNow() // only a child has a part
	}
}

// TestSchedulerCost measures both by turns and prints the table.
func TestSchedulerCost(t *testing.T) {
	fmt.Printf("%d nodes, %d pods; by turns\n%-8s %10s %10s %14s %14s %10s %10s\n", *nodeCount, *podCount, "", "pods/s", "seconds", "CPU ms a pod", "pool's, a pod", "events", "MB")
	for range *rounds {
		for _, kind := range []string{"stock", "polder"} {
			f, pool := measure(t, kind)
			fmt.Printf("%-8s %10.0f %10.1f %14.2f %14.2f %10d %10d\n", kind, f.Rate, f.Seconds, 1000*f.CPU/float64(f.Bound), 1000*pool/float64(f.Bound), f.Events, f.Memory/1024)
		}
	}
}

// measure runs one control plane, with a pool where it needs one, and returns the pool's processor time beside what it says.
func measure(t *testing.T, kind string) (f figures, pool float64) {
	t.Helper()
	dir := t.TempDir()
	if kind == "polder" {
		p := start(t, "pool", dir)
		line, err := bufio.NewReader(p.out).ReadString('\n')
		if err != nil || line != "ready\n" {
			t.Fatalf("the pool: %q, %v", line, err)
		}
		before := p.cpu(t)
		defer func() {
			_ = p.cmd.Process.Signal(syscall.SIGINT)
			_ = p.cmd.Wait()
		}()
		f = plane(t, kind, dir)
		return f, p.cpu(t) - before
	}
	return plane(t, kind, dir), 0
}

func plane(t *testing.T, kind, dir string) (f figures) {
	t.Helper()
	p := start(t, kind, dir)
	lines := bufio.NewScanner(p.out)
	for lines.Scan() {
		if json.Unmarshal(lines.Bytes(), &f) == nil {
			break
		}
	}
	_ = p.cmd.Process.Kill() // what it wrote is thrown away
	_ = p.cmd.Wait()
	if f.Bound == 0 {
		t.Fatalf("the control plane (%s) said nothing; its log is %s", kind, p.log)
	}
	return f
}

// part is a child process.
type part struct {
	cmd *exec.Cmd
	out *bufio.Reader
	log string
}

func start(t *testing.T, kind, dir string) part {
	t.Helper()
	log, err := os.CreateTemp("", "polder-kube-bench-"+kind+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		if !t.Failed() {
			os.Remove(log.Name())
		}
	})
	cmd := exec.Command(os.Args[0], "-test.timeout=30m", fmt.Sprint("-nodes=", *nodeCount), fmt.Sprint("-pods=", *podCount), "-profiles="+*profiles)
	cmd.Env, cmd.Dir, cmd.Stderr = append(os.Environ(), role+"="+kind), dir, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return part{cmd, bufio.NewReader(out), log.Name()}
}

// cpu is the processor time of a process so far, in seconds.
func (p part) cpu(t *testing.T) float64 {
	t.Helper()
	return processorTime(t, p.cmd.Process.Pid).Seconds()
}

// processorTime reads a process's user and system time.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return ticksOf(t, string(data))
}
