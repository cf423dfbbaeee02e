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
// the CPU time of the server meanwhile, less what it takes when nobody asks it for anything. A machine's load changes from one to the
// next; compare the medians of many.
func BenchmarkRunDetached(b *testing.B) {
	c := newClient(b)
	direct := c.with(b, "DOCKER_HOST="+c.engine, "DOCKER_TLS_VERIFY=", "DOCKER_CONFIG=/nonexistent")
	var used time.Duration // by the server, in runs alone
	run := func(c *client) time.Duration {
		began, before := time.Now(), cpuTime(b, c.pool.Server.PID())
		id := c.says("run", "-d", "--memory", "32m", "--cpus", "0.1", image, "sleep", "600")
		took := time.Since(began)
		used = cpuTime(b, c.pool.Server.PID()) - before
		c.says("rm", "-f", id)
		return took
	}
	run(direct)
	run(c)
	before := cpuTime(b, c.pool.Server.PID())
	time.Sleep(idle)
	idling := cpuTime(b, c.pool.Server.PID()) - before
	var engine, door, cpu []time.Duration
	for b.Loop() {
		engine = append(engine, run(direct))
		took := run(c)
		door = append(door, took)
		cpu = append(cpu, used-time.Duration(idling.Seconds()/idle.Seconds()*float64(took)))
	}
	for name, times := range map[string][]time.Duration{"engine-ms": engine, "door-ms": door, "server-cpu-ms": cpu} {
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2].Seconds()*1000, "p50-"+name)
		b.ReportMetric(times[0].Seconds()*1000, "min-"+name)
	}
	b.ReportMetric(idling.Seconds()/idle.Seconds()*1000, "idle-server-cpu-ms/s")
}

// idle is how long the server is watched while nobody asks it for anything.
const idle = 5 * time.Second

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
