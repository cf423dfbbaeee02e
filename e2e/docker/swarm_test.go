package docker

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"polder.dev/polder/e2e/stage"
)

// services is a session about services.
var services = []line{
	{typed: "info --format {{.Swarm.LocalNodeState}}", want: "active"},
	{typed: "node ls --format '{{.Status}} {{.Availability}}'", want: "Ready Active"},
	{typed: "service create -q -d --name web --replicas 3 --no-resolve-image --limit-memory 32m --limit-cpu 0.05 --stop-grace-period 1s " +
		"--update-delay 0s --update-monitor 1s IMAGE sh -c 'echo begun; exec sleep 600'"},
	{typed: "service ls --format '{{.Name}} {{.Replicas}}'", want: "web 3/3", until: true},
	{typed: "service ps web --format '{{.Name}} {{.Node}}'", want: "web.3 e2e-"},
	{typed: "service inspect web --format '{{.Spec.Mode.Replicated.Replicas}}'", want: "3"},
	{typed: "service logs --raw web", want: "begun", until: true},
	{typed: "service create -d --name web --no-resolve-image IMAGE true", code: 1, want: "already exists"},
	{typed: "service create -d --publish 8080:80 --no-resolve-image IMAGE true", code: 1, want: "publish with mode=host"},
	{typed: "service scale -d web=2"},
	{typed: "service ls --format '{{.Name}} {{.Replicas}}'", want: "web 2/2", until: true},
	{typed: "service update -q -d --env-add A=1 web"},
	{typed: "service inspect web --format '{{.UpdateStatus.State}}'", want: "completed", until: true},
	{typed: "service rollback -q -d web"},
	{typed: "service inspect web --format '{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ContainerSpec.Env}}'", want: "rollback_completed []", until: true},
	{typed: "service rm web"},
	{typed: "service create -q -d --name gated TASK --health-cmd 'test -f /tmp/ok' --health-interval 300ms --health-retries 2 " +
		"--update-failure-action rollback --update-monitor 1s --rollback-monitor 0s IMAGE sh -c 'touch /tmp/ok; exec sleep 600'"},
	{typed: "service ls --filter name=gated --format {{.Replicas}}", want: "1/1", until: true},
	{typed: "service update -q -d --args 'sleep 600' gated"},
	{typed: "service inspect gated --format '{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ContainerSpec.Args}}'", want: "rollback_completed [sh -c touch", until: true},
	{typed: "service create -q -d --name job --mode replicated-job --replicas 3 --max-concurrent 2 TASK IMAGE true"},
	{typed: "service ls --filter name=job --format {{.Replicas}}", want: "3/3 completed", until: true},
	{typed: "service create -q -d --name each --mode global TASK IMAGE sleep 600"},
	{typed: "service ls --filter name=each --format {{.Replicas}}", want: "3/3", until: true},
	{typed: "node update --availability drain NODE"},
	{typed: "service ls --filter name=each --format {{.Replicas}}", want: "2/2", until: true},
	{typed: "node update --availability active --label-add disk=fast NODE"},
	{typed: "service ls --filter name=each --format {{.Replicas}}", want: "3/3", until: true},
	{typed: "service update -q -d --constraint-add node.labels.disk==fast each"},
	{typed: "service ls --filter name=each --format {{.Replicas}}", want: "1/1", until: true},
	{typed: "service rm gated job each"},
	{typed: "ps -a --format '{{.Names}}'", never: ".", until: true},
	{typed: "stack deploy -d --resolve-image never -c STACK app"},
	{typed: "service logs --raw app_client", want: "a page of the stack\na password of the stack", until: true},
	{typed: "stack services app --format '{{.Name}} {{.Replicas}}'", want: "app_web 2/2", until: true},
	{typed: "stack ps app --format '{{.Name}} {{.CurrentState}}'", want: "app_web.2 Running"},
	{typed: "secret rm app_password", code: 1, want: "in use by the following services: app_client"},
	{typed: "stack rm app", want: "Removing network app_default"},
	{typed: "network ls --format {{.Name}}", never: "app_default"},
	{typed: "ps -a --format '{{.Names}}'", never: ".", until: true},
}

// swarmMode replays the session about services.
func swarmMode(t *testing.T, c *client) {
	root, err := stage.Root()
	must(t, err)
	words := strings.NewReplacer("STACK", filepath.Join(root, "e2e", "docker", "stack.yaml"), "NODE", c.pool.Nodes[0],
		"TASK", "--no-resolve-image --limit-memory 32m --limit-cpu 0.05 --stop-grace-period 1s")
	for _, l := range services {
		l.typed = words.Replace(l.typed)
		c.play(l)
	}
	c.survives()
}

// survives kills the server: what is wanted is still wanted after that, and what ran has gone on.
func (c *client) survives() {
	c.says("service", "create", "-q", "-d", "--name", "kept", "--replicas", "2", "--no-resolve-image", "--limit-memory", "32m", "--limit-cpu", "0.05",
		"--stop-grace-period", "1s", image, "sleep", "600")
	c.until("kept 2/2", "service", "ls", "--format", "{{.Name}} {{.Replicas}}")
	before := c.says("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}")
	c.pool.Server.Kill()
	must(c.t, c.pool.Server.Start())
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	must(c.t, c.pool.AwaitNodes(ctx))
	var again *client
	must(c.t, stage.Retry(ctx, func(context.Context) error { // the door has another port
		again = c.configured("again")
		if out, _ := again.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}"); !strings.Contains(out, "kept 2/2") {
			return errors.New("docker service ls says " + out)
		}
		return nil
	}))
	if after := again.says("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"); after != before {
		c.t.Errorf("after the server died there are\n%s\nbefore\n%s", after, before)
	}
	again.says("service", "rm", "kept")
	again.play(line{typed: "ps -a --format '{{.Names}}'", never: ".", until: true})
}
