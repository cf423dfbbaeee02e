package agent

import (
	"fmt"
	"path/filepath"
	"strings"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// mountable is what tasks may mount: host directories, and volumes by their names.
type mountable struct {
	allowed []string                          // directories, with all below them
	volume  func(name string) (string, error) // the directory of a volume
	volumes string                            // what has those of all volumes
}

func (a *Agent) mountable() mountable {
	return mountable{a.c.Mounts, a.volumes.Directory, volumesDir(a.c.Dir)}
}

// of finds what a task wants to mount.
func (x mountable) of(wanted []*polderv1.Mount) ([]runtime.Mount, error) {
	var out []runtime.Mount
	for _, m := range wanted {
		var source, lease string
		var err error
		if m.Volume != "" {
			source, err = x.volume(m.Volume)
			lease = volume.Lease(source)
		} else {
			source, err = x.directory(m.Source)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, runtime.Mount{Source: source, Target: m.Target, ReadOnly: m.ReadOnly, Volume: m.Volume, Lease: lease})
	}
	return out, nil
}

// directory checks a host directory against those this agent allows, links resolved on both sides, and hands the resolved one on: a link that
// is turned elsewhere afterwards changes nothing.
func (x mountable) directory(source string) (string, error) {
	resolved, err := filepath.EvalSymlinks(source)
	if err != nil {
		return "", fmt.Errorf("mount %s: %w", source, err)
	}
	if !within(resolved, x.allowed) || within(resolved, []string{x.volumes}) {
		return "", fmt.Errorf("mount %s: this node allows no tasks to mount it; start its agent with --allow-mount %s to permit it", source, source)
	}
	return resolved, nil
}

// within reports whether a path without links is one of the allowed directories or below one.
func within(path string, allowed []string) bool {
	for _, dir := range allowed {
		root, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue // not there, so nothing is below it
		}
		if rel, err := filepath.Rel(root, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}
