package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-client/pkg"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	purgeLimit = 15 * time.Second
)

// purge removes what ended pods have left: their sandboxes with their network, and mounts. It does nothing while any process of
// a pod runs.
func (n *machine) purge() error {
	if n.busy() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), purgeLimit)
	defer cancel()
	return errors.Join(n.removeSandboxes(ctx), n.unmount())
}

// busy reports whether any process of a pod runs.
func (n *machine) busy() bool {
	roots, _ := filepath.Glob(filepath.Join(cgroupRoot, "*"))
	busy := false
	for _, root := range append(roots, cgroupRoot) {
		_ = filepath.WalkDir(filepath.Join(root, n.Cgroup, "kubepods"), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil // what cannot be read is gone
			}
			data, err := os.ReadFile(name)
			if err == nil && len(data) > 0 {
				busy = true
				return fs.SkipAll
			}
			return nil
		})
	}
	return busy
}

func (n *machine) removeSandboxes(ctx context.Context) error {
	r, err := cri.NewRemoteRuntimeServiceBuilder().WithEndpoint("unix://" + n.socket).WithConnectionTimeout(purgeLimit).Build(ctx)
	if err != nil {
		return err
	}
	list, err := r.ListPodSandbox(ctx, nil)
	if err != nil {
		return err
	}
	for _, s := range list {
		if err := errors.Join(r.StopPodSandbox(ctx, s.Id), r.RemovePodSandbox(ctx, s.Id)); err != nil {
			return fmt.Errorf("sandbox of pod %s/%s: %w", s.Metadata.GetNamespace(), s.Metadata.GetName(), err)
		}
	}
	return nil
}

// unmount takes off pods' volumes, and the kubelet's directory, which it mounts on itself.
func (n *machine) unmount() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, at := range mountsBelow(string(data), n.path("kubelet")) {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", at, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists the mounts at and below a directory, the latest first.
func mountsBelow(mountinfo, dir string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[4])
		if at == dir || strings.HasPrefix(at, dir+"/") {
			out = append([]string{at}, out...)
		}
	}
	return out
}
