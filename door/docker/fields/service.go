package fields

// Service is the table of POST /services/create and /services/{id}/update. What becomes of a task's container is judged by [Create]
// as well.
var Service = merge(Table{
	"Name": works, "Labels": judged("polder.role, .priority, .preemptible, .grace, .min-runtime are the pool's, for each task", labels),
	"TaskTemplate": inner, "Mode": inner, "EndpointSpec": inner,
	"Mode.Replicated": present, "Mode.Replicated.Replicas": works, "Mode.Global": present,
	"Mode.ReplicatedJob": present, "Mode.ReplicatedJob.MaxConcurrent": works, "Mode.ReplicatedJob.TotalCompletions": works, "Mode.GlobalJob": present,
	"EndpointSpec.Mode":                  judged("names resolve to the tasks' addresses; there is no virtual address, so vip is dnsrr", oneOf("names resolve to addresses of tasks", "vip", "dnsrr")),
	"EndpointSpec.Ports":                 inner,
	"EndpointSpec.Ports[].Name":          works,
	"EndpointSpec.Ports[].Protocol":      judged("tcp, udp", oneOf("engines publish nothing else yet", "tcp", "udp")),
	"EndpointSpec.Ports[].TargetPort":    works,
	"EndpointSpec.Ports[].PublishedPort": pool("of the node's machine: no two tasks that want the same port are placed on one"),
	"EndpointSpec.Ports[].PublishMode": judged("host", func(v any) (Treatment, string) {
		if v == "host" {
			return Works, ""
		}
		return Refused, "there is no routing mesh; publish with mode=host"
	}),
	"Networks": refused("use TaskTemplate.Networks, as clients have since version 1.25"),
}, template, containerSpec, rollout("UpdateConfig"), rollout("RollbackConfig"))

// present is an object that means something even when it is empty.
var present = Row{Treatment: Nested, meant: true}

var template = Table{
	"TaskTemplate.ContainerSpec": inner, "TaskTemplate.Resources": inner, "TaskTemplate.RestartPolicy": inner, "TaskTemplate.Placement": inner,
	"TaskTemplate.PluginSpec":            refused("plugins would change the machines of the pool; its operators install them"),
	"TaskTemplate.NetworkAttachmentSpec": refused("containers are attached when they are made"),
	"TaskTemplate.ForceUpdate":           works,
	"TaskTemplate.Runtime":               judged("container", oneOf("a task is a container", "container")),
	"TaskTemplate.Networks":              inner, "TaskTemplate.Networks[].Target": pool("tasks are placed where their networks are"),
	"TaskTemplate.Networks[].Aliases":                      free,
	"TaskTemplate.Networks[].DriverOpts":                   refused("they steer the engine's network driver"),
	"TaskTemplate.LogDriver":                               inner,
	"TaskTemplate.LogDriver.Name":                          judged("json-file, local, none", oneOf("logs stay on the node, where docker logs and polder logs find them", "json-file", "local", "none")),
	"TaskTemplate.LogDriver.Options":                       judged("max-size, max-file, compress, labels, env, tag", logOptions),
	"TaskTemplate.Resources.Limits":                        inner,
	"TaskTemplate.Resources.Limits.NanoCPUs":               pool("the lease's cpu, unless a reservation says it"),
	"TaskTemplate.Resources.Limits.MemoryBytes":            pool("the lease's memory"),
	"TaskTemplate.Resources.Limits.Pids":                   works,
	"TaskTemplate.Resources.Reservations":                  inner,
	"TaskTemplate.Resources.Reservations.NanoCPUs":         pool("the lease's cpu"),
	"TaskTemplate.Resources.Reservations.MemoryBytes":      pool("the lease's memory, unless a limit says it"),
	"TaskTemplate.Resources.Reservations.GenericResources": inner,
	reservedGPUs:            inner,
	reservedGPUs + ".Kind":  judged("gpu", oneOf("the pool leases no other generic resource", "gpu")),
	reservedGPUs + ".Value": pool("the lease's gpu; the agent says which ones"),
	"TaskTemplate.Resources.Reservations.GenericResources[].NamedResourceSpec": refused("which GPUs a task has is the agent's to say; say how many, as in gpu=2"),
	"TaskTemplate.Resources.SwapBytes":                                         refused("swap is not leased"),
	"TaskTemplate.Resources.MemorySwappiness":                                  refused("swap is not leased"),
	"TaskTemplate.RestartPolicy.Condition":                                     judged("none, on-failure, any", oneOf("there are no other conditions", "none", "on-failure", "any")),
	"TaskTemplate.RestartPolicy.Delay":                                         pool("before the next task of the slot; none after a reclaim, a drain or the loss of a node"),
	"TaskTemplate.RestartPolicy.MaxAttempts":                                   pool("of a slot; reclaims, drains and lost nodes do not count"),
	"TaskTemplate.RestartPolicy.Window":                                        pool("in which attempts are counted"),
	"TaskTemplate.Placement.Constraints":                                       pool("node.id, .hostname, .role, .platform.os, .platform.arch, node.labels.X and engine.labels.X: what docker node update gave the node, else its attributes"),
	"TaskTemplate.Placement.Preferences":                                       inner,
	"TaskTemplate.Placement.Preferences[].Spread":                              inner,
	"TaskTemplate.Placement.Preferences[].Spread.SpreadDescriptor":             pool("node.labels.X and engine.labels.X"),
	"TaskTemplate.Placement.MaxReplicas":                                       pool("of the service on one node"),
	"TaskTemplate.Placement.Platforms":                                         {Treatment: Works, free: true, Note: "clients fill it in from the registry; the engine says whether the image fits its machine"},
}

