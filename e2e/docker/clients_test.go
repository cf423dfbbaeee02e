package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"polder.dev/polder/e2e/stage"
)

// libraries: programs on the client libraries of other people live with the door as with an engine. They show the certificate.
func libraries(t *testing.T, c *client) {
	root, err := stage.Root()
	must(t, err)
	at, node := filepath.Join(root, "e2e", "docker"), filepath.Join(c.dir, "node")
	must(t, os.CopyFS(node, os.DirFS(filepath.Join(at, "node"))))
	in := func(dir string, argv ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	in(filepath.Join(at, "clients"), "go", "build", "-o", c.dir+"/", "./moby", "./testcontainers")
	in(node, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	for _, program := range [][]string{
		{filepath.Join(c.dir, "moby")}, {filepath.Join(c.dir, "testcontainers")}, {"node", filepath.Join(node, "life.js")},
	} {
		own := c.with(t, "TESTCONTAINERS_RYUK_DISABLED=true", "DOCKER_CONFIG="+t.TempDir())
		if out, code := own.run("", append(program, image)...); code != 0 || !strings.HasSuffix(strings.TrimSpace(out), "ok") {
			t.Errorf("%s: exit code %d\n%s", filepath.Base(program[0]), code, out)
		}
	}
	if left := c.says("ps", "-aq"); left != "" {
		t.Errorf("they left %s", left)
	}
}
