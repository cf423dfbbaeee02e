package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/yunikorn-core/pkg/entrypoint"
	"github.com/apache/yunikorn-core/pkg/log"
	"github.com/apache/yunikorn-scheduler-interface/lib/go/si"

	"polder.dev/polder/bench"
	"polder.dev/polder/core/resource"
)

const rm = "rm:1"

// patience is how long a peer may place nothing before its run is given up.
const patience = 30 * time.Second

// yunikorn registers the machines, a queue for every role and an application for every leaf, and then asks for every task. Its own
// loop decides, as in its production; there is no API server, nor predicates of one.
func yunikorn(w *Work) (Outcome, error) {
	log.UpdateLoggingConfig(map[string]string{"log.level": "WARN"})
	services := entrypoint.StartAllServicesWithParams(false, false)
	defer services.StopAll()
	proxy, listener := services.RMProxy, newListener()
	_, err := proxy.RegisterResourceManager(&si.RegisterResourceManagerRequest{RmID: rm, PolicyGroup: "queues", Version: "1", Config: queues(w),
		ExtraConfig: map[string]string{"log.level": "WARN"}}, listener)
	if err != nil {
		return Outcome{}, err
	}
	if err := proxy.UpdateNode(&si.NodeRequest{RmID: rm, Nodes: yunikornNodes(w)}); err != nil {
		return Outcome{}, err
	}
	if err := proxy.UpdateApplication(&si.ApplicationRequest{RmID: rm, New: applications(w)}); err != nil {
		return Outcome{}, err
	}
	if err := listener.wait(len(w.Nodes) + len(w.Leaves)); err != nil {
		return Outcome{}, fmt.Errorf("registering: %w", err)
	}
	requests, tasks := allocations(w)
	out := Outcome{Cost: bench.Measure(func() {
		for _, r := range requests {
			if err = proxy.UpdateAllocation(r); err != nil {
				return
			}
		}
		err = listener.wait(tasks)
	})}
	out.Placed = listener.taken()
	return out, err
}

// branch is a role with those below it.
type branch map[string]branch

// queues is the plan as its configuration.
func queues(w *Work) string {
	root := branch{}
	for _, path := range w.Leaves {
		at := root
		for part := range strings.SplitSeq(path, "/") {
			if at[part] == nil {
				at[part] = branch{}
			}
			at = at[part]
		}
	}
	var b strings.Builder
	b.WriteString("partitions:\n- name: default\n  queues:\n  - name: root\n    submitacl: \"*\"\n")
	root.write(&b, w, "", "    ")
	return b.String()
}

func (at branch) write(b *strings.Builder, w *Work, path, indent string) {
	if s := w.Plan.Roles[path]; len(at) == 0 && (s.Guarantee != nil || s.Limit != nil) {
		fmt.Fprintf(b, "%sresources:\n%s  guaranteed: %s\n%s  max: %s\n", indent, indent, quantities(s.Guarantee), indent, quantities(s.Limit))
	}
	if len(at) > 0 {
		fmt.Fprintf(b, "%squeues:\n", indent)
	}
	for _, name := range slices.Sorted(maps.Keys(at)) {
		fmt.Fprintf(b, "%s- name: %s\n", indent, name)
		at[name].write(b, w, strings.TrimPrefix(path+"/"+name, "/"), indent+"  ")
	}
}

func quantities(r resource.Resources) string {
	if r == nil {
		return "{}"
	}
	return fmt.Sprintf("{vcore: %dm, memory: %d}", r["cpu"], r["memory"])
}

func amounts(r resource.Resources) *si.Resource {
	return &si.Resource{Resources: map[string]*si.Quantity{"vcore": {Value: int64(r["cpu"])}, "memory": {Value: int64(r["memory"])}}}
}

func yunikornNodes(w *Work) (out []*si.NodeInfo) {
	for _, n := range w.Nodes {
		out = append(out, &si.NodeInfo{NodeID: n.Name, Attributes: map[string]string{}, SchedulableResource: amounts(n.Capacity), Action: si.NodeInfo_CREATE})
	}
	return out
}

func applications(w *Work) (out []*si.AddApplicationRequest) {
	for _, leaf := range w.Leaves {
		out = append(out, &si.AddApplicationRequest{ApplicationID: leaf, QueueName: "root." + strings.ReplaceAll(leaf, "/", "."), PartitionName: "default",
			Ugi: &si.UserGroupInformation{User: "user", Groups: []string{"group"}}})
	}
	return out
}

// allocations are the tasks, one request for each ask.
func allocations(w *Work) (out []*si.AllocationRequest, tasks int) {
	for _, a := range w.Asks {
		r := &si.AllocationRequest{RmID: rm}
		for i := range a.Count {
			r.Allocations = append(r.Allocations, &si.Allocation{AllocationKey: taskName(a.ID, i), ApplicationID: a.Role, PartitionName: "default",
				ResourcePerAlloc: amounts(a.Shape.Resources)})
		}
		out, tasks = append(out, r), tasks+a.Count
	}
	return out, tasks
}

// listener is the resource manager: it counts what was accepted or placed.
type listener struct {
	mu     sync.Mutex
	placed []Placement
	failed error
	heard  chan int
}

func newListener() *listener { return &listener{heard: make(chan int, 1<<16)} }

// wait takes so many answers, and an error when one is a refusal or none comes any more.
func (l *listener) wait(n int) error {
	quiet := time.NewTimer(patience)
	defer quiet.Stop()
	for n > 0 {
		select {
		case k := <-l.heard:
			n -= k
			quiet.Reset(patience)
		case <-quiet.C:
			return fmt.Errorf("nothing happened for %s, %d still to come", patience, n)
		}
		l.mu.Lock()
		err := l.failed
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *listener) taken() []Placement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.placed
}

// answer notes good answers and bad ones.
func (l *listener) answer(good int, bad string, placed ...Placement) {
	l.mu.Lock()
	l.placed = append(l.placed, placed...)
	if bad != "" && l.failed == nil {
		l.failed = fmt.Errorf("refused: %s", bad)
	}
	l.mu.Unlock()
	if good > 0 || bad != "" {
		l.heard <- good
	}
}

func (l *listener) UpdateAllocation(r *si.AllocationResponse) error {
	var placed []Placement
	for _, a := range r.New {
		placed = append(placed, Placement{askOf(a.AllocationKey), a.NodeID})
	}
	bad := ""
	for _, a := range r.RejectedAllocations {
		bad = a.AllocationKey + ": " + a.Reason
	}
	l.answer(len(placed), bad, placed...)
	return nil
}

func (l *listener) UpdateApplication(r *si.ApplicationResponse) error {
	bad := ""
	for _, a := range r.Rejected {
		bad = a.ApplicationID + ": " + a.Reason
	}
	l.answer(len(r.Accepted), bad)
	return nil
}

func (l *listener) UpdateNode(r *si.NodeResponse) error {
	bad := ""
	for _, n := range r.Rejected {
		bad = n.NodeID + ": " + n.Reason
	}
	l.answer(len(r.Accepted), bad)
	return nil
}

func (l *listener) Predicates(*si.PredicatesArgs) error { return nil }

func (l *listener) PreemptionPredicates(*si.PreemptionPredicatesArgs) *si.PreemptionPredicatesResponse {
	return nil
}

func (l *listener) SendEvent([]*si.EventRecord) {}

func (l *listener) UpdateContainerSchedulingState(*si.UpdateContainerSchedulingStateRequest) {}
