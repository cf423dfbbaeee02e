package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

func leasing(task, gpu, container string) *polderv1.Assignment {
	a := assignment(task)
	a.Resources["gpu"] = gpu
	if container != "" {
		a.Spec.Container = &polderv1.Container{Id: container}
	}
	return a
}

// TestTasksHaveTheirOwnGPUs: no two tasks are given the same GPU, over a restart of the agent either; one that ends gives them back.
func TestTasksHaveTheirOwnGPUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		given := map[string][]string{}
		m := newMachine(t, func(s runtime.Spec) fake.Script {
			mu.Lock()
			defer mu.Unlock()
			given[s.TaskID] = s.GPUs
			return fake.Script{}
		})
		m.halt()
		m.gpus = []string{"4", "5", "GPU-1f"}
		m.start()
		if n := m.server.hello().Capacity["gpu"]; n != "3" {
			t.Errorf("it offers gpu=%s", n)
		}
		for _, task := range []string{"a", "b"} {
			m.server.launch(leasing(task, "1", ""))
		}
		m.server.launch(assignment("none"))
		m.restart()
		m.server.launch(leasing("c", "1", ""))
		m.server.launch(leasing("late", "1", ""))
		m.want("late", failed, "GPUsTaken")
		if why := m.server.last("late").Reason.GetMessage(); !strings.Contains(why, "task a has 4; task b has 5; task c has GPU-1f") {
			t.Errorf("it is told %q", why)
		}
		m.server.stop(&polderv1.StopTask{Task: "b"})
		pass(time.Minute)
		m.want("b", killed, "Killed")
		m.server.launch(leasing("d", "1", ""))
		m.want("d", running, "")
		mu.Lock()
		defer mu.Unlock()
		for task, want := range map[string][]string{"a": {"4"}, "b": {"5"}, "none": nil, "c": {"GPU-1f"}, "d": {"5"}} {
			if !slices.Equal(given[task], want) {
				t.Errorf("%s was given %v, want %v", task, given[task], want)
			}
		}
	})
}

// TestGPUsAgree: whatever tasks lease and in whatever order they end, nothing is given twice, and parts go beside parts.
func TestGPUsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGPUs(nil, 4*resource.Milli)
		held := map[string]map[string]int{} // by task: thousandths of each
		for i := range 40 {
			task := fmt.Sprint("t", i)
			if len(held) > 0 && rapid.IntRange(0, 2).Draw(t, "end") == 0 {
				over := rapid.SampledFrom(slices.Sorted(maps.Keys(held))).Draw(t, "which")
				g.release(over)
				delete(held, over)
				continue
			}
			milli := rapid.IntRange(1, 5).Draw(t, "half GPUs") * 500
			used := map[string]int{}
			for _, share := range held {
				for id, n := range share {
					used[id] += n
				}
			}
			free, roomy := 0, false
			for _, id := range g.all {
				if used[id] == 0 {
					free++
				} else if used[id] <= 500 {
					roomy = true
				}
			}
			ids, err := g.take(leasing(task, fmt.Sprint(float64(milli)/1000), ""))
			wanted := milli / 1000
			if fits := free >= wanted && (milli%1000 == 0 || roomy || free > wanted); fits != (err == nil) {
				t.Fatalf("%d thousandths with %v in use: %v, %v", milli, used, ids, err)
			}
			if err != nil {
				continue
			}
			share := map[string]int{}
			for j, id := range ids {
				share[id] = 1000
				if j == wanted {
					share[id] = 500
					if roomy && used[id] == 0 {
						t.Fatalf("half of %s was broken off while another half was free: %v", id, used)
					}
				}
				if used[id]+share[id] > 1000 {
					t.Fatalf("%s is given twice: %v, and now %v", id, used, ids)
				}
			}
			if held[task] = share; len(share) != (milli+999)/1000 {
				t.Fatalf("%d thousandths are %v", milli, ids)
			}
		}
	})
}

// TestContainersKeepTheirGPUs: a container that is started again has those that it had, if they are free: engines give it no others.
func TestContainersKeepTheirGPUs(t *testing.T) {
	g := newGPUs(nil, 3*resource.Milli)
	take := func(task, container string) string {
		ids, err := g.take(leasing(task, "1", container))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(ids, ",")
	}
	first := take("t1", "") + take("t2", "c")
	g.release("t1")
	g.release("t2")
	if again := take("t3", "c"); first != "01" || again != "1" {
		t.Errorf("at first %s, then the container has %s", first, again)
	}
}

func TestGPUsThatAreNone(t *testing.T) {
	for _, c := range []Config{{GPUs: []string{"0", "0"}}, {GPUs: []string{"a b"}}, {GPUs: []string{"0"}, Capacity: resource.Resources{"gpu": 2000}}} {
		if err := c.checkGPUs(); err == nil {
			t.Errorf("%v with %v is fine", c.GPUs, c.Capacity)
		}
	}
}
