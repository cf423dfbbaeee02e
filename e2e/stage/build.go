package stage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs are paths of the programs of a story.
type Programs struct {
	Polder string
	Worker string
}

// Build builds the programs into a directory. They are linked statically, so that they run in any container, too.
func Build(ctx context.Context, dir string) (Programs, error) {
	root, err := Root()
	if err != nil {
		return Programs{}, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", dir+string(filepath.Separator), "./cmd/polder", "./e2e/worker")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return Programs{Polder: filepath.Join(dir, "polder"), Worker: filepath.Join(dir, "worker")}, nil
}

// Root is the top of this source tree. The working directory must be in it.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", fmt.Errorf("no go.mod above the working directory: run this inside the source tree")
	}
	return filepath.Dir(mod), nil
}

// TempDir makes a directory for a story: short, because sockets are in it, and open to the users of tasks. remove keeps it
// when keep says so, and tells where it is.
func TempDir(name string) (dir string, remove func(keep bool) error, err error) {
	dir, err = os.MkdirTemp("/tmp", "polder-"+name+"-")
	if err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	return dir, func(keep bool) error {
		if keep {
			fmt.Fprintf(os.Stderr, "Everything is kept in %s\n", dir)
			return nil
		}
		return os.RemoveAll(dir)
	}, nil
}
