package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

const defaultKillGrace = 10 * time.Second

// lastWords is the time between a stop signal that comes at a deadline and SIGKILL.
const lastWords = time.Second

// runtimeName is the runtime an assignment wants.
func runtimeName(s *polderv1.TaskSpec) string {
	switch {
	case s.GetRuntime() != "":
		return s.GetRuntime()
	case s.GetImage() != "":
		return "docker"
	}
	return "process"
}

// specOf translates an assignment for its runtime. The error names the field that cannot work.
func specOf(a *polderv1.Assignment, node, sandbox string, mounts mountable) (runtime.Spec, error) {
	s := a.GetSpec()
	out := runtime.Spec{
		TaskID: a.Task, Role: a.Role, Node: node, Command: s.GetCommand(), Image: s.GetImage(), Env: s.GetEnv(),
		WorkDir: s.GetWorkDir(), User: s.GetUser(), Labels: s.GetLabels(), Sandbox: sandbox,
		StopSignal: s.GetKill().GetSignal(), Funded: funded(a.Funding), Stdin: s.GetStdin(), TTY: s.GetTty(), Volume: s.GetVolume().GetName(),
	}
	var err error
	if s.GetContainer() != nil {
		if out.Container, err = containerOf(s.Container, node, sandbox, mounts); err != nil {
			return out, err
		}
	}
	if out.Mounts, err = mounts.of(s.GetMounts()); err != nil {
		return out, err
	}
	for name, text := range a.Resources {
		amount, err := resource.ParseValue(name, text)
		if err != nil {
			return out, err
		}
		switch _, kind := resource.SplitName(name); kind {
		case "cpu":
			out.CPU = int64(amount)
		case "memory":
			out.MemoryBytes = int64(amount)
		}
	}
	for _, p := range s.GetPorts() {
		host := a.Ports[p.Name]
		if host == 0 || host > 65535 || p.ContainerPort > 65535 {
			return out, fmt.Errorf("port %q has host port %d and container port %d", p.Name, host, p.ContainerPort)
		}
		out.Ports = append(out.Ports, runtime.PortMap{
			Name: p.Name, HostPort: uint16(host), ContainerPort: uint16(p.ContainerPort), Protocol: p.Protocol,
		})
	}
	return out, out.Validate()
}

func funded(funding string) string {
	if funding == "" || funding == runtime.Borrowed {
		return runtime.Borrowed
	}
	return runtime.Guaranteed
}

// killGrace is the time between the stop signal and SIGKILL when nobody waits for the resources.
func killGrace(a *polderv1.Assignment) time.Duration {
	if g := a.GetSpec().GetKill().GetGrace(); g != nil {
		return max(g.AsDuration(), 0)
	}
	return defaultKillGrace
}

// ownGrace is the time before a notice's deadline at which a task wants its stop signal: what its kill policy sets, else none.
func ownGrace(a *polderv1.Assignment) time.Duration {
	return max(a.GetSpec().GetKill().GetGrace().AsDuration(), 0)
}

// withPorts replaces {port:NAME} by the task's host ports.
func withPorts(text string, a *polderv1.Assignment) string {
	for name, port := range a.Ports {
		text = strings.ReplaceAll(text, "{port:"+name+"}", strconv.Itoa(int(port)))
	}
	return text
}

// sandboxOf is a task's directory below dir. Containers reach theirs through the engine, so only root needs to; a process
// walks there itself. A volume has none.
func sandboxOf(dir string, a *polderv1.Assignment) string {
	if a.GetSpec().GetVolume() != nil {
		return ""
	}
	if c := a.GetSpec().GetContainer(); c != nil {
		return containerSandbox(dir, c.Id)
	}
	if a.GetSpec().GetImage() != "" {
		return filepath.Join(dir, "containers", a.Task)
	}
	return filepath.Join(dir, "sandboxes", a.Task)
}

// makeSandbox creates the task's directory. A container's is open to all users, as only its image knows them; no other
// user of the machine gets there.
func makeSandbox(dir string, a *polderv1.Assignment) error {
	if dir == "" {
		return nil
	}
	if a.GetSpec().GetContainer() != nil {
		return renewContainerSandbox(dir)
	}
	parent, mode := os.FileMode(0o711), os.FileMode(0o755)
	if a.GetSpec().GetImage() != "" {
		parent, mode = 0o700, 0o777
	}
	if err := os.MkdirAll(filepath.Dir(dir), parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err != nil {
		if os.IsExist(err) {
			return nil // by an earlier try; its owner may have changed since
		}
		return err
	}
	return os.Chmod(dir, mode) // whatever the umask is
}

// makeMountPoints makes the directories below the sandbox at which something is mounted. What is fetched or was left there may hold
// links; none leads outside.
func makeMountPoints(spec runtime.Spec) error {
	for _, m := range spec.Mounts {
		if filepath.IsAbs(m.Target) {
			continue
		}
		root, err := os.OpenRoot(spec.Sandbox)
		if err == nil {
			err = errors.Join(root.MkdirAll(m.Target, 0o755), root.Close())
		}
		if err != nil {
			return fmt.Errorf("making the directory %s to mount at: %w", m.Target, err)
		}
	}
	return nil
}
