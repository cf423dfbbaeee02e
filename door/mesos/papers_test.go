package mesos

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/door/mesos/piece"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// naive is a framework's tasks as somebody may see them, looked up one by one.
func naive(f *framework, v viewer) map[string]any {
	lists := map[string][]any{"tasks": {}, "unreachable_tasks": {}, "completed_tasks": {}}
	used := amounts{}
	add := func(list string, t *task) {
		if v.task(t) {
			lists[list] = append(lists[list], naiveTask(t))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.tasks)) {
		t := f.tasks[id]
		if t.state == mesosv1.TaskState_TASK_UNREACHABLE {
			add("unreachable_tasks", t)
		} else {
			add("tasks", t)
		}
		if w, err := wantedOf(t.info.Resources); err == nil && v.task(t) && !t.over() {
			used = plus(used, w.amounts)
		}
	}
	for _, t := range f.completed {
		add("completed_tasks", t)
	}
	return map[string]any{"tasks": lists["tasks"], "unreachable_tasks": lists["unreachable_tasks"], "completed_tasks": lists["completed_tasks"], "used_resources": naiveSum(used)}
}

func naiveTask(t *task) object {
	statuses := []any{}
	for _, s := range t.statuses {
		doc := object{"state": s.GetState().String(), "timestamp": s.GetTimestamp()}
		if s.ContainerStatus != nil {
			doc["container_status"] = wireDoc(s.ContainerStatus)
		}
		if s.Healthy != nil {
			doc["healthy"] = s.GetHealthy()
		}
		statuses = append(statuses, doc)
	}
	w, _ := wantedOf(t.info.Resources)
	resources := naiveSum(w.regular)
	for kind, a := range w.revocable {
		resources[mesosName(kind)+"_revocable"] = toScalar(kind, a)
	}
	if len(w.ports) > 0 {
		resources["ports"] = fmt.Sprintf("[%d-%d]", w.ports[0], w.ports[len(w.ports)-1])
	}
	doc := object{
		"id": t.id(), "name": t.info.GetName(), "framework_id": t.fw.id, "executor_id": "", "slave_id": t.node, "state": t.state.String(),
		"resources": resources, "role": t.role, "statuses": statuses,
	}
	if len(t.info.GetLabels().GetLabels()) > 0 {
		labels := []any{}
		for _, l := range t.info.Labels.Labels {
			labels = append(labels, object{"key": l.GetKey(), "value": l.GetValue()})
		}
		doc["labels"] = labels
	}
	return doc
}

func naiveSum(r amounts) object {
	out := object{"cpus": 0.0, "gpus": 0.0, "mem": 0.0, "disk": 0.0}
	for kind, a := range r {
		out[mesosName(kind)] = toScalar(kind, a)
	}
	return out
}

// drawTask makes up a task with everything a document may show.
func drawTask(t *rapid.T, f *framework, n int) *task {
	path := rapid.SampledFrom([]string{"a", "b", "b/c"}).Draw(t, "path")
	x := &task{fw: f, node: "n1", role: path, path: path, native: fmt.Sprint("x-", n), ip: "10.0.0.1", info: &mesosv1.TaskInfo{
		Name: new(rapid.String().Draw(t, "name")), TaskId: &mesosv1.TaskID{Value: new(fmt.Sprintf("t%03d", n))},
	}}
	if r := scalar("cpus", rapid.Float64Range(0, 9).Draw(t, "cpus")); rapid.Bool().Draw(t, "revocable") {
		x.info.Resources = append(x.info.Resources, revocable(r))
	} else {
		x.info.Resources = append(x.info.Resources, r, scalar("mem", 32), scalar("licences", 2))
	}
	if rapid.Bool().Draw(t, "ports") {
		x.info.Resources = append(x.info.Resources, &mesosv1.Resource{Name: new("ports"), Type: mesosv1.Value_RANGES.Enum(),
			Ranges: &mesosv1.Value_Ranges{Range: []*mesosv1.Value_Range{{Begin: new(uint64(31000)), End: new(uint64(31002))}}}})
	}
	if rapid.Bool().Draw(t, "labels") {
		x.info.Labels = &mesosv1.Labels{Labels: []*mesosv1.Label{{Key: new("k"), Value: new("v<")}, {Key: new("only")}}}
	}
	return x
}

