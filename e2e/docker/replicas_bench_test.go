//go:build engines

package docker

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerclient "github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"polder.dev/polder/e2e/stage"
)

var (
	replicas = flag.Int("replicas", 100, "tasks of the service that swarm mode and the pool are compared with")
	calls    = flag.String("calls", "8", "how many calls at a time each engine is given when nobody decides; several with commas")
)

// crowded is a plan and a capacity for many small tasks: what is compared is how they start, not how many fit.
const (
	crowdedPlan = "roles:\n  default: {guarantee: {cpu: 30, memory: 30Gi}}\n"
	crowdedNode = "cpu=16,memory=16Gi,disk=16Gi"
)

// BenchmarkReplicas makes a service of many tasks by turns in real swarm mode and through the door, on the same three engines, and
// measures until all of it runs; and as many containers with nobody who decides anything, which is the least it can take. Wall times are
// those of a machine that three engines share; what counts is the ratio of the medians.
func BenchmarkReplicas(b *testing.B) {
	m := newMachines(b, crowdedPlan, crowdedNode)
	m.joinSwarm()
	ways := []way{
		{"swarm", m.service(m.engine(0)), m.unservice(m.engine(0))}, {"door", m.service(m.client), m.unservice(m.client)},
	}
	for text := range strings.SplitSeq(*calls, ",") {
		n, err := strconv.Atoi(text)
		must(b, err)
		ways = append(ways, way{"bare" + text + "x", m.bare(n), m.unbare})
	}
	took, used := map[string][]time.Duration{}, map[string][]time.Duration{}
	for turn := 0; b.Loop(); turn++ {
		for i := range ways {
			w := ways[(turn+i)%len(ways)]
			before, began := m.processors(), time.Now()
			w.make(fmt.Sprint(w.name, turn))
			took[w.name] = append(took[w.name], time.Since(began))
			for who, cpu := range m.processors() {
				used[w.name+"-"+who] = append(used[w.name+"-"+who], cpu-before[who])
			}
			seconds := func(who string) float64 { return last(used[w.name+"-"+who]).Seconds() }
			b.Logf("%s: %.1f s, processor seconds: dockerd %.1f, containerd %.1f, shims and runc %.1f, pool %.1f", w.name,
				last(took[w.name]).Seconds(), seconds("dockerd"), seconds("containerd"), seconds("shims"), seconds("pool"))
			w.remove(fmt.Sprint(w.name, turn))
			m.emptied()
		}
	}
	for name, times := range took {
		b.ReportMetric(median(times).Seconds(), name+"-s")
	}
	b.ReportMetric(median(took["door"]).Seconds()/median(took["swarm"]).Seconds(), "door/swarm")
	for name, times := range used {
		b.ReportMetric(median(times).Seconds(), name+"-cpu-s")
	}
}

// way is a way to so many running containers, and back.
type way struct {
	name         string
	make, remove func(name string)
}

func last[T any](list []T) T { return list[len(list)-1] }

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

// engine is the docker program on one engine itself.
func (m *machines) engine(i int) *client {
	return m.with(m.t, "DOCKER_HOST="+m.engines[i], "DOCKER_TLS_VERIFY=", "DOCKER_CERT_PATH=", "DOCKER_CONFIG=/nonexistent")
}

// service makes a service and waits until all of its tasks run.
func (m *machines) service(c *client) func(name string) {
	api := library(m.t, c)
	return func(name string) {
		c.says("service", "create", "-q", "-d", "--no-resolve-image", "--name", name, "--replicas", strconv.Itoa(*replicas),
			"--limit-memory", "16m", "--limit-cpu", "0.1", "--stop-grace-period", "1s", image, "sleep", "3600")
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		must(m.t, stage.Retry(ctx, func(ctx context.Context) error {
			res, err := api.ServiceList(ctx, dockerclient.ServiceListOptions{Status: true})
			if err != nil {
				return err
			}
			for _, s := range res.Items {
				if s.Spec.Name == name && s.ServiceStatus != nil && s.ServiceStatus.RunningTasks == uint64(*replicas) {
					return nil
				}
			}
			return fmt.Errorf("not all of %s runs", name)
		}))
	}
}

func (m *machines) unservice(c *client) func(name string) {
	return func(name string) { c.says("service", "rm", name) }
}

// bare makes as many containers on the engines, with some calls at a time on each.
func (m *machines) bare(calls int) func(name string) {
	return func(name string) {
		m.onEngines(calls, func(ctx context.Context, api *dockerclient.Client, i int) error {
			made, err := api.ContainerCreate(ctx, dockerclient.ContainerCreateOptions{
				Name: fmt.Sprint(name, ".", i), Config: &container.Config{Image: image, Cmd: []string{"sleep", "3600"}},
				HostConfig: &container.HostConfig{Resources: container.Resources{Memory: 16 << 20, NanoCPUs: 100_000_000}},
			})
			if err == nil {
				_, err = api.ContainerStart(ctx, made.ID, dockerclient.ContainerStartOptions{})
			}
			return err
		})
	}
}

