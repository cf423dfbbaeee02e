package runtime

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Who pays for a task, as far as a machine cares: its own side of the tree's guarantees, or the whole cluster's idle
// capacity.
const (
	Guaranteed = "guaranteed"
	Borrowed   = "borrowed"
)

// Spec is everything a runtime is told about a task. It has no field that raises privileges, on purpose. It is stored
// as JSON by the runtimes, so fields are only ever added.
type Spec struct {
	TaskID  string            `json:"taskID"`            // unique in the cluster, see [ValidTaskID]
	Role    string            `json:"role"`              // "corp/search/rank"
	Node    string            `json:"node,omitempty"`    // the node the task was placed on
	Command []string          `json:"command,omitempty"` // no shell is added; empty: the image's own
	Image   string            `json:"image,omitempty"`   // containers only
	Env     map[string]string `json:"env,omitempty"`
	WorkDir string            `json:"workDir,omitempty"` // empty: the sandbox (process) or the image's own (docker)
	User    string            `json:"user,omitempty"`    // "name", "uid" or "uid:gid"; empty: the agent's or image's own
	Mounts  []Mount           `json:"mounts,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`

	CPU         int64 `json:"cpu,omitempty"`         // thousandths of a core: the share, and the cap if CPUHard
	CPUHard     bool  `json:"cpuHard,omitempty"`     // never more than CPU, even when the machine idles
	MemoryBytes int64 `json:"memoryBytes,omitempty"` // hard limit; 0 is none
	Pids        int64 `json:"pids,omitempty"`        // most processes and threads; 0 is none

	Ports      []PortMap `json:"ports,omitempty"`
	GPUs       []string  `json:"gpus,omitempty"`       // of the machine's, by number or UUID; the task may use no others
	Sandbox    string    `json:"sandbox,omitempty"`    // directory of the machine, made by the agent; $POLDER_SANDBOX in the task
	StopSignal string    `json:"stopSignal,omitempty"` // what the agent sends first; empty is SIGTERM
	Funded     string    `json:"funded,omitempty"`     // Guaranteed or Borrowed; empty is Borrowed
	Stdin      bool      `json:"stdin,omitempty"`      // its input stays open for Attach; otherwise it is empty
	TTY        bool      `json:"tty,omitempty"`        // it gets a terminal, which is its input too
	Gate       string    `json:"gate,omitempty"`       // host:port on loopback where doors are reached; $POLDER_GATE in a process

	// Volume is the name of the volume that the task is; nothing runs then.
	Volume string `json:"volume,omitempty"`
	// Container, where a door made one, is what runs; the fields above only say what it was made with and may use.
	Container *Container `json:"container,omitempty"`
}

// Mount makes a path of the machine visible in the task.
type Mount struct {
	Source   string `json:"source"` // absolute, exists
	Target   string `json:"target"` // absolute, or a directory that is there below the sandbox
	ReadOnly bool   `json:"readOnly,omitempty"`
	// Of a volume of the pool, its name and the task whose lease it is.
	Volume string `json:"volume,omitempty"`
	Lease  string `json:"lease,omitempty"`
}

// At is where the task sees the mount, if it sees its sandbox there.
func (m Mount) At(sandbox string) string {
	if path.IsAbs(m.Target) {
		return m.Target
	}
	return path.Join(sandbox, m.Target)
}

// PortMap is a port the task was given. In a container the task listens on ContainerPort and the engine publishes it;
// a process shares the machine's network and listens on HostPort itself.
type PortMap struct {
	Name          string `json:"name,omitempty"`
	HostPort      uint16 `json:"hostPort"`
	ContainerPort uint16 `json:"containerPort,omitempty"` // 0: the same as HostPort
	Protocol      string `json:"protocol,omitempty"`      // "tcp" (default) or "udp"
}

var (
	taskID  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,119}$`)
	envName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]*$`)
)

// ValidTaskID reports whether id can name a task: it becomes a directory, a cgroup and a container name.
func ValidTaskID(id string) bool { return taskID.MatchString(id) }

// Validate checks what is wrong on every machine; the error is of kind [ErrInvalid] and names the field.
func (s Spec) Validate() error {
	for _, err := range []error{s.checkNames(), s.checkPaths(), s.checkLimits(), s.checkPorts()} {
		if err != nil {
			return &Error{Kind: ErrInvalid, Op: "spec", Task: s.TaskID, Cause: err}
		}
	}
	return nil
}

