package docker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerclient "github.com/moby/moby/client"
)

// BenchmarkRunDetached compares docker run -d through the door with the same on the engine itself, one after the other: with the docker
// program, which shakes hands anew each time, and with a library that keeps its connection. It counts the CPU time of the server, of the
// agents and of the engine meanwhile, less what they take when nobody asks them for anything. A machine's load changes from one run to
// the next; compare the medians of many.
func BenchmarkRunDetached(b *testing.B) {
	c := newClient(b)
	direct := c.with(b, "DOCKER_HOST="+c.engine, "DOCKER_TLS_VERIFY=", "DOCKER_CERT_PATH=", "DOCKER_CONFIG=/nonexistent")
	b.Run("program", func(b *testing.B) { compare(b, c, byProgram(c.with(b)), byProgram(direct.with(b))) })
	b.Run("library", func(b *testing.B) { compare(b, c, byLibrary(b, c), byLibrary(b, direct)) })
}

// detached makes and starts a container and returns how to remove it.
type detached func() (remove func())

func byProgram(c *client) detached {
	return func() func() {
		id := c.says("run", "-d", "--memory", "32m", "--cpus", "0.1", image, "sleep", "600")
		return func() { c.says("rm", "-f", id) }
	}
}

// library is a client that keeps its connection.
func library(t testing.TB, c *client) *dockerclient.Client {
	options := []dockerclient.Opt{dockerclient.WithHost(c.value("DOCKER_HOST"))}
	if dir := c.value("DOCKER_CERT_PATH"); dir != "" {
		in := func(name string) string { return filepath.Join(dir, name) }
		options = append(options, dockerclient.WithTLSClientConfig(in("ca.pem"), in("cert.pem"), in("key.pem")))
	}
	api, err := dockerclient.New(options...)
	must(t, err)
	t.Cleanup(func() { must(t, api.Close()) })
	return api
}

func byLibrary(b *testing.B, c *client) detached {
	api := library(b, c)
	return func() func() {
		ctx := context.Background()
		made, err := api.ContainerCreate(ctx, dockerclient.ContainerCreateOptions{
			Config:     &container.Config{Image: image, Cmd: []string{"sleep", "600"}},
			HostConfig: &container.HostConfig{Resources: container.Resources{Memory: 32 << 20, NanoCPUs: 100_000_000}},
		})
		must(b, err)
		_, err = api.ContainerStart(ctx, made.ID, dockerclient.ContainerStartOptions{})
		must(b, err)
		return func() {
			_, err := api.ContainerRemove(ctx, made.ID, dockerclient.ContainerRemoveOptions{Force: true})
			must(b, err)
		}
	}
}

// value is a variable of the client's environment.
func (c *client) value(name string) string {
	for _, v := range slices.Backward(c.env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// compare runs both in turns.
func compare(b *testing.B, c *client, door, engine detached) {
	watched := map[string][]int{"server": {c.pool.Server.PID()}, "engine": {pidIn(b, filepath.Join(c.dir, "engine", "dockerd.started"))}}
	for _, a := range c.pool.Agents {
		watched["agents"] = append(watched["agents"], a.PID())
	}
	used := func() map[string]time.Duration {
		out := map[string]time.Duration{}
		for name, pids := range watched {
			out[name] = cpuTime(b, pids...)
		}
		return out
	}
	series := map[string][]time.Duration{}
	measure := func(way string, run detached, idling map[string]time.Duration) {
		began, before := time.Now(), used()
		remove := run()
		took := time.Since(began)
		time.Sleep(settling) // what is done after the answer counts, too
		after, all := used(), time.Since(began)
		remove()
		series[way] = append(series[way], took)
		for name := range watched {
			cpu := after[name] - before[name] - time.Duration(idling[name].Seconds()/idle.Seconds()*float64(all))
			series[way+"-"+name+"-cpu"] = append(series[way+"-"+name+"-cpu"], cpu)
		}
	}
	measure("engine", engine, nil)
	measure("door", door, nil)
	clear(series)
	before := used()
	time.Sleep(idle)
	idling := used()
	for name := range idling {
		idling[name] -= before[name]
	}
	for b.Loop() {
		measure("engine", engine, idling)
		measure("door", door, idling)
	}
	for name, times := range series {
		if name == "engine-server-cpu" || name == "engine-agents-cpu" {
			continue
		}
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2].Seconds()*1000, "p50-"+name+"-ms")
		b.ReportMetric(times[0].Seconds()*1000, "min-"+name+"-ms")
	}
	b.ReportMetric(idling["server"].Seconds()/idle.Seconds()*1000, "idle-server-cpu-ms/s")
}

const (
	idle     = 5 * time.Second        // how long everybody is watched while nobody asks for anything
	settling = 200 * time.Millisecond // how long a run is watched after it was answered
)

// pidIn is the process whose id is in a file.
func pidIn(t testing.TB, file string) int {
	data, err := os.ReadFile(file)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	must(t, err)
	return pid
}

// cpuTime is what processes have used so far.
func cpuTime(b *testing.B, pids ...int) time.Duration {
	sum := time.Duration(0)
	for _, pid := range pids {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		must(b, err)
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
	}
	return sum
}
