package mesos

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// Labels by which the door finds its tasks in the pool again.
const (
	labelFramework = "mesos/framework"
	labelPrincipal = "mesos/principal"
	labelTask      = "mesos/task"
	labelRole      = "mesos/role"
	labelExecutor  = "mesos/executor"
	labelKind      = "mesos/kind" // command, executor or hold
)

// checkTask is Mesos' validation of a task, as far as it does not depend on resources.
func (a *acceptance) checkTask(t *mesosv1.TaskInfo) error {
	id := t.TaskId.GetValue()
	if err := checkID(id); err != nil {
		return refusal("Task ID is invalid: %v", err)
	}
	switch {
	case a.f.tasks[id] != nil:
		return refusal("Task has duplicate ID: %s", id)
	case t.AgentId.GetValue() != a.node.name:
		return refusal("Task uses invalid agent %s while agent %s is expected", t.AgentId.GetValue(), a.node.name)
	case (t.Command == nil) == (t.Executor == nil):
		return refusal("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
	case t.GetKillPolicy().GetGracePeriod().GetNanoseconds() < 0:
		return refusal("Task's 'kill_policy.grace_period' must be non-negative")
	case t.GetMaxCompletionTime().GetNanoseconds() < 0:
		return refusal("Task's 'max_completion_time' must be non-negative")
	case len(t.Limits) > 0:
		return refusal("Task's 'limits' are not supported: memory is limited to what the task asks for, and idle cpu is used anyway")
	case t.Check != nil:
		return refusal("Task's 'check' is not supported; use 'health_check'")
	}
	return nil
}

// commandSpec is what the pool is to run for a command task.
func commandSpec(f *framework, t *task, need wanted) (*polderv1.TaskSpec, error) {
	if t.info.Executor != nil {
		return nil, nil
	}
	spec, err := runSpec(t.info.Command, t.info.Container)
	if err != nil {
		return nil, err
	}
	common(spec, f, need, t.role)
	spec.Labels[labelKind], spec.Labels[labelTask] = "command", t.id()
	if spec.Ports, err = portsSpec(t.info.Container, need.ports, t.info.GetDiscovery()); err != nil {
		return nil, err
	}
	setEnv(spec, "MESOS_TASK_ID", t.id())
	setEnv(spec, "MESOS_FRAMEWORK_ID", f.id)
	setEnv(spec, "MESOS_AGENT_ID", t.node)
	setEnv(spec, "MESOS_ALLOCATION_ROLE", t.role)
	spec.Kill = killSpec(t.info.KillPolicy)
	if d := t.info.GetMaxCompletionTime(); d != nil {
		spec.MaxRunTime = durationpb.New(time.Duration(d.GetNanoseconds()))
	}
	if spec.Health, err = healthSpec(t.info.HealthCheck); err != nil {
		return nil, err
	}
	return spec, checkText(spec)
}

// checkText refuses text that is not UTF-8, which Mesos' own messages may contain: the pool keeps none.
func checkText(s *polderv1.TaskSpec) error {
	var bad string
	check := func(texts ...string) {
		for _, text := range texts {
			if !utf8.ValidString(text) {
				bad = text
			}
		}
	}
	check(s.Command...)
	check(s.User, s.Image)
	for name, value := range s.Env {
		check(name, value)
	}
	for _, value := range s.Labels {
		check(value)
	}
	for _, a := range s.Artifacts {
		check(a.Uri, a.Path)
	}
	for _, m := range s.Mounts {
		check(m.Source, m.Target)
	}
	check(s.GetHealth().GetCommand()...)
	if bad != "" {
		return refusal("%.80q is not UTF-8", bad)
	}
	return nil
}

// common is what every task of a framework has. Who borrows knowingly has its ordinary resources paid by the role's own
// guarantee; others may be asked back whatever the pool lends them.
func common(spec *polderv1.TaskSpec, f *framework, need wanted, role string) {
	spec.Resources = texts(need.amounts)
	spec.Labels = map[string]string{labelFramework: f.id, labelPrincipal: f.principal, labelRole: role}
	spec.Preemptible = new(!f.borrows() || !isEmpty(need.revocable))
	spec.Requeue = new(false)
}

// holdSpec is the lease of a task that its executor runs.
func holdSpec(f *framework, t *task, need wanted) *polderv1.TaskSpec {
	spec := &polderv1.TaskSpec{Runtime: "process", Command: []string{"sleep", "infinity"}}
	common(spec, f, need, t.role)
	spec.Labels[labelKind], spec.Labels[labelTask], spec.Labels[labelExecutor] = "hold", t.id(), t.executor.id
	spec.Ports, _ = portsSpec(nil, need.ports, nil) // without a container there is nothing to refuse
	return spec
}

// runSpec is what a command in a container is to the pool.
func runSpec(c *mesosv1.CommandInfo, box *mesosv1.ContainerInfo) (*polderv1.TaskSpec, error) {
	spec := &polderv1.TaskSpec{Env: map[string]string{}, User: c.GetUser()}
	if err := containerSpec(spec, box); err != nil {
		return nil, err
	}
	switch {
	case c.GetShell() && c.Value != nil:
		spec.Command = []string{"/bin/sh", "-c", c.GetValue()}
	case c.GetShell() && spec.Image == "":
		return nil, refusal("Command 'shell' requires a value")
	case len(c.GetArguments()) > 0 && spec.Image != "" && c.Value == nil:
		spec.Command = c.Arguments // arguments for the image's entry point
	case len(c.GetArguments()) > 0:
		spec.Command = append([]string{c.GetValue()}, c.Arguments[1:]...)
	case c.Value != nil:
		spec.Command = []string{c.GetValue()}
	}
	for _, v := range c.GetEnvironment().GetVariables() {
		if v.GetType() == mesosv1.Environment_Variable_SECRET {
			return nil, refusal("Environment variable '%s' is a secret; there is no resolver of secrets", v.GetName())
		}
		spec.Env[v.GetName()] = v.GetValue()
	}
	for _, u := range c.GetUris() {
		a, err := artifactSpec(u)
		if err != nil {
			return nil, err
		}
		spec.Artifacts = append(spec.Artifacts, a)
	}
	return spec, nil
}

func artifactSpec(u *mesosv1.CommandInfo_URI) (*polderv1.Artifact, error) {
	if !slices.ContainsFunc([]string{"http://", "https://"}, func(p string) bool { return len(u.GetValue()) > len(p) && u.GetValue()[:len(p)] == p }) {
		return nil, refusal("URI '%.200s' is not supported: only http and https are fetched", u.GetValue())
	}
	return &polderv1.Artifact{Uri: u.GetValue(), Path: u.GetOutputFile(), Executable: u.GetExecutable(), Extract: u.GetExtract() && !u.GetExecutable()}, nil
}

// containerSpec is what a container is to the pool: an image, volumes, and ports in one network.
func containerSpec(spec *polderv1.TaskSpec, box *mesosv1.ContainerInfo) error {
	switch {
	case box == nil:
		return nil
	case box.GetType() == mesosv1.ContainerInfo_DOCKER:
		d := box.GetDocker()
		switch {
		case d.GetImage() == "":
			return refusal("DockerInfo 'image' is missing")
		case d.GetPrivileged():
			return refusal("DockerInfo 'privileged' is not supported: no task gets more privileges than its image's user")
		case len(d.GetParameters()) > 0:
			return refusal("DockerInfo 'parameters' are not supported: they would let a task out of its bounds")
		case d.GetNetwork() == mesosv1.ContainerInfo_DockerInfo_NONE || d.GetNetwork() == mesosv1.ContainerInfo_DockerInfo_USER:
			return refusal("DockerInfo 'network' %v is not supported; use BRIDGE", d.GetNetwork())
		}
		spec.Image = d.GetImage()
	case box.GetMesos().GetImage() != nil:
		i := box.GetMesos().GetImage()
		if i.GetType() != mesosv1.Image_DOCKER || i.GetDocker().GetConfig() != nil || i.GetDocker().GetCredential() != nil {
			return refusal("Image: only Docker images without credentials of their own are supported")
		}
		spec.Image = i.GetDocker().GetName()
	}
	spec.Tty = box.GetTtyInfo() != nil
	switch {
	case box.GetLinuxInfo() != nil || box.GetRlimitInfo() != nil:
		return refusal("ContainerInfo 'linux_info' and 'rlimit_info' are not supported")
	case slices.ContainsFunc(box.GetNetworkInfos(), func(n *mesosv1.NetworkInfo) bool { return n.GetName() != "" }):
		return refusal("ContainerInfo 'network_infos': there are no named networks")
	}
	return volumesSpec(spec, box.GetVolumes())
}

// volumeDriver is the driver by which volumes of the pool are named.
const volumeDriver = "polder"

func volumesSpec(spec *polderv1.TaskSpec, volumes []*mesosv1.Volume) error {
	for _, v := range volumes {
		if x := v.GetSource().GetDockerVolume(); x != nil && v.GetSource().GetType() == mesosv1.Volume_Source_DOCKER_VOLUME {
			if x.GetDriver() != volumeDriver || x.DriverOptions != nil || x.GetName() == "" || v.GetContainerPath() == "" {
				return refusal("Volume '%s': of external volumes only those of the pool are mounted: driver '%s', its name, and no options", v.GetContainerPath(), volumeDriver)
			}
			spec.Mounts = append(spec.Mounts, &polderv1.Mount{Volume: x.GetName(), Target: v.GetContainerPath(), ReadOnly: v.GetMode() == mesosv1.Volume_RO})
			continue
		}
		source := v.GetHostPath()
		if s := v.GetSource(); s.GetType() == mesosv1.Volume_Source_HOST_PATH {
			source = s.GetHostPath().GetPath()
		} else if s != nil || v.GetImage() != nil {
			return refusal("Volume '%s': only directories of the host, and volumes of the pool, are supported", v.GetContainerPath())
		}
		if len(source) == 0 || source[0] != '/' || v.GetContainerPath() == "" || v.GetContainerPath()[0] != '/' {
			return refusal("Volume '%s' of host path '%s': both must be absolute paths", v.GetContainerPath(), source)
		}
		spec.Mounts = append(spec.Mounts, &polderv1.Mount{Source: source, Target: v.GetContainerPath(), ReadOnly: v.GetMode() == mesosv1.Volume_RO})
	}
	return nil
}

// portsSpec are the host ports a task holds. In a container each is published under its own number, or as the port mappings say:
// the host's network itself is not given away.
func portsSpec(box *mesosv1.ContainerInfo, ports []uint16, discovery *mesosv1.DiscoveryInfo) ([]*polderv1.Port, error) {
	var out []*polderv1.Port
	mapped := map[uint32]*mesosv1.ContainerInfo_DockerInfo_PortMapping{}
	for _, m := range box.GetDocker().GetPortMappings() {
		if !slices.Contains(ports, uint16(m.GetHostPort())) || m.GetHostPort() > 65535 {
			return nil, refusal("Port mapping of host port %d: the task does not hold that port", m.GetHostPort())
		}
		mapped[m.GetHostPort()] = m
	}
	for i, p := range ports {
		x := &polderv1.Port{Name: fmt.Sprintf("port%d", i), HostPort: uint32(p)}
		if m := mapped[uint32(p)]; m != nil {
			x.ContainerPort, x.Protocol = m.GetContainerPort(), m.GetProtocol()
		}
		out = append(out, x)
	}
	return out, nil
}

func killSpec(k *mesosv1.KillPolicy) *polderv1.KillPolicy {
	grace := defaultGrace
	if g := k.GetGracePeriod(); g != nil {
		grace = time.Duration(g.GetNanoseconds())
	}
	return &polderv1.KillPolicy{Grace: durationpb.New(grace)}
}

// defaultGrace is the time between TERM and KILL where nobody says otherwise; Mesos' own.
const defaultGrace = 3 * time.Second

func healthSpec(h *mesosv1.HealthCheck) (*polderv1.HealthCheck, error) {
	if h == nil {
		return nil, nil
	}
	seconds := func(s float64) *durationpb.Duration { return durationpb.New(time.Duration(s * float64(time.Second))) }
	out := &polderv1.HealthCheck{
		Interval: seconds(h.GetIntervalSeconds()), Timeout: seconds(h.GetTimeoutSeconds()),
		Failures: h.GetConsecutiveFailures(), StartPeriod: seconds(h.GetDelaySeconds() + h.GetGracePeriodSeconds()),
	}
	switch {
	case h.Http != nil:
		scheme := h.Http.GetScheme()
		if scheme == "" {
			scheme = "http"
		}
		out.Http = fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, h.Http.GetPort(), h.Http.GetPath())
	case h.Tcp != nil:
		out.Tcp = fmt.Sprintf("127.0.0.1:%d", h.Tcp.GetPort())
	case h.Command.GetShell() && h.Command.GetValue() != "":
		out.Command = []string{"/bin/sh", "-c", h.Command.GetValue()}
	case len(h.Command.GetArguments()) > 0:
		out.Command = h.Command.Arguments
	default:
		return nil, refusal("HealthCheck must be one of command, http and tcp")
	}
	return out, nil
}

// setEnv sets a variable unless the task has its own of that name.
func setEnv(spec *polderv1.TaskSpec, name, value string) {
	if _, own := spec.Env[name]; !own {
		spec.Env[name] = value
	}
}
