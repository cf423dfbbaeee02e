package docker

import (
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
		"--update-delay 0s --update-monitor 0s IMAGE sh -c 'echo begun; exec sleep 600'"},
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
	for _, l := range services {
		l.typed = strings.ReplaceAll(l.typed, "STACK", filepath.Join(root, "e2e", "docker", "stack.yaml"))
		c.play(l)
	}
}