func (s Spec) checkNames() error {
	if !ValidTaskID(s.TaskID) {
		return fmt.Errorf("taskID %q: use up to 120 letters, digits, '_', '.', '-', starting with a letter or digit", s.TaskID)
	}
	for _, part := range strings.Split(s.Role, "/") {
		if part == "." || part == ".." || (part == "" && s.Role != "") || strings.ContainsRune(part, 0) {
			return fmt.Errorf("role %q: not a role path", s.Role)
		}
	}
	for name, value := range s.Env {
		if !envName.MatchString(name) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("env %q: names are letters, digits, '_', '.', '-', and values hold no zero byte", name)
		}
	}
	if _, err := ParseSignal(s.StopSignal); err != nil {
		return fmt.Errorf("stopSignal: %w", err)
	}
	return nil
}

func (s Spec) checkPaths() error {
	if s.Sandbox != "" && !path.IsAbs(s.Sandbox) {
		return fmt.Errorf("sandbox %q: not an absolute path", s.Sandbox)
	}
	if s.WorkDir != "" && !path.IsAbs(s.WorkDir) {
		return fmt.Errorf("workDir %q: not an absolute path", s.WorkDir)
	}
	for _, m := range s.Mounts {
		if !path.IsAbs(m.Source) || !path.IsAbs(m.Target) && (s.Sandbox == "" || !filepath.IsLocal(m.Target)) {
			return fmt.Errorf("mount %q to %q: the first must be an absolute path, and the other one, too, or one below the sandbox", m.Source, m.Target)
		}
	}
	return nil
}

func (s Spec) checkLimits() error {
	if s.CPU < 0 || s.MemoryBytes < 0 || s.Pids < 0 {
		return fmt.Errorf("limits cpu=%d memoryBytes=%d pids=%d: none may be negative", s.CPU, s.MemoryBytes, s.Pids)
	}
	if s.CPUHard && s.CPU == 0 {
		return fmt.Errorf("cpuHard without cpu: say how much")
	}
	if s.Funded != "" && s.Funded != Guaranteed && s.Funded != Borrowed {
		return fmt.Errorf("funded %q: use %q or %q", s.Funded, Guaranteed, Borrowed)
	}
	return nil
}

func (s Spec) checkPorts() error {
	for _, p := range s.Ports {
		if p.HostPort == 0 {
			return fmt.Errorf("port %q: hostPort is 0", p.Name)
		}
		if p.Protocol != "" && p.Protocol != "tcp" && p.Protocol != "udp" {
			return fmt.Errorf("port %q: protocol %q: use tcp or udp", p.Name, p.Protocol)
		}
	}
	return nil
}

// Stop is the signal the agent sends first when it wants the task to end. The spec must be valid.
func (s Spec) Stop() Signal {
	sig, _ := ParseSignal(s.StopSignal)
	return sig
}

// Interactive reports whether the task has an input to attach to.
func (s Spec) Interactive() bool { return s.Stdin || s.TTY }

// Environ is the task's environment as NAME=value, in order of name: the spec's own, over what every task is told
// (POLDER_TASK, POLDER_ROLE, POLDER_NODE, POLDER_SANDBOX, and where to listen: POLDER_PORT_HTTP for a port "http",
// POLDER_PORT0 for a first port without a name; a process also which GPUs are its own: CUDA_VISIBLE_DEVICES, and where doors
// are reached: POLDER_GATE).
// sandbox is where the task sees its sandbox; inContainer says which side of a port map it listens on.
func (s Spec) Environ(sandbox string, inContainer bool) []string {
	env := map[string]string{"POLDER_TASK": s.TaskID, "POLDER_ROLE": s.Role}
	if s.Node != "" {
		env["POLDER_NODE"] = s.Node
	}
	if len(s.GPUs) > 0 && !inContainer { // in a container there are only these, by other numbers
		env["CUDA_VISIBLE_DEVICES"] = strings.Join(s.GPUs, ",")
	}
	if s.Gate != "" && !inContainer { // a container has a loopback of its own
		env["POLDER_GATE"] = s.Gate
	}
	for i, p := range s.Ports {
		port := p.HostPort
		if inContainer {
			port = p.Container()
		}
		env[p.variable(i)] = fmt.Sprint(port)
	}
	maps.Copy(env, s.Env)
	if sandbox != "" {
		env["POLDER_SANDBOX"] = sandbox
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// Container is the port inside the container.
func (p PortMap) Container() uint16 {
	if p.ContainerPort == 0 {
		return p.HostPort
	}
	return p.ContainerPort
}

// variable names the environment variable of the i-th port.
func (p PortMap) variable(i int) string {
	if p.Name == "" {
		return fmt.Sprintf("POLDER_PORT%d", i)
	}
	return "POLDER_PORT_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(p.Name))
}

// FundedOrBorrowed is Funded with its default.
func (s Spec) FundedOrBorrowed() string {
	if s.Funded == "" {
		return Borrowed
	}
	return s.Funded
}
