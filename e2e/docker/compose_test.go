//go:build clients

package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"polder.dev/polder/e2e/stage"
)

// plugged builds a plug-in of docker's from its module, for clients of this test to find.
func plugged(t *testing.T, name, module string) {
	root, err := stage.Root()
	must(t, err)
	home := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(home, ".docker", "cli-plugins", name), module)
	build.Dir = filepath.Join(root, "e2e", "clients")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	for _, name := range []string{"GOCACHE", "GOPATH"} { // what is built from now on has the same home for what was built before
		out, err := exec.Command("go", "env", name).Output()
		must(t, err)
		t.Setenv(name, strings.TrimSpace(string(out)))
	}
	t.Setenv("HOME", home)
}

// TestBuildx: docker build as it is today, with docker buildx and BuildKit, builds with the pool's engines what the pool then runs.
func TestBuildx(t *testing.T) {
	plugged(t, "docker-buildx", "github.com/docker/buildx/cmd/buildx")
	c := newClient(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "password"), []byte("not kept"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(`FROM polder/busybox AS one
COPY Dockerfile /from
RUN --mount=type=cache,target=/cache grep -c FROM /from > /made
RUN --mount=type=secret,id=word grep -q kept /run/secrets/word && test ! -e /password
FROM polder/busybox
COPY --from=one /made /made
`), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "hosts"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "hosts", "Dockerfile"), []byte("FROM polder/busybox\nRUN test -e /etc/hosts\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("password\n"), 0o600))
	for _, l := range []line{
		{typed: "buildx inspect", want: "Driver: docker\n"},
		{typed: "build --progress plain --secret id=word,src=DIR/password -t polder/kit DIR", want: "naming to docker.io/polder/kit"},
		{typed: "run --rm polder/kit cat /made", want: "2"},
		{typed: "build --progress plain --secret id=word,src=DIR/password -t polder/kit DIR", want: "CACHED"},
		{typed: "build --progress plain --network host --allow network.host -t polder/hosts DIR/hosts", want: "naming to docker.io/polder/hosts"},
		{typed: "buildx du", want: "Reclaimable"},
		{typed: "rmi polder/kit polder/hosts", want: "Untagged: polder/kit"},
		{typed: "builder prune -af", want: "Total:"},
		{typed: "system prune -f", want: "Total reclaimed space"},
	} {
		l.typed = strings.ReplaceAll(l.typed, "DIR", dir)
		c.play(l)
	}
}

// TestCompose: docker compose, built from its module, is typed as docs/docker-session.md says: five services that wait for each other,
// one is scaled, and nothing is left. It takes minutes to build; "make clients" runs it.
func TestCompose(t *testing.T) {
	plugged(t, "docker-compose", "github.com/docker/compose/v5/cmd")
	s := newShell(t)
	for _, part := range sessions(t) {
		if part.title == "A session with the Docker door" || part.title == "Compose" {
			s.play(t, part.steps)
		}
	}
}
