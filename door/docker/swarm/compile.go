package swarm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// maxTasks bounds what one service may want.
const maxTasks = 100_000

// compile turns what a user wants of a service into what is decided with. Where its networks are is added by the caller.
func compile(t template, raw []byte) (out orchestrator.Spec, err error) {
	out.Template, out.Print = raw, fingerprint(t)
	if err := mode(&out, t.Mode); err != nil {
		return out, err
	}
	out.Needs.Milli, out.Needs.Memory = t.lease()
	if out.Needs.GPUs, err = t.gpus(); err != nil {
		return out, err
	}
	if t.EndpointSpec != nil {
		for _, p := range t.EndpointSpec.Ports {
			if p.PublishMode != swarm.PortConfigPublishModeHost {
				return out, fail(http.StatusBadRequest, "EndpointSpec.Ports: port %d is published in ingress mode, and there is no routing mesh; publish it with mode=host", p.TargetPort)
			}
			if p.PublishedPort > 0 {
				out.Ports = append(out.Ports, orchestrator.Port{Number: p.PublishedPort, Protocol: string(p.Protocol)})
			}
		}
	}
	if out.Placement, err = placement(t.TaskTemplate.Placement); err != nil {
		return out, err
	}
	out.Restart = restart(t)
	if out.Update, err = rollout("UpdateConfig", t.UpdateConfig); err != nil {
		return out, err
	}
	out.Rollback, err = rollout("RollbackConfig", t.RollbackConfig)
	return out, err
}

// fingerprint differs when tasks are to be replaced: for everything of a task but where it may be.
func fingerprint(t template) string {
	of := t.TaskTemplate
	of.Placement, of.RestartPolicy = nil, nil
	in := thing{"Task": of}
	if t.EndpointSpec != nil {
		in["Ports"] = t.EndpointSpec.Ports
	}
	data, _ := json.Marshal(in) // was decoded
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// mode reads how many tasks there are to be.
func mode(out *orchestrator.Spec, m swarm.ServiceMode) error {
	count := 0
	for _, given := range []bool{m.Replicated != nil, m.Global != nil, m.ReplicatedJob != nil, m.GlobalJob != nil} {
		if given {
			count++
		}
	}
	out.Replicas = 1
	switch {
	case count > 1:
		return fail(http.StatusBadRequest, "must specify only one service mode")
	case m.Global != nil:
		out.Mode = orchestrator.Global
	case m.GlobalJob != nil:
		out.Mode = orchestrator.GlobalJob
	case m.ReplicatedJob != nil:
		out.Mode = orchestrator.ReplicatedJob
		if n := m.ReplicatedJob.TotalCompletions; n != nil {
			out.Replicas = *n
		} else if n := m.ReplicatedJob.MaxConcurrent; n != nil {
			out.Replicas = *n
		}
		if n := m.ReplicatedJob.MaxConcurrent; n != nil {
			out.Concurrent = *n
		}
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		out.Replicas = *m.Replicated.Replicas
	}
	if out.Replicas > maxTasks || out.Concurrent > maxTasks {
		return fail(http.StatusBadRequest, "Mode: a service has %d tasks at most", maxTasks)
	}
	return nil
}

func placement(p *swarm.Placement) (out orchestrator.Placement, err error) {
	if p == nil {
		return out, nil
	}
	for _, text := range p.Constraints {
		c, err := orchestrator.ParseConstraint(text)
		if err != nil {
			return out, fail(http.StatusBadRequest, "TaskTemplate.Placement.Constraints: %v", err)
		}
		out.Constraints = append(out.Constraints, c)
	}
	for _, pref := range p.Preferences {
		if pref.Spread == nil {
			return out, fail(http.StatusBadRequest, "TaskTemplate.Placement.Preferences: a preference must say what to spread over")
		}
		name := pref.Spread.SpreadDescriptor
		for _, before := range []string{"node.labels.", "engine.labels."} {
			if rest, ok := strings.CutPrefix(name, before); ok {
				out.Spread, name = append(out.Spread, rest), ""
			}
		}
		if name != "" {
			return out, fail(http.StatusBadRequest, "TaskTemplate.Placement.Preferences: %q is neither node.labels.NAME nor engine.labels.NAME", clip(name))
		}
	}
	out.MostPerNode = p.MaxReplicas
	return out, nil
}

// restart is the policy, with what is true where nothing is said: any end, after five seconds.
func restart(t template) orchestrator.Restart {
	out := orchestrator.Restart{Condition: orchestrator.Any, Delay: 5 * time.Second}
	p := t.TaskTemplate.RestartPolicy
	if p == nil {
		return out
	}
	if p.Condition != "" {
		out.Condition = orchestrator.Condition(p.Condition)
	}
	if p.Delay != nil {
		out.Delay = *p.Delay
	}
	if p.MaxAttempts != nil {
		out.MaxAttempts = *p.MaxAttempts
	}
	if p.Window != nil {
		out.Window = *p.Window
	}
	return out
}

// rollout is how tasks are replaced, with what is true where nothing is said: one at a time, watched for five seconds.
func rollout(name string, c *swarm.UpdateConfig) (orchestrator.Rollout, error) {
	out := orchestrator.Rollout{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: "pause"}
	if c == nil {
		return out, nil
	}
	out.Parallelism, out.Delay, out.MaxFailureRatio = c.Parallelism, c.Delay, float64(c.MaxFailureRatio)
	if c.Monitor != 0 {
		out.Monitor = c.Monitor
	}
	if c.FailureAction != "" {
		out.FailureAction = string(c.FailureAction)
	}
	out.StartFirst = c.Order == swarm.UpdateOrderStartFirst
	switch {
	case c.Delay < 0 || c.Monitor < 0:
		return out, fail(http.StatusBadRequest, "%s: a time cannot be negative", name)
	case c.MaxFailureRatio < 0 || c.MaxFailureRatio > 1:
		return out, fail(http.StatusBadRequest, "%s.MaxFailureRatio: %v is not between 0 and 1", name, c.MaxFailureRatio)
	case name == "RollbackConfig" && c.FailureAction == swarm.UpdateFailureActionRollback:
		return out, fail(http.StatusBadRequest, "RollbackConfig.FailureAction: a rollback that fails can pause or continue")
	}
	return out, nil
}
