package swarmkit

import (
	"context"
	"sync"
	"testing"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/orchestrator/constraintenforcer"
	"github.com/moby/swarmkit/v2/manager/orchestrator/global"
	"github.com/moby/swarmkit/v2/manager/orchestrator/jobs"
	"github.com/moby/swarmkit/v2/manager/orchestrator/replicated"
	"github.com/moby/swarmkit/v2/manager/scheduler"
	"github.com/moby/swarmkit/v2/manager/state/store"
)

// peer is swarm mode: its store, its orchestrators, its scheduler, and what an allocator and agents would do.
type peer struct {
	t       *testing.T
	store   *store.MemoryStore
	stopped sync.WaitGroup
	stop    context.CancelFunc
}

type loop interface {
	Run(context.Context) error
	Stop()
}

// quiet is a loop whose Run says nothing.
type quiet struct {
	*constraintenforcer.ConstraintEnforcer
}

func (q quiet) Run(context.Context) error { q.ConstraintEnforcer.Run(); return nil }

type quietJobs struct{ *jobs.Orchestrator }

func (q quietJobs) Run(ctx context.Context) error { q.Orchestrator.Run(ctx); return nil }

func newPeer(t *testing.T, nodes map[string]string) *peer {
	p := &peer{t: t, store: store.NewMemoryStore(nil)}
	for name, rack := range nodes {
		p.update(func(tx store.Tx) error {
			return store.CreateNode(tx, &api.Node{ID: name, Spec: api.NodeSpec{Annotations: api.Annotations{Name: name, Labels: map[string]string{"rack": rack}}},
				Status:      api.NodeStatus{State: api.NodeStatus_READY},
				Description: &api.NodeDescription{Hostname: name, Resources: &api.Resources{NanoCPUs: 1e12, MemoryBytes: 1 << 40}}})
		})
	}
	p.update(func(tx store.Tx) error {
		return store.CreateCluster(tx, &api.Cluster{ID: "c", Spec: api.ClusterSpec{Annotations: api.Annotations{Name: store.DefaultClusterName}}})
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	for _, l := range []loop{replicated.NewReplicatedOrchestrator(p.store), global.NewGlobalOrchestrator(p.store), scheduler.New(p.store),
		quiet{constraintenforcer.New(p.store)}, quietJobs{jobs.NewOrchestrator(p.store)}} {
		p.stopped.Go(func() { _ = l.Run(ctx) })
		p.stopped.Go(func() { <-ctx.Done(); l.Stop() })
	}
	p.stopped.Go(func() { p.agents(ctx) })
	t.Cleanup(func() {
		cancel()
		p.stopped.Wait()
		p.store.Close()
	})
	return p
}

func (p *peer) update(f func(store.Tx) error) {
	p.t.Helper()
	if err := p.store.Update(f); err != nil {
		p.t.Fatal(err)
	}
}

// agents do as tasks are told, again and again: they let them run, end those that are not wanted, and fail those named bad.
func (p *peer) agents(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_ = p.store.Update(func(tx store.Tx) error { // nobody else writes states, so nothing conflicts
			tasks, err := store.FindTasks(tx, store.All)
			if err != nil {
				return err
			}
			for _, t := range tasks {
				next := follows(t)
				if t.DesiredState == api.TaskStateRemove && t.Status.State > api.TaskStateRunning {
					if err := store.DeleteTask(tx, t.ID); err != nil {
						return err
					}
				} else if next != t.Status.State {
					t = t.Copy()
					t.Status.State = next
					if err := store.UpdateTask(tx, t); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
}

// follows is the state a task is in next.
func follows(t *api.Task) api.TaskState {
	switch s := t.Status.State; {
	case s > api.TaskStateRunning:
		return s
	case t.DesiredState > api.TaskStateCompleted:
		return api.TaskStateShutdown
	case s == api.TaskStateNew:
		return api.TaskStatePending
	case s >= api.TaskStateAssigned && t.DesiredState >= api.TaskStateRunning:
		if s == api.TaskStateRunning && t.Spec.GetContainer().Image == "bad" {
			return api.TaskStateFailed
		}
		return api.TaskStateRunning
	case s >= api.TaskStateAssigned:
		return api.TaskStateReady
	}
	return t.Status.State
}

// wish is a service in words that both understand.
type wish struct {
	mode       string // "", "global", "job"
	replicas   uint64
	concurrent uint64
	image      string
	rack       string // constraint
	most       uint64
	spread     bool
	condition  string
	action     string
	parallel   uint64
	startFirst bool
}

func (w wish) spec() api.ServiceSpec {
	conditions := map[string]api.RestartPolicy_RestartCondition{"": api.RestartOnAny, "none": api.RestartOnNone, "on-failure": api.RestartOnFailure}
	actions := map[string]api.UpdateConfig_FailureAction{"": api.UpdateConfig_PAUSE, "continue": api.UpdateConfig_CONTINUE, "rollback": api.UpdateConfig_ROLLBACK}
	soon := gogotypes.DurationProto(10 * time.Millisecond)
	s := api.ServiceSpec{Annotations: api.Annotations{Name: "s"}, Task: api.TaskSpec{
		Runtime: &api.TaskSpec_Container{Container: &api.ContainerSpec{Image: w.image}}, Placement: &api.Placement{MaxReplicas: w.most},
		Restart: &api.RestartPolicy{Condition: conditions[w.condition], Delay: soon},
	}}
	s.Update = &api.UpdateConfig{Parallelism: w.parallel, FailureAction: actions[w.action], Monitor: gogotypes.DurationProto(100 * time.Millisecond)}
	if w.startFirst {
		s.Update.Order = api.UpdateConfig_START_FIRST
	}
	s.Rollback = &api.UpdateConfig{Parallelism: 1, Monitor: gogotypes.DurationProto(100 * time.Millisecond)}
	if w.rack != "" {
		s.Task.Placement.Constraints = []string{"node.labels.rack==" + w.rack}
	}
	if w.spread {
		s.Task.Placement.Preferences = []*api.PlacementPreference{{Preference: &api.PlacementPreference_Spread{Spread: &api.SpreadOver{SpreadDescriptor: "node.labels.rack"}}}}
	}
	switch w.mode {
	case "global":
		s.Mode = &api.ServiceSpec_Global{Global: &api.GlobalService{}}
	case "job":
		s.Mode = &api.ServiceSpec_ReplicatedJob{ReplicatedJob: &api.ReplicatedJob{TotalCompletions: w.replicas, MaxConcurrent: w.concurrent}}
	default:
		s.Mode = &api.ServiceSpec_Replicated{Replicated: &api.ReplicatedService{Replicas: w.replicas}}
	}
	return s
}

// put makes the service or changes it.
func (p *peer) put(w wish) {
	p.t.Helper()
	p.update(func(tx store.Tx) error {
		old := store.GetService(tx, "s")
		if old == nil {
			return store.CreateService(tx, &api.Service{ID: "s", Spec: w.spec(), SpecVersion: &api.Version{Index: 1}, JobStatus: &api.JobStatus{}})
		}
		s := old.Copy()
		s.PreviousSpec, s.PreviousSpecVersion, s.UpdateStatus = old.Spec.Copy(), old.SpecVersion, nil
		s.Spec, s.SpecVersion = w.spec(), &api.Version{Index: old.SpecVersion.Index + 1}
		return store.UpdateService(tx, s)
	})
}

// avail changes a node's availability.
func (p *peer) avail(node, to string) {
	p.t.Helper()
	p.update(func(tx store.Tx) error {
		n := store.GetNode(tx, node).Copy()
		n.Spec.Availability = map[string]api.NodeSpec_Availability{"ready": api.NodeAvailabilityActive, "cordoned": api.NodeAvailabilityPause, "draining": api.NodeAvailabilityDrain}[to]
		return store.UpdateNode(tx, n)
	})
}

// end ends every task that runs, in a way.
func (p *peer) end(well bool) {
	p.t.Helper()
	p.update(func(tx store.Tx) error {
		tasks, err := store.FindTasks(tx, store.ByServiceID("s"))
		for _, t := range tasks {
			if err == nil && t.Status.State == api.TaskStateRunning && t.DesiredState <= api.TaskStateCompleted {
				t = t.Copy()
				t.Status.State = map[bool]api.TaskState{true: api.TaskStateCompleted, false: api.TaskStateFailed}[well]
				err = store.UpdateTask(tx, t)
			}
		}
		return err
	})
}

// seen is what is to be seen when all is quiet.
func (p *peer) seen(nodes map[string]string) (out sight) {
	p.store.View(func(tx store.ReadTx) {
		tasks, err := store.FindTasks(tx, store.ByServiceID("s"))
		if err != nil {
			p.t.Error(err)
		}
		for _, t := range tasks {
			if t.Status.State == api.TaskStateRunning && t.DesiredState <= api.TaskStateCompleted {
				out.add(t.NodeID, nodes[t.NodeID], t.Spec.GetContainer().Image)
			}
			if t.Status.State == api.TaskStateCompleted {
				out.complete++
			}
		}
		if u := store.GetService(tx, "s").UpdateStatus; u != nil {
			out.update = u.State.String()
		}
	})
	return out
}

// settled waits until nothing has changed for a while.
func (p *peer) settled(nodes map[string]string) (now sight) {
	last, since := "", time.Now()
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		now = p.seen(nodes)
		if text := now.String(); text != last {
			last, since = text, time.Now()
		} else if time.Since(since) > 700*time.Millisecond {
			break
		}
	}
	return now
}
