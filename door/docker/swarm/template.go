package swarm

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	texttemplate "text/template"
	"time"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// template is what a service's user wants, as it came. A task keeps the one it was made from.
type template struct{ swarm.ServiceSpec }

// templates are those of one step, by what they say: a service's tasks are made from one, which the first that needs it reads for all.
type templates map[string]lazy

// lazy reads a template, once. It is everybody's who has it: nobody changes it.
type lazy func() (template, error)

// of is the template of a task.
func (by templates) of(t orchestrator.Task) lazy {
	read, known := by[string(t.Template)]
	if !known {
		read = sync.OnceValues(func() (out template, err error) {
			err = json.Unmarshal(t.Template, &out)
			return out, err
		})
		by[string(t.Template)] = read
	}
	return read
}

// thing is an object of the engine's API.
type thing = map[string]any

// What is true of a service that does not say otherwise.
const (
	defaultGrace = 10 * time.Second
	defaultCPU   = 100 // thousandths
	defaultBytes = 256 << 20
)

func (t template) spec() *swarm.ContainerSpec {
	if t.TaskTemplate.ContainerSpec == nil {
		return &swarm.ContainerSpec{}
	}
	return t.TaskTemplate.ContainerSpec
}

// lease is what a task's lease holds: the CPUs that are reserved, or those that limit it; the memory that limits it, or that is
// reserved.
func (t template) lease() (milli, memory int64) {
	r := t.TaskTemplate.Resources
	if r == nil {
		return defaultCPU, defaultBytes
	}
	limits, reserved := cmp.Or(r.Limits, &swarm.Limit{}), cmp.Or(r.Reservations, &swarm.Resources{})
	nano := cmp.Or(reserved.NanoCPUs, limits.NanoCPUs)
	return cmp.Or((nano+1e6-1)/1e6, defaultCPU), cmp.Or(limits.MemoryBytes, reserved.MemoryBytes, defaultBytes)
}

// gpus is how many GPUs a task's lease holds. Its container is made when it is known which ones they are, so nothing can be put into it, and
// it cannot be joined to more networks, before.
func (t template) gpus() (n int64, err error) {
	r := t.TaskTemplate.Resources
	if r == nil || r.Reservations == nil {
		return 0, nil
	}
	for _, g := range r.Reservations.GenericResources {
		if d := g.DiscreteResourceSpec; d != nil {
			n += max(0, d.Value)
		}
	}
	if n > 0 && (len(t.spec().Secrets)+len(t.spec().Configs) > 0 || len(t.TaskTemplate.Networks) > 1) {
		err = fail(http.StatusBadRequest, "TaskTemplate.Resources.Reservations.GenericResources: a service with GPUs has no secrets and no configs, and one network at most")
	}
	return n, err
}

// container is the container of a task, on a node if it is known.
func (t template) container(s orchestrator.Service, task orchestrator.Task, node string) (Container, error) {
	spec := t.spec()
	c := Container{ID: containerID(task.ID), Name: taskName(s, task), Role: s.Role}
	body := thing{
		"Image": spec.Image, "Entrypoint": spec.Command, "Cmd": spec.Args, "Hostname": spec.Hostname, "Env": spec.Env, "WorkingDir": spec.Dir,
		"User": spec.User, "Tty": spec.TTY, "OpenStdin": spec.OpenStdin, "StopSignal": spec.StopSignal, "Labels": t.labels(s, task, node),
		"StopTimeout": int(math.Ceil(t.grace().Seconds())), "HostConfig": t.host(),
	}
	if spec.Healthcheck != nil { // the agent checks; an engine that checks as well would do it twice
		body["Healthcheck"] = thing{"Test": []string{"NONE"}}
	}
	if ports := t.ports(); len(ports) > 0 {
		exposed := thing{}
		for name := range ports {
			exposed[name] = thing{}
		}
		body["ExposedPorts"] = exposed
	}
	t.network(body)
	for key, v := range body {
		if empty(v) {
			delete(body, key)
		}
	}
	if err := expand(body, s, task, c.Name, node); err != nil {
		return c, err
	}
	c.Body = body
	return c, nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case []string:
		return len(v) == 0
	case bool:
		return !v
	}
	return false
}

func (t template) grace() time.Duration {
	if g := t.spec().StopGracePeriod; g != nil {
		return *g
	}
	return defaultGrace
}

