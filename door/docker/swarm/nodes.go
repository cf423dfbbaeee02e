package swarm

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/moby/moby/api/types/swarm"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/docker/fields"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// shownNodes are the nodes in the Engine API's words, by name.
func (s *Swarm) shownNodes() (out []swarm.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		out = append(out, s.shownNode(s.nodes[name]))
	}
	return out
}

// availability of a node by the pool's state of it.
var availability = map[string]swarm.NodeAvailability{"cordoned": swarm.NodeAvailabilityPause, "draining": swarm.NodeAvailabilityDrain}

func (s *Swarm) shownNode(p *polderv1.Node) swarm.Node {
	n := swarm.Node{ID: nodeID(p.Name)}
	kept := s.vault[n.ID]
	n.Version.Index, n.CreatedAt, n.UpdatedAt = kept.Index+1, p.Registered.AsTime(), p.LastSeen.AsTime()
	n.Spec.Labels, n.Spec.Role, n.Spec.Availability = kept.Labels, swarm.NodeRoleWorker, swarm.NodeAvailabilityActive
	if n.Spec.Labels == nil {
		n.Spec.Labels = map[string]string{}
	}
	if a, ok := availability[p.State]; ok {
		n.Spec.Availability = a
	}
	e, whole := s.engines[p.Name], amountsOf(p.Capacity)
	n.Description.Hostname, n.Description.Platform = p.Name, swarm.Platform{Architecture: e.Arch, OS: "linux"}
	n.Description.Resources = swarm.Resources{NanoCPUs: whole.Milli * 1e6, MemoryBytes: whole.Memory}
	if whole.GPUs > 0 {
		n.Description.Resources.GenericResources = []swarm.GenericResource{{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "gpu", Value: whole.GPUs}}}
	}
	n.Description.Engine = swarm.EngineDescription{EngineVersion: e.Version, Labels: p.Attributes}
	n.Status.State = swarm.NodeStateReady
	if p.State == "unreachable" {
		n.Status.State, n.Status.Message = swarm.NodeStateDown, "its agent does not answer"
	}
	return n
}

// seeNodes asks whether the caller may see the nodes: who may view anything may.
func (s *Swarm) seeNodes(c *call) error {
	_, err := s.api.Nodes.List(c.Context(), connect.NewRequest(&polderv1.NodeServiceListRequest{PageSize: 1}))
	return err
}

// listNodes is docker node ls.
func (s *Swarm) listNodes(c *call) error {
	if err := c.only("filters"); err != nil {
		return err
	}
	f, err := c.filters("id", "label", "node.label", "membership", "name", "role")
	if err != nil {
		return err
	}
	if err := s.seeNodes(c); err != nil {
		return err
	}
	out := slices.DeleteFunc(s.shownNodes(), func(n swarm.Node) bool {
		return !matches(f["id"], func(v string) bool { return strings.HasPrefix(n.ID, v) }) ||
			!matches(f["name"], func(v string) bool { return strings.HasPrefix(n.Description.Hostname, v) }) ||
			!labelled(n.Description.Engine.Labels, f["label"]) || !labelled(n.Spec.Labels, f["node.label"]) ||
			!matches(f["membership"], func(v string) bool { return v == "accepted" }) || !matches(f["role"], func(v string) bool { return v == "worker" })
	})
	if out == nil {
		out = []swarm.Node{}
	}
	return c.reply(http.StatusOK, out)
}

func (s *Swarm) findNode(c *call) (swarm.Node, error) {
	nodes := s.shownNodes()
	if err := s.seeNodes(c); connect.CodeOf(err) == connect.CodePermissionDenied {
		nodes = nil // as with everything that one may not view
	} else if err != nil {
		return swarm.Node{}, err
	}
	if c.PathValue("id") == managerID { // which clients call self
		return swarm.Node{}, fail(http.StatusNotFound, "this door is the swarm's only manager and no node itself: name one of docker node ls; machines join with polder agent")
	}
	return pick("node", c.PathValue("id"), nodes, func(n swarm.Node) string { return n.ID }, func(n swarm.Node) string { return n.Description.Hostname })
}

// inspectNode is docker node inspect.
func (s *Swarm) inspectNode(c *call) error {
	n, err := s.findNode(c)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, n)
}

// updateNode is docker node update: the pool's cordon and drain, and labels beside the node's own attributes.
func (s *Swarm) updateNode(c *call) error {
	if err := c.only("version"); err != nil {
		return err
	}
	n, err := s.findNode(c)
	if err != nil {
		return err
	}
	var spec swarm.NodeSpec
	if _, _, err := c.read(fields.Node, "the node", &spec); err != nil {
		return err
	}
	if v := c.URL.Query().Get("version"); v != strconv.FormatUint(n.Version.Index, 10) {
		return fail(http.StatusConflict, "rpc error: code = Unknown desc = update out of sequence")
	}
	if spec.Availability != "" && spec.Availability != n.Spec.Availability {
		if err := s.avail(c.Context(), n.Description.Hostname, spec.Availability); err != nil {
			return err
		}
	}
	if !maps.Equal(spec.Labels, n.Spec.Labels) {
		if err := s.label(c, n, spec.Labels); err != nil {
			return err
		}
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// avail cordons or drains a node, or opens it again, as the caller.
func (s *Swarm) avail(ctx context.Context, name string, to swarm.NodeAvailability) (err error) {
	if to == swarm.NodeAvailabilityDrain {
		_, err = s.api.Nodes.Drain(ctx, connect.NewRequest(&polderv1.DrainRequest{Name: name}))
	} else {
		_, err = s.api.Nodes.Cordon(ctx, connect.NewRequest(&polderv1.CordonRequest{Name: name, Cordoned: to == swarm.NodeAvailabilityPause}))
	}
	return err
}

// label keeps labels for a node. Who may cordon it may.
func (s *Swarm) label(c *call, n swarm.Node, labels map[string]string) error {
	if err := s.opt.Containers.May(c.Context(), "node", ""); err != nil {
		return err
	}
	s.mu.Lock()
	x := s.vault[n.ID]
	p := s.nodes[n.Description.Hostname]
	s.mu.Unlock()
	x.ID, x.Kind, x.Labels, x.Index = n.ID, "node", labels, x.Index+1
	if err := s.keep(c.Context(), x); err != nil {
		return err
	}
	if p == nil {
		return nil
	}
	return s.step(context.WithoutCancel(c.Context()), orchestrator.Batch{s.newsOf(p)})
}

// removeNode is docker node rm: the pool forgets a node.
func (s *Swarm) removeNode(c *call) error {
	if err := c.only("force"); err != nil {
		return err
	}
	n, err := s.findNode(c)
	if err != nil {
		return err
	}
	if n.Status.State != swarm.NodeStateDown && !isSet(c.URL.Query(), "force") {
		return fail(http.StatusBadRequest, "rpc error: code = FailedPrecondition desc = node %s is not down and can't be removed", n.ID)
	}
	if _, err := s.api.Nodes.Remove(c.Context(), connect.NewRequest(&polderv1.NodeServiceRemoveRequest{Name: n.Description.Hostname})); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}
