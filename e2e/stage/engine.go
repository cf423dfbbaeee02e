package stage

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Engine starts a container engine of its own in a directory, with [Image] in it, and returns where it answers and how to end
// it. It fails when this machine cannot run one, and says what is missing.
func Engine(ctx context.Context, dir string) (host string, stop func() error, err error) {
	return engine(ctx, "engine.sh", dir)
}

// ApartEngine is [Engine] with a network, mounts and a host name of its own, as on another machine. Starting it again starts what died.
func ApartEngine(ctx context.Context, dir string) (host string, stop func() error, err error) {
	return engine(ctx, "apart.sh", dir)
}

func engine(ctx context.Context, name, dir string) (host string, stop func() error, err error) {
	root, err := Root()
	if err != nil {
		return "", nil, err
	}
	script := filepath.Join(root, "e2e", name)
	out, err := run(exec.CommandContext(ctx, script, "start", dir))
	stop = func() error {
		_, err := run(exec.Command(script, "stop", dir))
		return err
	}
	if err != nil {
		stop()
		return "", nil, err
	}
	lines := strings.Fields(out)
	return lines[len(lines)-1], stop, nil
}

// run returns what a command prints; what it complains about is in the error.
func run(cmd *exec.Cmd) (string, error) {
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), err
}
