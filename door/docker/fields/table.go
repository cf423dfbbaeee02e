package fields

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// Rows of the kinds that repeat.
var (
	works = Row{Treatment: Works}
	free  = Row{Treatment: Works, free: true}
	inner = Row{Treatment: Nested}
)

func host(note string) Row    { return Row{Treatment: Host, Note: note, free: true} }
func refused(note string) Row { return Row{Treatment: Refused, Note: note, free: true} }
func pool(note string) Row    { return Row{Treatment: Pool, Note: note, free: true} }

func judged(note string, judge func(any) (Treatment, string)) Row {
	return Row{Treatment: Judged, Note: note, free: true, judge: judge}
}

const windows = "the pool's machines run Linux"

// Create is the table of POST /containers/create.
var Create = merge(config, hostConfig, mounts, resources, networking)

func merge(tables ...Table) Table {
	all := Table{}
	for _, t := range tables {
		for name, row := range t {
			all[name] = row
		}
	}
	return all
}

var config = Table{
	"Hostname": works, "Domainname": works, "User": works, "Tty": works, "OpenStdin": works, "StdinOnce": works,
	"AttachStdin": works, "AttachStdout": works, "AttachStderr": works,
	"Env": {Treatment: Works, free: true, Note: "constraint:KEY==VALUE becomes a constraint on nodes"},
	"Cmd": free, "Entrypoint": free, "Shell": free, "WorkingDir": works, "NetworkDisabled": works,
	"OnBuild": refused("it belongs into an image"), "ArgsEscaped": refused(windows),
	"Image":        pool("found on the nodes, copied from one to another when need be"),
	"ExposedPorts": free, "Volumes": free, "MacAddress": works,
	"Labels":      judged("polder.role, .priority, .preemptible, .grace, .min-runtime, .cpu, .memory, .queue are the pool's; other polder.… are refused", labels),
	"StopSignal":  works,
	"StopTimeout": pool("within the notice when the lease is taken back"),
	"Healthcheck": inner, "Healthcheck.Test": free, "Healthcheck.Interval": works, "Healthcheck.Timeout": works,
	"Healthcheck.StartPeriod": works, "Healthcheck.StartInterval": works, "Healthcheck.Retries": works,
	"HostConfig": inner, "NetworkingConfig": inner,
}

var hostConfig = Table{
	"HostConfig.Binds":           judged("volumes work; directories of the machine need the permission host, and the agent's --allow-mount", binds),
	"HostConfig.ContainerIDFile": works,
	"HostConfig.LogConfig":       inner,
	"HostConfig.LogConfig.Type": judged("json-file, local, none", oneOf("logs stay on the node, where docker logs and polder logs find them",
		"json-file", "local", "none")),
	"HostConfig.LogConfig.Config":                judged("max-size, max-file, compress, labels, env, tag", logOptions),
	"HostConfig.NetworkMode":                     judged("host needs the permission host; none, bridge, networks and container:NAME work", mode("host")),
	"HostConfig.PortBindings":                    free,
	"HostConfig.PublishAllPorts":                 works,
	"HostConfig.RestartPolicy":                   inner,
	"HostConfig.RestartPolicy.Name":              pool("the pool starts it again, where there is room"),
	"HostConfig.RestartPolicy.MaximumRetryCount": pool("counted by the pool"),
	"HostConfig.AutoRemove":                      pool("removed when its end is recorded"),
	"HostConfig.VolumeDriver":                    judged("local", oneOf("volumes are directories of the node", "local")),
	"HostConfig.VolumesFrom":                     pool("on the other container's node"),
	"HostConfig.Links":                           pool("on the other container's node"),
	"HostConfig.ConsoleSize":                     free,
	"HostConfig.Annotations":                     refused("they steer the engine's own runtime"),
	"HostConfig.CapAdd":                          host("more than the engine gives by default"),
	"HostConfig.CapDrop":                         free,
	"HostConfig.CgroupnsMode":                    judged("host needs the permission host", mode("host")),
	"HostConfig.Dns":                             free, "HostConfig.DnsOptions": free, "HostConfig.DnsSearch": free, "HostConfig.ExtraHosts": free,
	"HostConfig.GroupAdd":       free,
	"HostConfig.IpcMode":        judged("host needs the permission host", mode("host")),
	"HostConfig.PidMode":        judged("host needs the permission host", mode("host")),
	"HostConfig.UTSMode":        host("the machine's name"),
	"HostConfig.UsernsMode":     host("users of the machine"),
	"HostConfig.Cgroup":         refused("cgroups mirror the role tree"),
	"HostConfig.CgroupParent":   refused("cgroups mirror the role tree"),
	"HostConfig.OomScoreAdj":    judged("below zero needs the permission host", negative),
	"HostConfig.Privileged":     host("everything on the machine"),
	"HostConfig.ReadonlyRootfs": works,
	"HostConfig.SecurityOpt":    judged("no-new-privileges works; others need the permission host", security),
	"HostConfig.StorageOpt":     refused("disk is not leased yet"),
	"HostConfig.Tmpfs":          free,
	"HostConfig.ShmSize":        works,
	"HostConfig.Sysctls":        host("the kernel's settings"),
	"HostConfig.Runtime":        judged("runc", oneOf("nodes run what the pool's operators installed", "runc")),
	"HostConfig.Umask":          works,
	"HostConfig.Isolation":      judged("default", oneOf(windows, "default")),
	"HostConfig.MaskedPaths":    {Treatment: Host, Note: "parts of /proc that are hidden otherwise", free: true, meant: true},
	"HostConfig.ReadonlyPaths":  {Treatment: Host, Note: "parts of /proc that are read-only otherwise", free: true, meant: true},
	"HostConfig.Init":           works,
}

