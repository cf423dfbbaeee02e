package server

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// Bounds on one task spec, so that an ask cannot make everything else slow.
const (
	maxSpecBytes = 256 << 10
	maxPorts     = 64
	maxList      = 64
	maxPriority  = 1_000_000
)

// runtimeAttribute starts the attributes that say which runtimes a node has: runtime.docker. Nodes cannot set them
// themselves.
const runtimeAttribute = "runtime."

// awayAttribute ends the attribute of a runtime that does not answer now: runtime.docker.away.
const awayAttribute = ".away"

var portUse = regexp.MustCompile(`\{port:([^}]*)\}`)

// runtimeOf is the runtime a spec runs on.
func runtimeOf(s *polderv1.TaskSpec) string {
	switch {
	case s.GetRuntime() != "":
		return s.Runtime
	case s.GetImage() != "":
		return "docker"
	}
	return "process"
}

// shapeOf checks a task spec and returns what the scheduler needs of it. Errors name the field; at is the spec's path.
func shapeOf(s *polderv1.TaskSpec, at string) (cluster.Shape, error) {
	return shapeOfSize(s, proto.Size(s), at)
}

// shapeOfSize is shapeOf for a spec whose size is known already.
func shapeOfSize(s *polderv1.TaskSpec, size int, at string) (cluster.Shape, error) {
	if s == nil {
		return cluster.Shape{}, invalid(at, "say what to run")
	}
	c := specCheck{spec: s, at: at}
	shape := c.shape()
	c.program()
	c.delivery()
	c.health()
	if size > maxSpecBytes {
		c.fail("", "the spec has %d bytes, more than %d", size, maxSpecBytes)
	}
	if c.err != nil {
		return cluster.Shape{}, c.err
	}
	return shape, nil
}

// specCheck reads one spec and keeps the first thing wrong with it.
type specCheck struct {
	spec *polderv1.TaskSpec
	at   string
	err  error
}

func (c *specCheck) fail(field, format string, args ...any) {
	c.note(invalid(c.path(field), format, args...))
}

func (c *specCheck) note(err error) {
	if c.err == nil && err != nil {
		c.err = err
	}
}

func (c *specCheck) path(field string) string {
	switch {
	case field == "":
		return c.at
	case c.at == "":
		return field
	}
	return c.at + "." + field
}

// duration reads a duration that defaults to zero.
func (c *specCheck) duration(d *durationpb.Duration, field string) *time.Duration {
	out, err := durationCore(d, c.path(field))
	c.note(err)
	return out
}

func (c *specCheck) shape() cluster.Shape {
	s := c.spec
	amounts, err := kindAmounts(s.Resources, c.path("resources"))
	c.note(err)
	if s.Pool != "" && !resource.ValidName(s.Pool) {
		c.fail("pool", "%q is not the name of a pool", s.Pool)
	}
	if s.Priority > maxPriority || s.Priority < -maxPriority {
		c.fail("priority", "%d is not between -%d and %d", s.Priority, maxPriority, maxPriority)
	}
	return cluster.Shape{
		Resources: amounts, Pool: s.Pool, Ports: c.ports(), Constraints: c.constraints(), Spread: c.spread(),
		Exclusive: s.Exclusive, Priority: int(s.Priority), Pinned: s.Preemptible != nil && !*s.Preemptible,
		ReclaimGrace: c.duration(s.ReclaimGrace, "reclaim_grace"), MinRuntime: c.duration(s.MinRuntime, "min_runtime"),
		Volume: s.Volume != nil || s.Reserves != nil, Reserve: s.Reserves != nil, From: s.CarvedFrom, Requeue: s.Requeue == nil || *s.Requeue, Restart: c.restart(),
	}
}

func (c *specCheck) ports() []cluster.Port {
	if len(c.spec.Ports) > maxPorts {
		c.fail("ports", "%d ports, at most %d", len(c.spec.Ports), maxPorts)
		return nil
	}
	if len(c.spec.Ports) == 0 {
		return nil
	}
	var out []cluster.Port
	names, hosts := map[string]bool{}, map[uint32]bool{}
	for i, p := range c.spec.Ports {
		at := role.JoinIndex("ports", i)
		switch {
		case !validPortName(p.GetName()):
			c.fail(at+".name", "%q is not of the form [a-z][a-z0-9_-]*, at most 32 characters", p.GetName())
		case names[p.Name]:
			c.fail(at+".name", "%q is given twice", p.Name)
		case p.HostPort > 65535:
			c.fail(at+".host_port", "%d is above 65535", p.HostPort)
		case p.HostPort != 0 && hosts[p.HostPort]:
			c.fail(at+".host_port", "%d is given twice", p.HostPort)
		case p.ContainerPort > 65535:
			c.fail(at+".container_port", "%d is above 65535", p.ContainerPort)
		case !slices.Contains([]string{"", "tcp", "udp"}, p.Protocol):
			c.fail(at+".protocol", "%q is neither tcp nor udp", p.Protocol)
		default:
			names[p.Name], hosts[p.HostPort] = true, true
			out = append(out, cluster.Port{Name: p.Name, Host: uint16(p.HostPort)})
		}
	}
	return out
}