// labels are the container's, those that tell the pool how to treat it, and those by which clients find a task's container.
func (t template) labels(s orchestrator.Service, task orchestrator.Task, node string) map[string]string {
	out := maps.Clone(t.spec().Labels)
	if out == nil {
		out = map[string]string{}
	}
	for key, v := range t.Labels {
		if strings.HasPrefix(key, "polder.") && key != "polder.queue" {
			out[key] = v
		}
	}
	out["polder.role"] = s.Role
	milli, _ := t.lease()
	out["polder.cpu"] = fmt.Sprintf("%dm", milli)
	out["com.docker.swarm.service.id"], out["com.docker.swarm.service.name"] = s.ID, s.Name
	out["com.docker.swarm.task.id"], out["com.docker.swarm.task.name"], out["com.docker.swarm.task"] = task.ID, taskName(s, task), ""
	if node != "" {
		out["com.docker.swarm.node.id"] = nodeID(node)
	}
	return out
}

// host is the container's HostConfig.
func (t template) host() thing {
	spec := t.spec()
	_, memory := t.lease()
	h := thing{"Memory": memory}
	set := func(key string, v any, given bool) {
		if given {
			h[key] = v
		}
	}
	if r := t.TaskTemplate.Resources; r != nil {
		limits, reserved := cmp.Or(r.Limits, &swarm.Limit{}), cmp.Or(r.Reservations, &swarm.Resources{})
		set("NanoCpus", limits.NanoCPUs, limits.NanoCPUs > 0)
		set("PidsLimit", limits.Pids, limits.Pids > 0)
		if n, err := t.gpus(); err == nil {
			set("DeviceRequests", []thing{{"Count": n, "Capabilities": [][]string{{"gpu"}}}}, n > 0)
		}
		set("MemoryReservation", reserved.MemoryBytes, reserved.MemoryBytes > 0 && reserved.MemoryBytes < memory)
	}
	set("CapAdd", spec.CapabilityAdd, len(spec.CapabilityAdd) > 0)
	set("CapDrop", spec.CapabilityDrop, len(spec.CapabilityDrop) > 0)
	set("Ulimits", spec.Ulimits, len(spec.Ulimits) > 0)
	set("Sysctls", spec.Sysctls, len(spec.Sysctls) > 0)
	set("OomScoreAdj", spec.OomScoreAdj, spec.OomScoreAdj != 0)
	set("ReadonlyRootfs", true, spec.ReadOnly)
	set("Init", spec.Init, spec.Init != nil)
	set("Mounts", spec.Mounts, len(spec.Mounts) > 0)
	set("GroupAdd", spec.Groups, len(spec.Groups) > 0)
	set("ExtraHosts", extraHosts(spec.Hosts), len(spec.Hosts) > 0)
	if d := spec.DNSConfig; d != nil {
		set("Dns", d.Nameservers, len(d.Nameservers) > 0)
		set("DnsSearch", d.Search, len(d.Search) > 0)
		set("DnsOptions", d.Options, len(d.Options) > 0)
	}
	set("SecurityOpt", []string{"no-new-privileges"}, spec.Privileges != nil && spec.Privileges.NoNewPrivileges)
	if l := t.TaskTemplate.LogDriver; l != nil && l.Name != "" {
		h["LogConfig"] = thing{"Type": l.Name, "Config": l.Options}
	}
	if ports := t.ports(); len(ports) > 0 {
		h["PortBindings"] = ports
	}
	return h
}

// extraHosts turns lines of /etc/hosts, address first, into what engines take.
func extraHosts(lines []string) (out []string) {
	for _, line := range lines {
		words := strings.Fields(line)
		for _, name := range words[min(1, len(words)):] {
			out = append(out, name+":"+words[0])
		}
	}
	return out
}

// ports are what is published, by port and protocol of the container.
func (t template) ports() thing {
	out := thing{}
	if t.EndpointSpec == nil {
		return out
	}
	for _, p := range t.EndpointSpec.Ports {
		name := fmt.Sprintf("%d/%s", p.TargetPort, cmp.Or(string(p.Protocol), "tcp"))
		number := ""
		if p.PublishedPort > 0 {
			number = strconv.Itoa(int(p.PublishedPort))
		}
		list, _ := out[name].([]thing)
		out[name] = append(list, thing{"HostPort": number})
	}
	return out
}