var mounts = Table{
	"HostConfig.Mounts":               inner,
	"HostConfig.Mounts[].Type":        judged("volume and tmpfs work; bind needs the permission host, and the agent's --allow-mount", mountType),
	"HostConfig.Mounts[].Source":      works,
	"HostConfig.Mounts[].Target":      judged("not /polder", target),
	"HostConfig.Mounts[].ReadOnly":    works,
	"HostConfig.Mounts[].Consistency": works,
	"HostConfig.Mounts[].BindOptions": inner, "HostConfig.Mounts[].BindOptions.Propagation": host("mounts that reach the machine"),
	"HostConfig.Mounts[].BindOptions.NonRecursive": works, "HostConfig.Mounts[].BindOptions.CreateMountpoint": refused("directories of the machine are made by its operators"),
	"HostConfig.Mounts[].BindOptions.ReadOnlyNonRecursive": works, "HostConfig.Mounts[].BindOptions.ReadOnlyForceRecursive": works,
	"HostConfig.Mounts[].VolumeOptions": inner, "HostConfig.Mounts[].VolumeOptions.NoCopy": works,
	"HostConfig.Mounts[].VolumeOptions.Labels":               judged("none that begin with polder.", labelsAmong()),
	"HostConfig.Mounts[].VolumeOptions.Subpath":              works,
	"HostConfig.Mounts[].VolumeOptions.DriverConfig":         inner, // engines take a key in whatever case: only rows judge them all
	"HostConfig.Mounts[].VolumeOptions.DriverConfig.Name":    judged("local", oneOf("volumes are directories of the node", "local")),
	"HostConfig.Mounts[].VolumeOptions.DriverConfig.Options": refused("volumes are directories of the node; a driver's options could name any of its own"),
	"HostConfig.Mounts[].ImageOptions":                       refused("the engines have no image mounts yet"), "HostConfig.Mounts[].ClusterOptions": refused("volumes are directories of the node"),
	"HostConfig.Mounts[].TmpfsOptions": inner, "HostConfig.Mounts[].TmpfsOptions.SizeBytes": works,
	"HostConfig.Mounts[].TmpfsOptions.Mode": works, "HostConfig.Mounts[].TmpfsOptions.Options": host("options of mount(8)"),
}