// runtimeConstraints are what a runtime needs of a node, one slice for all its tasks.
var runtimeConstraints = map[string][]placement.Constraint{"docker": needs("docker"), "process": needs("process"), "kube": needs("kube"), volume.Name: needs(volume.Name),
	reservationRuntime: {}}

func needs(name string) []placement.Constraint {
	return slices.Clip([]placement.Constraint{
		{Attribute: runtimeAttribute + name, Op: placement.Exists},
		{Attribute: runtimeAttribute + name + awayAttribute, Op: placement.NotExists, Passing: "the " + name + " runtime does not answer"},
	})
}

// constraints reads the constraints and adds the ones that the runtime needs.
func (c *specCheck) constraints() []placement.Constraint {
	name := runtimeOf(c.spec)
	if runtimeConstraints[name] == nil {
		c.fail("runtime", "%q is unknown; use docker or process (kube is for the pods of the Kubernetes door)", name)
	}
	out := runtimeConstraints[name]
	if len(c.spec.Constraints) > maxList {
		c.fail("constraints", "%d constraints, at most %d", len(c.spec.Constraints), maxList)
		return nil
	}
	for i, text := range c.spec.Constraints {
		parsed, err := placement.ParseConstraint(text)
		if err != nil {
			c.fail(role.JoinIndex("constraints", i), "%v", err)
		}
		out = append(out, parsed)
	}
	return out
}

func (c *specCheck) spread() []placement.Spread {
	if len(c.spec.Spread) > 8 {
		c.fail("spread", "%d spread rules, at most 8", len(c.spec.Spread))
		return nil
	}
	var out []placement.Spread
	for i, s := range c.spec.Spread {
		if !resource.ValidName(s.GetAttribute()) {
			c.fail(role.JoinIndex("spread", i)+".attribute", "%q is not the name of an attribute", s.GetAttribute())
		}
		if s.GetMaxSkew() > 1<<20 {
			c.fail(role.JoinIndex("spread", i)+".max_skew", "%d is above %d", s.GetMaxSkew(), 1<<20)
		}
		out = append(out, placement.Spread{Attribute: s.GetAttribute(), MaxSkew: max(1, int(s.GetMaxSkew())), Hard: s.GetRequired()})
	}
	return out
}

func (c *specCheck) restart() cluster.Restart {
	r := c.spec.Restart
	if r == nil {
		return cluster.Restart{Policy: cluster.RestartNever}
	}
	policy := cluster.RestartPolicy(r.Policy)
	switch policy {
	case "":
		policy = cluster.RestartNever
	case cluster.RestartNever, cluster.RestartOnFailure, cluster.RestartAlways:
	default:
		c.fail("restart.policy", "%q is none of never, on-failure, always", r.Policy)
	}
	if r.MaxAttempts > 1<<20 {
		c.fail("restart.max_attempts", "%d is above %d; zero is no bound", r.MaxAttempts, 1<<20)
	}
	backoff := time.Second
	if d := c.duration(r.Backoff, "restart.backoff"); d != nil {
		backoff = *d
	}
	return cluster.Restart{Policy: policy, Max: int(r.MaxAttempts), Backoff: backoff}
}

