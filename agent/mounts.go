package agent

import (
	"fmt"
	"path/filepath"
	"strings"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// mountsOf checks the host directories a task wants against those this agent allows, links resolved on both sides, and hands
// the resolved ones on: a link that is turned elsewhere afterwards changes nothing.
func mountsOf(wanted []*polderv1.Mount, allowed []string) ([]runtime.Mount, error) {
	var out []runtime.Mount
	for _, m := range wanted {
		source, err := filepath.EvalSymlinks(m.Source)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Source, err)
		}
		if !within(source, allowed) {
			return nil, fmt.Errorf("mount %s: this node allows no tasks to mount it; start its agent with --allow-mount %s to permit it", m.Source, m.Source)
		}
		out = append(out, runtime.Mount{Source: source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return out, nil
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