var resources = Table{
	"HostConfig.NanoCpus": pool("the lease's cpu"), "HostConfig.CpuPeriod": pool("with CpuQuota: the lease's cpu"), "HostConfig.CpuQuota": pool("with CpuPeriod: the lease's cpu"),
	"HostConfig.Memory":            pool("the lease's memory"),
	"HostConfig.MemoryReservation": works,
	"HostConfig.MemorySwap": judged("not unlimited", func(v any) (Treatment, string) {
		if t, _ := negative(v); t == Host {
			return Refused, "swap without a limit would take memory that is not leased"
		}
		return Works, ""
	}),
	"HostConfig.MemorySwappiness":  works,
	"HostConfig.PidsLimit":         works,
	"HostConfig.Ulimits":           judged("rtprio needs the permission host: real-time scheduling would go before guarantees", ulimits),
	"HostConfig.CpuShares":         refused("who goes first on a CPU follows from role and funding; say how much with --cpus"),
	"HostConfig.CpusetCpus":        refused("the pool leases shares of CPUs, not single ones; use --cpus"),
	"HostConfig.CpusetMems":        refused("the pool does not lease parts of the memory's nodes"),
	"HostConfig.CpuRealtimePeriod": refused("real-time scheduling would go before guarantees"), "HostConfig.CpuRealtimeRuntime": refused("real-time scheduling would go before guarantees"),
	"HostConfig.BlkioWeight": refused("disk bandwidth is not leased"), "HostConfig.BlkioWeightDevice": refused("disk bandwidth is not leased"),
	"HostConfig.BlkioDeviceReadBps": refused("disk bandwidth is not leased"), "HostConfig.BlkioDeviceWriteBps": refused("disk bandwidth is not leased"),
	"HostConfig.BlkioDeviceReadIOps": refused("disk bandwidth is not leased"), "HostConfig.BlkioDeviceWriteIOps": refused("disk bandwidth is not leased"),
	"HostConfig.Devices":           host("devices of the machine"),
	"HostConfig.DeviceCgroupRules": host("devices of the machine"),
	"HostConfig.DeviceRequests":    inner, "HostConfig.DeviceRequests[].Driver": judged("nvidia", oneOf("the engine finds the driver of GPUs", "nvidia")),
	"HostConfig.DeviceRequests[].Count": judged("the lease's gpu; the agent says which ones", func(v any) (Treatment, string) {
		if t, _ := negative(v); t != Works {
			return Refused, "say how many: GPUs are leased by number"
		}
		return Pool, ""
	}),
	"HostConfig.DeviceRequests[].DeviceIDs":    refused("say how many: the node's agent knows which are free"),
	"HostConfig.DeviceRequests[].Capabilities": judged("lists with gpu", capabilities), "HostConfig.DeviceRequests[].Options": refused("they steer the engine's own runtime"),
	"HostConfig.OomKillDisable": refused("a container over its memory must end"),
	"HostConfig.KernelMemory":   refused("engines have dropped it"), "HostConfig.KernelMemoryTCP": refused("engines have dropped it"),
	"HostConfig.CpuCount": refused(windows), "HostConfig.CpuPercent": refused(windows),
	"HostConfig.IOMaximumIOps": refused(windows), "HostConfig.IOMaximumBandwidth": refused(windows),
}

const endpoint = "NetworkingConfig.EndpointsConfig.*"

var networking = Table{
	"NetworkingConfig.EndpointsConfig": inner,
	endpoint:                           inner,
	endpoint + ".IPAMConfig":           free, endpoint + ".Aliases": free, endpoint + ".GwPriority": works, endpoint + ".MacAddress": works,
	endpoint + ".NetworkID":  works,
	endpoint + ".Links":      refused("use aliases"),
	endpoint + ".DriverOpts": refused("they steer the engine's network driver"),
	endpoint + ".EndpointID": refused(set), endpoint + ".Gateway": refused(set), endpoint + ".IPAddress": refused(set + "; use IPAMConfig"),
	endpoint + ".IPPrefixLen": refused(set), endpoint + ".IPv6Gateway": refused(set), endpoint + ".GlobalIPv6Address": refused(set),
	endpoint + ".GlobalIPv6PrefixLen": refused(set), endpoint + ".DNSNames": refused(set + "; use Aliases"),
}

const set = "the engine sets it"

func oneOf(why string, words ...string) func(any) (Treatment, string) {
	return func(v any) (Treatment, string) {
		if s, ok := v.(string); ok && slices.Contains(words, s) {
			return Works, ""
		}
		return Refused, "want one of " + strings.Join(words, ", ") + ": " + why
	}
}

// mode is that of a namespace: one word reaches the machine.
func mode(machine string) func(any) (Treatment, string) {
	return func(v any) (Treatment, string) {
		s, ok := v.(string)
		switch {
		case !ok:
			return Refused, "want a word"
		case s == machine:
			return Host, ""
		case strings.HasPrefix(s, "ns:"):
			return Refused, "want a mode, not a file of the machine"
		}
		return Works, ""
	}
}