// program checks what is to run.
func (c *specCheck) program() {
	s := c.spec
	switch name := runtimeOf(s); {
	case name == volume.Name && (s.Volume == nil || s.Image != "" || len(s.Command) > 0):
		c.fail("runtime", "the volume runtime runs nothing: it is for the leases of volumes")
	case name != volume.Name && s.Volume != nil:
		c.fail("volume", "the lease of a volume needs the volume runtime")
	case name == reservationRuntime && (s.Reserves == nil || s.Volume != nil || s.Image != "" || len(s.Command) > 0):
		c.fail("runtime", "the reservation runtime runs nothing: it is for the leases of reservations")
	case name != reservationRuntime && s.Reserves != nil:
		c.fail("reserves", "the lease of a reservation needs the reservation runtime")
	case name == "docker" && s.Image == "":
		c.fail("image", "the docker runtime needs an image")
	case name == "kube" && (s.Image != "" || len(s.Command) > 0):
		c.fail("", "a task of the kube runtime is the lease of a pod: the pod says what runs")
	case name == "process" && s.Image != "":
		c.fail("image", "the process runtime starts no images; leave runtime empty or write docker")
	case name == "process" && len(s.Command) == 0:
		c.fail("command", "say what to run")
	}
	if name, bad := firstBad(s.Env, validVariable); bad {
		c.fail(role.JoinKey("env", name), "names are letters, digits, '_', '.' and '-', and values hold no zero byte")
	}
	if name, bad := firstBad(s.Labels, validLabel); bad {
		c.fail(role.JoinKey("labels", name), "names are up to 127 letters, digits, '_', '.', '/' and '-', values up to 1024 bytes")
	}
	if slices.ContainsFunc(s.Command, func(w string) bool { return strings.ContainsRune(w, 0) }) {
		c.fail("command", "holds a zero byte")
	}
	if s.WorkDir != "" && !path.IsAbs(s.WorkDir) {
		c.fail("work_dir", "%q is not an absolute path", s.WorkDir)
	}
	c.artifacts()
	c.mounts()
}

func (c *specCheck) mounts() {
	if len(c.spec.Mounts) > maxList {
		c.fail("mounts", "%d mounts, at most %d", len(c.spec.Mounts), maxList)
		return
	}
	for i, m := range c.spec.Mounts {
		at := role.JoinIndex("mounts", i)
		if m.GetVolume() != "" {
			if m.Source != "" || !validVolumeName(m.Volume) {
				c.fail(at+".volume", "%q: set the name of a volume or a source, not both", clip(m.Volume, 200))
			}
		} else {
			c.absolute(at+".source", m.GetSource())
		}
		if t := m.GetTarget(); t == "." || path.Clean(t) != t || !path.IsAbs(t) && !filepath.IsLocal(t) {
			c.fail(at+".target", "%q is neither an absolute path in its shortest form nor one below the task's directory", t)
		}
	}
}

func (c *specCheck) absolute(field, value string) {
	if !path.IsAbs(value) || path.Clean(value) != value {
		c.fail(field, "%q is not an absolute path in its shortest form", value)
	}
}

// delivery checks how the task is told to leave and how it is stopped.
func (c *specCheck) delivery() {
	if n := c.spec.Notice; n != nil {
		c.url("notice.http", n.Http)
		c.signal("notice.signal", n.Signal)
	}
	if k := c.spec.Kill; k != nil {
		c.signal("kill.signal", k.Signal)
		c.duration(k.Grace, "kill.grace")
	}
	c.duration(c.spec.MaxRunTime, "max_run_time")
}

func (c *specCheck) signal(field, name string) {
	if _, err := runtime.ParseSignal(name); err != nil {
		c.fail(field, "%v", err)
	}
}

func (c *specCheck) url(field, text string) {
	if text == "" {
		return
	}
	if !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
		c.fail(field, "%q is not an http or https URL", text)
	}
	c.portUses(field, text)
}

// portUses checks that every {port:NAME} names a port of the task.
func (c *specCheck) portUses(field, text string) {
	for _, m := range portUse.FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(c.spec.Ports, func(p *polderv1.Port) bool { return p.GetName() == m[1] }) {
			c.fail(field, "the task has no port %q; its ports are in the field ports", m[1])
		}
	}
}

func (c *specCheck) health() {
	h := c.spec.Health
	if h == nil {
		return
	}
	ways := 0
	for _, set := range []bool{len(h.Command) > 0, h.Http != "", h.Tcp != ""} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		c.fail("health", "set exactly one of command, http and tcp")
	}
	c.url("health.http", h.Http)
	if h.Tcp != "" && !strings.Contains(h.Tcp, ":") {
		c.fail("health.tcp", "%q is not of the form host:port", h.Tcp)
	}
	c.portUses("health.tcp", h.Tcp)
	c.duration(h.Interval, "health.interval")
	c.duration(h.Timeout, "health.timeout")
	c.duration(h.StartPeriod, "health.start_period")
}

// artifacts checks what is to be fetched. Where it lands stays below the task's directory.
func (c *specCheck) artifacts() {
	if len(c.spec.Artifacts) > maxList {
		c.fail("artifacts", "%d artifacts, at most %d", len(c.spec.Artifacts), maxList)
		return
	}
	for i, a := range c.spec.Artifacts {
		at := role.JoinIndex("artifacts", i)
		c.url(at+".uri", a.GetUri())
		if a.GetUri() == "" {
			c.fail(at+".uri", "say what to fetch")
		}
		if a.GetPath() != "" && !filepath.IsLocal(a.GetPath()) {
			c.fail(at+".path", "%q is not a path below the task's directory", clip(a.GetPath(), 200))
		}
	}
}
