//go:build clients

package docker

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"polder.dev/polder/e2e/stage"
)

// TestCompose: docker compose, built from its module, brings up five services that wait for each other, scales one, and leaves
// nothing. It takes minutes to build; "make clients" runs it.
func TestCompose(t *testing.T) {
	root, err := stage.Root()
	must(t, err)
	plugins := filepath.Join(t.TempDir(), ".docker", "cli-plugins")
	build := exec.Command("go", "build", "-o", filepath.Join(plugins, "docker-compose"), "github.com/docker/compose/v5/cmd")
	build.Dir = filepath.Join(root, "e2e", "clients")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building compose: %v\n%s", err, out)
	}
	t.Setenv("HOME", filepath.Dir(filepath.Dir(plugins)))
	t.Setenv("COMPOSE_PROJECT_NAME", "five")
	c := newClient(t)
	file := filepath.Join(root, "e2e", "docker", "compose.yaml")
	compose := func(want string, args ...string) {
		t.Helper()
		if out := c.says(append([]string{"compose", "--ansi", "never", "-f", file}, args...)...); !strings.Contains(out, want) {
			t.Errorf("docker compose %s: want %q in\n%s", strings.Join(args, " "), want, out)
		}
	}
	compose("five-db-1 Healthy", "up", "-d", "--wait")
	compose("five-migrate-1 exited", "ps", "-a", "--format", "{{.Name}} {{.State}}")
	compose("five-web-1 running", "ps", "--format", "{{.Name}} {{.State}}")
	compose("working", "logs", "worker")
	compose("inside", "exec", "-T", "web", "echo", "inside")
	compose("five-worker-3", "up", "-d", "--scale", "worker=3", "--no-recreate")
	compose("five-web-1", "restart", "web")
	compose("five-db-1 Removed", "down", "-v")
	for _, what := range []string{"ps -aq", "volume ls -q", "network ls -q --filter name=five"} {
		if out := c.says(strings.Fields(what)...); out != "" {
			t.Errorf("docker %s: down left %s", what, out)
		}
	}
}
