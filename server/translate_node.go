package server

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

var runtimeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func isRuntimeAttribute(name string) bool { return strings.HasPrefix(name, runtimeAttribute) }

// withRuntimes adds the attributes that tasks select a node's runtimes by.
func withRuntimes(attributes map[string]string, runtimes, away []string) map[string]string {
	out := maps.Clone(attributes)
	if out == nil {
		out = map[string]string{}
	}
	for _, r := range runtimes {
		out[runtimeAttribute+r] = "true"
	}
	for _, r := range away {
		out[runtimeAttribute+r+awayAttribute] = "true"
	}
	return out
}

// runtimesAway replaces what is known of a node's runtimes that do not answer. Of a runtime that it does not have it says
// nothing.
func (t *turn) runtimesAway(node string, away []string) error {
	extra := t.extras[node]
	extra.Away = slices.DeleteFunc(slices.Clone(extra.Runtimes), func(r string) bool { return !slices.Contains(away, r) })
	t.extras[node] = extra
	v, ok := t.cluster.Node(node)
	if !ok {
		return nil
	}
	own := maps.Clone(v.Attributes)
	maps.DeleteFunc(own, func(name, _ string) bool { return isRuntimeAttribute(name) })
	_, err := t.step(cluster.SetAttributes{Node: node, Attributes: withRuntimes(own, extra.Runtimes, extra.Away)})
	return err
}

// helloCore reads what a node says about itself.
func helloCore(h *polderv1.Hello) (cluster.NodeInfo, error) {
	for _, name := range sortedKeys(h.Attributes) {
		if !resource.ValidName(name) || isRuntimeAttribute(name) {
			return cluster.NodeInfo{}, invalid(role.JoinKey("hello.attributes", name),
				"use lower-case letters, digits, '-', '_' and '.', and do not start with %q", runtimeAttribute)
		}
	}
	for i, r := range h.Runtimes {
		if !runtimeName.MatchString(r) {
			return cluster.NodeInfo{}, invalid(role.JoinIndex("hello.runtimes", i), "%q is not the name of a runtime", r)
		}
	}
	for i, r := range h.Away {
		if !slices.Contains(h.Runtimes, r) {
			return cluster.NodeInfo{}, invalid(role.JoinIndex("hello.away", i), "%q is not among the runtimes", r)
		}
	}
	if h.Volumes != "" && (!path.IsAbs(h.Volumes) || path.Clean(h.Volumes) != h.Volumes) {
		return cluster.NodeInfo{}, invalid("hello.volumes", "%q is not an absolute path in its shortest form", h.Volumes)
	}
	capacity, err := kindAmounts(h.Capacity, "hello.capacity")
	if err != nil {
		return cluster.NodeInfo{}, err
	}
	if err := countable(capacity, "hello.capacity"); err != nil {
		return cluster.NodeInfo{}, err
	}
	ports, err := resource.ParsePorts(h.Ports)
	if err != nil {
		return cluster.NodeInfo{}, invalid("hello.ports", "%v", err)
	}
	return cluster.NodeInfo{Name: h.Node, Attributes: withRuntimes(h.Attributes, h.Runtimes, h.Away), Capacity: capacity, Ports: ports}, nil
}

func nodeProto(r nodeRow) *polderv1.Node {
	out := &polderv1.Node{
		Name: r.Name, Pool: r.Pool, State: r.State, Attributes: map[string]string{}, Capacity: amountsProto(r.Total),
		Used: amountsProto(r.Used), Available: amountsProto(r.Available), Earmarked: amountsProto(r.Earmarked),
		Tasks: int32(r.Tasks), Volumes: int32(r.Volumes), Reservations: int32(r.Reservations), Ports: r.Ports.String(),
		FreePorts: r.FreePorts.String(), Registered: timeProto(r.Registered), Version: r.Version, Warnings: slices.Clone(r.Warnings),
	}
	for _, name := range r.Runtimes {
		if slices.Contains(r.Away, name) {
			out.Warnings = append(out.Warnings, fmt.Sprintf("the %s runtime does not answer: no task is placed on it here until it does", name))
		} else {
			out.Runtimes = append(out.Runtimes, name)
		}
	}
	for name, value := range r.Attributes {
		if !isRuntimeAttribute(name) {
			out.Attributes[name] = value
		}
	}
	if r.seen != nil {
		if at := r.seen.Load(); at > 0 {
			out.LastSeen = timeProto(time.Unix(0, at))
		}
	}
	return out
}