// TestPapers puts tasks on a framework's books, lets them live and takes them off at random. What documents show of them to somebody is what is
// found by looking at all of them one by one.
func TestPapers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, d, n := newFramework("f"), &Door{}, 0
		f.info = &mesosv1.FrameworkInfo{}
		one := func(t *rapid.T) *task {
			if len(f.tasks) == 0 {
				t.Skip("there are none")
			}
			return f.tasks[rapid.SampledFrom(slices.Sorted(maps.Keys(f.tasks))).Draw(t, "which")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"put":  func(t *rapid.T) { n++; f.put(drawTask(t, f, n)) },
			"drop": func(t *rapid.T) { x := one(t); f.drop(x); f.drop(x) },
			"again": func(t *rapid.T) {
				x := drawTask(t, f, n)
				x.info.TaskId = one(t).info.TaskId
				f.put(x)
			},
			"live": func(t *rapid.T) {
				x := one(t)
				if x.over() {
					t.Skip("it is over")
				}
				states := []mesosv1.TaskState{mesosv1.TaskState_TASK_RUNNING, mesosv1.TaskState_TASK_UNREACHABLE, mesosv1.TaskState_TASK_KILLING, mesosv1.TaskState_TASK_FINISHED}
				s := x.status(rapid.SampledFrom(states).Draw(t, "state"), "")
				if rapid.Bool().Draw(t, "healthy") {
					s.Healthy = new(true)
				}
				x.note(d, s)
			},
			"retire": func(t *rapid.T) {
				if x := one(t); x.over() {
					f.drop(x)
					f.complete(x)
				}
			},
			"": func(t *rapid.T) {
				for _, v := range []viewer{{all: true}, {paths: map[string]bool{"a": true}}, {paths: map[string]bool{"b": true, "b/c": true}}, {}} {
					sameSeen(t, f, v)
				}
			},
		})
	})
}

func sameSeen(t *rapid.T, f *framework, v viewer) {
	x := &piece.Text{}
	f.write(x, v, true)
	var text []byte
	for _, part := range x.Parts() {
		text = append(text, part...)
	}
	got, want := map[string]any{}, map[string]any{}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	plain, err := json.Marshal(naive(f, v))
	if err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(plain, &want) // it was encoded here
	for name := range want {
		inOrder(got[name])
		inOrder(want[name])
		if !reflect.DeepEqual(got[name], want[name]) {
			t.Fatalf("%s are, to %v,\n%v, want\n%v", name, v, got[name], want[name])
		}
	}
}

// inOrder sorts a list of tasks by their ids.
func inOrder(list any) {
	if list, ok := list.([]any); ok {
		slices.SortFunc(list, func(a, b any) int {
			return strings.Compare(a.(map[string]any)["id"].(string), b.(map[string]any)["id"].(string))
		})
	}
}

// TestStateKeepsTenantsApart: two people ask for the documents of one framework at the same time, again and again while its tasks change. Each
// sees what is in the role they may view, and nothing of the other.
func TestStateKeepsTenantsApart(t *testing.T) {
	w := newWorld(t, onePlan, 2, nil)
	c := w.subscribe(w.admin, info("both", []string{"a", "b"}))
	offers := map[string]*mesosv1.Offer{}
	for len(offers) < 2 {
		for _, o := range c.next(schedulerv1.Event_OFFERS).Offers.Offers {
			offers[o.AllocationInfo.GetRole()] = o
		}
	}
	for role, o := range offers {
		with := command(o, "executed-"+role, "", scalar("cpus", 0.1), scalar("mem", 32))
		with.Command, with.Executor = nil, &mesosv1.ExecutorInfo{
			ExecutorId: &mesosv1.ExecutorID{Value: new("executor-" + role)}, Command: &mesosv1.CommandInfo{Value: new("forever")}, Resources: []*mesosv1.Resource{scalar("cpus", 0.1), scalar("mem", 32)},
		}
		c.must(http.StatusAccepted, launchCall(o, command(o, "ends-"+role, "exit 0", scalar("cpus", 0.1)), command(o, "stays-"+role, "forever", scalar("cpus", 0.2)), with))
	}
	people := map[string]string{"a": w.user("ann", "view a"), "b": w.user("bob", "view b")}
	w.until("each sees all of their own", func() bool {
		ok := true
		var all sync.WaitGroup
		var mu sync.Mutex
		for role, token := range people {
			other := map[string]string{"a": "b", "b": "a"}[role]
			for _, path := range []string{"/state", "/frameworks", "/tasks"} {
				all.Go(func() {
					_, text := w.send(token, path, nil)
					mu.Lock()
					defer mu.Unlock()
					ok = ok && strings.Contains(text, `"stays-`+role+`"`) && strings.Count(text, `"TASK_FINISHED"`) == 2 && strings.Count(text, `"state":"TASK_RUNNING"`) >= 2
					for _, name := range []string{"ends-", "stays-", "executed-", "executor-"} {
						if strings.Contains(text, name+other) {
							t.Errorf("%s shows %s%s to who may view %s: %s", path, name, other, role, text)
						}
					}
					if path != "/tasks" && !strings.Contains(text, `"executor-`+role+`"`) {
						t.Errorf("%s does not show executor-%s: %s", path, role, text)
					}
				})
			}
			_, text := w.send(token, "/api/v1", []byte(`{"type":"GET_STATE"}`), "Content-Type", "application/json")
			if strings.Contains(text, "executor-"+other) || !strings.Contains(text, "executor-"+role) {
				t.Errorf("GET_STATE shows to who may view %s: %s", role, text)
			}
		}
		all.Wait()
		return ok || t.Failed()
	})
}

// BenchmarkTaskText is the text of one task with two states.
func BenchmarkTaskText(b *testing.B) {
	task, dst := keptTask(), []byte(nil)
	task.info.Resources = form{role: "a", multi: true}.resources(amounts{"cpu": 10, "memory": 8 << 20}, setOfNone)
	b.ReportAllocs()
	for b.Loop() {
		dst = task.AppendText(dst[:0])
	}
	b.SetBytes(int64(len(dst)))
}