const reservedGPUs = "TaskTemplate.Resources.Reservations.GenericResources[].DiscreteResourceSpec"

const inContainer = "TaskTemplate.ContainerSpec."

var containerSpec = Table{
	inContainer + "Image": pool("found on the nodes, copied from one to another, or pulled by the node"), inContainer + "Labels": judged("as a container's", labels),
	inContainer + "Command": free, inContainer + "Args": free, inContainer + "Hostname": works, inContainer + "Env": free, inContainer + "Dir": works,
	inContainer + "User": works, inContainer + "Groups": free, inContainer + "Init": works, inContainer + "StopSignal": works, inContainer + "TTY": works,
	inContainer + "OpenStdin": works, inContainer + "ReadOnly": works, inContainer + "StopGracePeriod": pool("within the notice when the lease is taken back"),
	inContainer + "Mounts":      {Treatment: Judged, free: true, Note: "as a container's; volumes are each node's own"},
	inContainer + "Healthcheck": inner, inContainer + "Healthcheck.Test": pool("run by the agent: a task runs when it is healthy, and is replaced when it is not"),
	inContainer + "Healthcheck.Interval": works, inContainer + "Healthcheck.Timeout": works, inContainer + "Healthcheck.Retries": works,
	inContainer + "Healthcheck.StartPeriod": works, inContainer + "Healthcheck.StartInterval": refused("checks have one interval"),
	inContainer + "Hosts": free, inContainer + "DNSConfig": inner, inContainer + "DNSConfig.Nameservers": free, inContainer + "DNSConfig.Search": free, inContainer + "DNSConfig.Options": free,
	inContainer + "Secrets": inner, inContainer + "Secrets[].File": inner, inContainer + "Secrets[].File.Name": works, inContainer + "Secrets[].File.UID": works,
	inContainer + "Secrets[].File.GID": works, inContainer + "Secrets[].File.Mode": works, inContainer + "Secrets[].SecretID": works, inContainer + "Secrets[].SecretName": works,
	inContainer + "Configs": inner, inContainer + "Configs[].File": inner, inContainer + "Configs[].File.Name": works, inContainer + "Configs[].File.UID": works,
	inContainer + "Configs[].File.GID": works, inContainer + "Configs[].File.Mode": works, inContainer + "Configs[].ConfigID": works, inContainer + "Configs[].ConfigName": works,
	inContainer + "Configs[].Runtime": refused("there are no credential specs on Linux"),
	inContainer + "Isolation":         judged("default", oneOf(windows, "default")),
	inContainer + "Sysctls":           host("the kernel's settings"), inContainer + "CapabilityAdd": host("more than the engine gives by default"),
	inContainer + "CapabilityDrop": free, inContainer + "Ulimits": judged("as a container's", ulimits), inContainer + "OomScoreAdj": judged("below zero needs the permission host", negative),
	inContainer + "Privileges": inner, inContainer + "Privileges.NoNewPrivileges": works,
	inContainer + "Privileges.CredentialSpec": refused("there are no credential specs on Linux"), inContainer + "Privileges.SELinuxContext": refused("labels are the engine's to give"),
	inContainer + "Privileges.Seccomp":  refused("the engine's own profile is in force"),
	inContainer + "Privileges.AppArmor": refused("the engine's own profile is in force"),
}