func (m *machines) unbare(name string) {
	m.onEngines(8, func(ctx context.Context, api *dockerclient.Client, i int) error {
		_, err := api.ContainerRemove(ctx, fmt.Sprint(name, ".", i), dockerclient.ContainerRemoveOptions{Force: true})
		return err
	})
}

// onEngines does something for each of so many containers, on the engines in turn, with some calls at a time on each.
func (m *machines) onEngines(calls int, do func(ctx context.Context, api *dockerclient.Client, i int) error) {
	var all errgroup.Group
	all.SetLimit(calls * len(m.engines))
	apis := make([]*dockerclient.Client, len(m.engines))
	for i := range apis {
		apis[i] = library(m.t, m.engine(i))
	}
	for i := range *replicas {
		all.Go(func() error { return do(context.Background(), apis[i%len(apis)], i) })
	}
	must(m.t, all.Wait())
}

// emptied waits until the engines have no containers.
func (m *machines) emptied() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	must(m.t, stage.Retry(ctx, func(context.Context) error {
		for i, host := range m.engines {
			if left := m.engine(i).says("ps", "-aq"); left != "" {
				return fmt.Errorf("%s still has %d containers", host, len(strings.Fields(left)))
			}
		}
		return nil
	}))
}

// processors is the processor time of the engines, of their containerd, of the shims with what they have run for the containers there are
// (runc, and the engine's own hook in it), and of the pool's server and agents.
func (m *machines) processors() map[string]time.Duration {
	out := map[string]time.Duration{"pool": ticks(m.t, m.pool.Server.PID())}
	for _, a := range m.pool.Agents {
		out["pool"] += ticks(m.t, a.PID())
	}
	for _, dir := range m.dirs {
		for _, name := range []string{"dockerd", "containerd"} {
			out[name] += ticks(m.t, pidIn(m.t, filepath.Join(dir, name+".started")))
		}
	}
	shims, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(m.t, err)
	for _, file := range shims {
		command, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(command), "containerd-shim") || !m.ours(string(command)) {
			continue // it has ended, or is somebody else's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			out["shims"] += ticks(m.t, pid)
		}
	}
	return out
}

// ours reports whether a command line names a directory of one of the engines.
func (m *machines) ours(command string) bool {
	return slices.ContainsFunc(m.dirs, func(dir string) bool { return strings.Contains(command, dir+"/") })
}

// ticks is the processor time of a process, of threads that have ended and of children it has waited for, too; nothing when it is gone.
func ticks(t testing.TB, pid int) (sum time.Duration) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	for _, field := range strings.Fields(rest)[11:15] { // in user and in system mode, and both of its children
		n, err := strconv.ParseInt(field, 10, 64)
		must(t, err)
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

// joinSwarm joins the engines in a swarm of their own, over a network that only they are on.
func (m *machines) joinSwarm() {
	m.t.Helper()
	cable := exec.Command("unshare", "--net", "sleep", "infinity")
	must(m.t, cable.Start())
	m.t.Cleanup(func() { cable.Process.Kill(); cable.Wait() }) // it ends by being killed
	must(m.t, stage.Retry(m.t.Context(), func(context.Context) error { return apart(cable.Process.Pid) }))
	lan := strconv.Itoa(cable.Process.Pid)
	m.ip(lan, "link", "add", "lan", "type", "bridge")
	m.ip(lan, "link", "set", "lan", "up")
	token := ""
	for i, dir := range m.dirs {
		place, address := strconv.Itoa(pidIn(m.t, filepath.Join(dir, "place"))), fmt.Sprintf("10.77.0.%d", i+1)
		port := fmt.Sprint("port", i)
		m.ip(place, "link", "add", "lan0", "type", "veth", "peer", "name", port, "netns", lan)
		m.ip(place, "addr", "add", address+"/24", "dev", "lan0")
		m.ip(place, "link", "set", "lan0", "up")
		m.ip(lan, "link", "set", port, "master", "lan", "up")
		one := m.engine(i)
		if i == 0 {
			one.says("swarm", "init", "--advertise-addr", address, "--listen-addr", address)
			token = one.says("swarm", "join-token", "-q", "worker")
			continue
		}
		one.says("swarm", "join", "--advertise-addr", address, "--listen-addr", address, "--token", token, "10.77.0.1:2377")
	}
}

// apart says whether a process has a network of its own yet.
func apart(pid int) error {
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err == nil && theirs == ours {
		err = fmt.Errorf("process %d has no network of its own", pid)
	}
	return err
}

// ip changes a network that a process is in.
func (m *machines) ip(pid string, args ...string) {
	m.t.Helper()
	if out, err := exec.Command("nsenter", append([]string{"--net", "--target", pid, "ip"}, args...)...).CombinedOutput(); err != nil {
		m.t.Fatalf("ip %s: %v %s (the program is in the package iproute2)", strings.Join(args, " "), err, out)
	}
}