func negative(v any) (Treatment, string) {
	n, ok := v.(json.Number)
	if !ok {
		return Refused, "want a number"
	}
	if strings.HasPrefix(n.String(), "-") {
		return Host, ""
	}
	return Works, ""
}

// capabilities are those of devices: all of some, or all of others.
func capabilities(v any) (Treatment, string) {
	sets, _ := v.([]any)
	for _, set := range sets {
		if all, ok := words(set); !ok || !slices.Contains(all, "gpu") {
			return Refused, "want lists of words with gpu in each: only GPUs are leased"
		}
	}
	return Works, ""
}

// ulimits are lists of a name with its limits. Engines take keys and names in whatever case.
func ulimits(v any) (Treatment, string) {
	list, ok := v.([]any)
	if !ok {
		return Refused, "want a list"
	}
	out := Works
	for _, x := range list {
		m, ok := x.(map[string]any)
		name, text := m["Name"].(string)
		if !ok || !text {
			return Refused, "want Name, Soft and Hard of each"
		}
		for key := range m {
			if key != "Name" && key != "Soft" && key != "Hard" {
				return Refused, key + ": want Name, Soft and Hard of each"
			}
		}
		if strings.EqualFold(name, "rtprio") {
			out = Host
		}
	}
	return out, ""
}

func words(v any) ([]string, bool) {
	list, ok := v.([]any)
	out := make([]string, len(list))
	for i, x := range list {
		s, is := x.(string)
		out[i], ok = s, ok && is
	}
	return out, ok
}

func binds(v any) (Treatment, string) {
	list, ok := words(v)
	if !ok {
		return Refused, "want a list of SOURCE:TARGET"
	}
	out := Works
	for _, b := range list {
		source, rest, two := strings.Cut(b, ":")
		to, _, _ := strings.Cut(rest, ":")
		switch {
		case !two || source == "" || !path.IsAbs(to):
			return Refused, "want SOURCE:TARGET, with an absolute target"
		case strings.ContainsAny(source, "/\\") && (!path.IsAbs(source) || path.Clean(source) != source):
			return Refused, "a directory of the machine must be an absolute path in its shortest form"
		case path.IsAbs(source):
			out = Host
		}
		if t, why := target(to); t == Refused {
			return t, why
		}
	}
	return out, ""
}

func target(v any) (Treatment, string) {
	s, _ := v.(string)
	if p := path.Clean(s); p == "/polder" || strings.HasPrefix(p, "/polder/") {
		return Refused, "/polder is where a task finds its notice"
	}
	return Works, ""
}

func mountType(v any) (Treatment, string) {
	switch v {
	case "volume", "tmpfs":
		return Works, ""
	case "bind":
		return Host, ""
	}
	return Refused, "want volume, tmpfs or bind"
}

func security(v any) (Treatment, string) {
	list, ok := words(v)
	if !ok {
		return Refused, "want a list of words"
	}
	for _, s := range list {
		if !slices.Contains([]string{"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}, s) {
			return Host, ""
		}
	}
	return Works, ""
}

func logOptions(v any) (Treatment, string) {
	m, ok := v.(map[string]any)
	if !ok {
		return Refused, "want options"
	}
	for key := range m {
		if !slices.Contains([]string{"max-size", "max-file", "compress", "labels", "env", "tag"}, key) {
			return Refused, "the option " + key + " is not known"
		}
	}
	return Works, ""
}

// PoolLabels are the labels by which users tell the pool how to treat a container.
var PoolLabels = []string{"polder.role", "polder.priority", "polder.preemptible", "polder.grace", "polder.min-runtime", "polder.cpu",
	"polder.memory", "polder.queue"}

func labels(v any) (Treatment, string) { return labelsAmong(PoolLabels...)(v) }

// labelsAmong judges labels of which some are for the pool.
func labelsAmong(pool ...string) func(any) (Treatment, string) {
	return func(v any) (Treatment, string) {
		m, ok := v.(map[string]any)
		if !ok {
			return Refused, "want names and values"
		}
		for key, x := range m {
			if _, text := x.(string); !text {
				return Refused, "the value of " + key + " must be text"
			}
			if strings.HasPrefix(key, "polder.") && !slices.Contains(pool, key) {
				return Refused, key + " is not a label that users set; they are " + strings.Join(pool, ", ")
			}
		}
		return Works, ""
	}
}
