package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/scheduler"
	"github.com/moby/swarmkit/v2/manager/state"
	"github.com/moby/swarmkit/v2/manager/state/store"

	"polder.dev/polder/bench"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// swarmkit puts machines into the store of swarm mode, lets its scheduler run, and puts every task there; each ask is a service. It knows no
// roles: it places whatever fits.
func swarmkit(w *Work) (Outcome, error) {
	s := store.NewMemoryStore(nil)
	defer s.Close()
	if err := s.Update(func(tx store.Tx) error { return swarmNodes(tx, w) }); err != nil {
		return Outcome{}, err
	}
	seen, stopSeeing := state.Watch(s.WatchQueue(), api.EventUpdateTask{})
	defer stopSeeing()
	sched := scheduler.New(s)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = sched.Run(ctx) })
	defer running.Wait()
	defer sched.Stop()
	defer cancel()
	var err error
	out := Outcome{}
	out.Cost = bench.Measure(func() {
		tasks := 0
		for _, a := range w.Asks {
			if err = s.Update(func(tx store.Tx) error { return swarmTasks(tx, a) }); err != nil {
				return
			}
			tasks += a.Count
		}
		for tasks > 0 && err == nil {
			select {
			case e := <-seen:
				if t := e.(api.EventUpdateTask).Task; t.Status.State == api.TaskStateAssigned {
					out.Placed = append(out.Placed, Placement{t.ServiceID, t.NodeID})
					tasks--
				}
			case <-time.After(patience):
				err = fmt.Errorf("nothing happened for %s, %d still to come", patience, tasks)
			}
		}
	})
	return out, err
}

func reserved(r resource.Resources) *api.Resources {
	return &api.Resources{NanoCPUs: int64(r["cpu"]) * 1e6, MemoryBytes: int64(r["memory"])}
}

func swarmNodes(tx store.Tx, w *Work) error {
	for _, n := range w.Nodes {
		node := &api.Node{ID: n.Name, Spec: api.NodeSpec{Annotations: api.Annotations{Name: n.Name}}, Status: api.NodeStatus{State: api.NodeStatus_READY},
			Description: &api.NodeDescription{Hostname: n.Name, Resources: reserved(n.Capacity), Engine: &api.EngineDescription{}}}
		if err := store.CreateNode(tx, node); err != nil {
			return err
		}
	}
	return nil
}

// swarmTasks makes the tasks of a service as its orchestrator does; they share one version of its spec, so that they are placed as a group.
func swarmTasks(tx store.Tx, a cluster.AskSpec) error {
	for i := range a.Count {
		t := &api.Task{ID: taskName(a.ID, i), ServiceID: a.ID, Slot: uint64(i + 1), SpecVersion: &api.Version{Index: 1}, DesiredState: api.TaskStateRunning,
			Status: api.TaskStatus{State: api.TaskStatePending}, ServiceAnnotations: api.Annotations{Name: a.ID},
			Spec: api.TaskSpec{Resources: &api.ResourceRequirements{Reservations: reserved(a.Shape.Resources)}}}
		if err := store.CreateTask(tx, t); err != nil {
			return err
		}
	}
	return nil
}
