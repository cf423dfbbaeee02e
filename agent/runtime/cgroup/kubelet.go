package cgroup

import (
	"fmt"
	"path"
	"strings"
)

// FollowKubelet has the tree look for pods where a kubelet that others run keeps them: below the cgroup that its configuration calls
// cgroupRoot, "/" by default. Either of a kubelet's two drivers may name the cgroups. It is called before the tree is used.
func (t *Tree) FollowKubelet(root string) error {
	if !path.IsAbs(root) || path.Clean(root) != root {
		return fmt.Errorf("cgroup %q of a kubelet: give what its configuration has as cgroupRoot, such as / or /kubelet", root)
	}
	t.kubelet = root
	return nil
}

// KubeletRuns reports whether the kubelet that is followed has made its cgroups.
func (t *Tree) KubeletRuns() bool {
	if t.h == nil || t.kubelet == "" {
		return false
	}
	parts := append(split(t.kubelet), "kubepods")
	_, ok := t.first([]string{path.Join(parts...), systemdDir(parts)})
	return ok
}

// kubeletDirs are where a kubelet may keep a pod, by its quality of service and the kubelet's driver.
func kubeletDirs(root, pod string) []string {
	var out []string
	for _, parent := range podParents {
		parts := append(append(split(root), split(parent)...), pod)
		out = append(out, path.Join(parts...), systemdDir(parts))
	}
	return out
}

func split(dir string) []string {
	return strings.FieldsFunc(dir, func(r rune) bool { return r == '/' })
}

// systemdDir is a cgroup as systemd names it: a slice's name has those above it in it, and no dash of its own.
func systemdDir(parts []string) string {
	dir, name := "", ""
	for _, part := range parts {
		name += strings.ReplaceAll(part, "-", "_")
		dir = path.Join(dir, name+".slice")
		name += "-"
	}
	return dir
}
