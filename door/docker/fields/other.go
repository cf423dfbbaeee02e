package fields

import (
	"net/netip"
	"slices"
	"strings"
)

// Exec is the table of POST /containers/{id}/exec.
var Exec = Table{
	"AttachStdin": works, "AttachStdout": works, "AttachStderr": works, "DetachKeys": works, "Detach": works, "Tty": works,
	"Env": free, "Cmd": free, "User": works, "WorkingDir": works, "ConsoleSize": free,
	"Privileged": host("everything on the machine"),
}

// Update is the table of POST /containers/{id}/update: limits of the lease. Engines would ignore the rest.
var Update = limits("Memory", "MemoryReservation", "MemorySwap", "NanoCpus", "CpuPeriod", "CpuQuota", "PidsLimit")

// limits are the rows of some resources under the names they have in Update; all others are refused.
func limits(names ...string) Table {
	const unchanged = "it is what the container was made with; make it anew"
	out := Table{"RestartPolicy": inner, "RestartPolicy.Name": refused(unchanged), "RestartPolicy.MaximumRetryCount": refused(unchanged)}
	for name, row := range resources {
		name = strings.TrimPrefix(name, "HostConfig.")
		if strings.Contains(name, "[") {
			continue // the whole is refused
		}
		if row.Treatment != Refused && !slices.Contains(names, name) {
			row = refused(unchanged)
		}
		out[name] = row
	}
	out["CgroupParent"] = refused("cgroups mirror the role tree")
	return out
}

// Network is the table of POST /networks/create.
var Network = Table{
	"Name": works, "CheckDuplicate": works, "Labels": judged("as a container's", labels),
	"Driver":     judged("bridge; overlay is a bridge of one engine", oneOf("a network is one engine's; containers that use it are placed there", "bridge", "default", "overlay")),
	"Scope":      judged("local", oneOf("a network is one engine's", "local", "swarm")),
	"EnableIPv6": works, "EnableIPv4": works, "Internal": works, "Attachable": works,
	"Ingress": refused("there is no routing mesh"), "ConfigOnly": refused("networks are made whole"), "ConfigFrom": refused("networks are made whole"),
	"Options": judged("com.docker.network.driver.mtu, com.docker.network.bridge.enable_icc", func(v any) (Treatment, string) {
		m, _ := v.(map[string]any)
		for key := range m {
			if key != "com.docker.network.driver.mtu" && key != "com.docker.network.bridge.enable_icc" {
				return Refused, "the option " + key + " steers the machine's own network"
			}
		}
		return Works, ""
	}),
	"IPAM": inner, "IPAM.Driver": judged("default", oneOf("addresses are the engine's to give", "default")), "IPAM.Options": refused("addresses are the engine's to give"),
	"IPAM.Config": inner, "IPAM.Config[].Subnet": judged("private ones; others need the permission host", subnet), "IPAM.Config[].IPRange": works, "IPAM.Config[].Gateway": works,
	"IPAM.Config[].AuxiliaryAddresses": free, "IPAM.Config[].AuxAddress": free,
}

// Connect is the table of POST /networks/{id}/connect, Disconnect that of /disconnect.
var (
	Connect    = merge(Table{"Container": works, "EndpointConfig": inner}, endpoints())
	Disconnect = Table{"Container": works, "Force": works}
)

// endpoints are the rows of an endpoint under the name they have in Connect.
func endpoints() Table {
	out := Table{}
	for name, row := range networking {
		if rest, ok := strings.CutPrefix(name, endpoint+"."); ok {
			out["EndpointConfig."+rest] = row
		}
	}
	return out
}

// onlySize allows a volume's size.
func onlySize(v any) (Treatment, string) {
	m, _ := v.(map[string]any)
	for name, x := range m {
		if _, text := x.(string); name != "size" || !text {
			return Refused, name + ": size is the only option; others could name any directory of the node"
		}
	}
	return Works, ""
}

// subnet lets users choose among private addresses. A bridge with others would take what the machine and its other containers send there.
func subnet(v any) (Treatment, string) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Refused, "want a network, as in 172.28.0.0/16"
	}
	for _, private := range privateNets {
		if private.Bits() <= p.Bits() && private.Contains(p.Addr()) {
			return Works, ""
		}
	}
	return Host, ""
}

var privateNets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("fc00::/7")}

// Volume is the table of POST /volumes/create.
var Volume = Table{
	"Name": works, "Labels": judged("polder.role, and polder.size as the option size; other polder.… are refused", labelsAmong("polder.role", "polder.size")),
	"Driver":            judged("local", oneOf("volumes are directories of the node", "local")),
	"DriverOpts":        judged("size, as in size=10g: the volume is the pool's, charged to the role", onlySize),
	"ClusterVolumeSpec": refused("volumes are directories of the node"),
}