// rollout are the rows of an update or a rollback.
func rollout(name string) Table {
	return Table{
		name: inner, name + ".Parallelism": works, name + ".Delay": works, name + ".Monitor": works, name + ".MaxFailureRatio": works,
		name + ".FailureAction": judged("pause, continue, rollback", oneOf("there is nothing else to do", "pause", "continue", "rollback")),
		name + ".Order":         judged("stop-first, start-first", oneOf("there is no other order", "stop-first", "start-first")),
	}
}

// Secret is the table of POST /secrets/create, Config that of /configs/create.
var (
	Secret = Table{
		"Name": works, "Labels": judged("polder.role is whose it is; other polder.… are refused", labels), "Data": works,
		"Driver": refused("secrets are kept in the pool's own store, sealed"), "Templating": refused("secrets are given as they are"),
	}
	Config = Table{
		"Name": works, "Labels": judged("polder.role is whose it is; other polder.… are refused", labels), "Data": works,
		"Templating": refused("configs are given as they are"),
	}
	// Cluster is the table of POST /swarm/update.
	Cluster = Table{
		"Name": judged("default", oneOf("there is one swarm", "default")), "Labels": free,
		"Orchestration": inner, "Orchestration.TaskHistoryRetentionLimit": pool("tasks of a slot, or of a node, that are remembered, the present one included; 5 at first"),
		"Raft": inner, "Raft.SnapshotInterval": refused(raft), "Raft.KeepOldSnapshots": refused(raft), "Raft.LogEntriesForSlowFollowers": refused(raft),
		"Raft.ElectionTick": refused(raft), "Raft.HeartbeatTick": refused(raft),
		"Dispatcher": inner, "Dispatcher.HeartbeatPeriod": refused("nodes speak with the pool's server, which knows when one is silent"),
		"CAConfig": inner, "CAConfig.NodeCertExpiry": refused(authority), "CAConfig.ExternalCAs": refused(authority), "CAConfig.SigningCACert": refused(authority),
		"CAConfig.SigningCAKey": refused(authority), "CAConfig.ForceRotate": refused(authority),
		"TaskDefaults": inner, "TaskDefaults.LogDriver": refused("say it of each service"),
		"EncryptionConfig": inner, "EncryptionConfig.AutoLockManagers": refused("what is secret is sealed with the key of the cluster's certificate authority"),
	}
	// Node is the table of POST /nodes/{id}/update.
	Node = Table{
		"Name": works, "Labels": {Treatment: Works, free: true, Note: "beside the attributes that the agent says; for constraints and preferences of services"},
		"Role":         judged("worker", oneOf("servers of the pool are not nodes", "worker")),
		"Availability": judged("active, pause (the pool's cordon), drain (the pool's drain)", oneOf("there is nothing else", "active", "pause", "drain")),
	}
)

const (
	raft      = "the pool's store keeps what services want"
	authority = "nodes have certificates of the pool's own authority"
)