// network attaches the container to the first of its networks; see [template.others].
func (t template) network(body thing) {
	if len(t.TaskTemplate.Networks) == 0 {
		return
	}
	n := t.TaskTemplate.Networks[0]
	body["HostConfig"].(thing)["NetworkMode"] = n.Target
	if len(n.Aliases) > 0 || n.Target != "host" && n.Target != "none" && n.Target != "bridge" {
		body["NetworkingConfig"] = thing{"EndpointsConfig": thing{n.Target: thing{"Aliases": append([]string{t.Name}, n.Aliases...)}}}
	}
}

// networks are the names or ids of all networks.
func (t template) networks() (out []string) {
	for _, n := range t.TaskTemplate.Networks {
		out = append(out, n.Target)
	}
	return out
}

// volumes are those that its tasks name.
func (t template) volumes() (out []string) {
	for _, m := range t.spec().Mounts {
		if m.Type == mount.TypeVolume && m.Source != "" {
			out = append(out, m.Source)
		}
	}
	return out
}

// health is the task's health check, nil when it has none.
func (t template) health() *polderv1.HealthCheck {
	h := t.spec().Healthcheck
	if h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" || len(h.Test) == 1 {
		return nil
	}
	out := &polderv1.HealthCheck{Command: h.Test[1:], Failures: uint32(cmp.Or(h.Retries, 3))}
	if h.Test[0] == "CMD-SHELL" {
		out.Command = append([]string{"/bin/sh", "-c"}, h.Test[1:]...)
	}
	out.Interval, out.Timeout = durationpb.New(cmp.Or(h.Interval, 30*time.Second)), durationpb.New(cmp.Or(h.Timeout, 30*time.Second))
	out.StartPeriod = durationpb.New(h.StartPeriod)
	return out
}

// scope is what words in double braces may name.
type scope struct {
	Service struct {
		ID, Name string
		Labels   map[string]string
	}
	Node struct{ ID, Hostname string }
	Task struct {
		ID, Name, Slot string
	}
}

// expand replaces words in double braces in host name and environment, as swarm mode does.
func expand(body thing, s orchestrator.Service, task orchestrator.Task, name, node string) error {
	var in scope
	in.Service.ID, in.Service.Name = s.ID, s.Name
	in.Node.ID, in.Node.Hostname = nodeID(node), node
	in.Task.ID, in.Task.Name, in.Task.Slot = task.ID, name, strconv.Itoa(task.Slot)
	if host, ok := body["Hostname"].(string); ok {
		out, err := expanded(host, in)
		if err != nil {
			return err
		}
		body["Hostname"] = out
	}
	env, _ := body["Env"].([]string)
	for i, line := range env {
		out, err := expanded(line, in)
		if err != nil {
			return err
		}
		if i == 0 {
			env = append([]string(nil), env...)
			body["Env"] = env
		}
		env[i] = out
	}
	return nil
}

func expanded(text string, in scope) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := texttemplate.New("").Parse(text)
	if err != nil {
		return "", fail(http.StatusBadRequest, "%q: %v", clip(text), err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, in); err != nil {
		return "", fail(http.StatusBadRequest, "%q: %v", clip(text), err)
	}
	return out.String(), nil
}

// aboutNode reports whether a template names the node, which must be known then.
func (t template) aboutNode() bool {
	data, _ := json.Marshal(thing{"h": t.spec().Hostname, "e": t.spec().Env}) // texts
	return bytes.Contains(data, []byte(".Node"))
}

// taskName is what people call a task: its service, its slot or node, and its id.
func taskName(s orchestrator.Service, t orchestrator.Task) string {
	if t.Bound != "" {
		return s.Name + "." + nodeID(t.Bound) + "." + t.ID
	}
	return fmt.Sprintf("%s.%d.%s", s.Name, t.Slot, t.ID)
}

// containerID is the door's id of a task's container.
func containerID(task string) string {
	sum := sha256.Sum256([]byte("container of task " + task))
	return hex.EncodeToString(sum[:])
}

// nodeID is the id of a node in the Engine API: the same for the same name, on every server.
func nodeID(name string) string {
	if name == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("node " + name))
	out := make([]byte, 25)
	for i := range out {
		out[i] = letters[int(sum[i])%len(letters)]
	}
	return string(out)
}
