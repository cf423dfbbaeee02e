package docker

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkRunDetached compares docker run -d through the door with the same on the engine itself, one after the other, and counts
// the CPU time of the server. A machine's load changes from one to the next; compare the medians of many.
func BenchmarkRunDetached(b *testing.B) {
	c := newClient(b)
	direct := c.with(b, "DOCKER_HOST="+c.engine, "DOCKER_TLS_VERIFY=", "DOCKER_CONFIG=/nonexistent")
	run := func(c *client) time.Duration {
		began := time.Now()
		id := c.says("run", "-d", "--memory", "32m", "--cpus", "0.1", image, "sleep", "600")
		took := time.Since(began)
		c.says("rm", "-f", id)
		return took
	}
	run(direct)
	run(c)
	var engine, door []time.Duration
	var cpu time.Duration
	for b.Loop() {
		engine = append(engine, run(direct))
		before := cpuTime(b, c.pool.Server.PID())
		door = append(door, run(c))
		cpu += cpuTime(b, c.pool.Server.PID()) - before
	}
	for name, times := range map[string][]time.Duration{"engine": engine, "door": door} {
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2].Seconds()*1000, name+"-p50-ms")
		b.ReportMetric(times[0].Seconds()*1000, name+"-min-ms")
	}
	b.ReportMetric(cpu.Seconds()*1000/float64(len(door)), "server-cpu-ms/run+rm")
}

// cpuTime is what a process has used so far.
func cpuTime(b *testing.B, pid int) time.Duration {
	sum := time.Duration(0)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range tasks {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, t.Name()))
		if err != nil {
			continue // a thread that has ended
		}
		var ns int64
		if _, err := fmt.Sscan(strings.TrimSpace(string(data)), &ns); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}
