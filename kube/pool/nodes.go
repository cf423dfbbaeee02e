package pool

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

// KubeRuntime is the runtime of the nodes that run pods.
const KubeRuntime = "kube"

// States of a node.
const (
	Ready       = "ready"
	Unreachable = "unreachable"
)

const reconnect = time.Second

// Node is a node of the pool that can run pods, with its amounts read.
type Node struct {
	*polderv1.Node
	Capacity  resource.Resources // by kind
	Available resource.Resources // free for anybody now, by kind
	Revision  int64              // of the picture that this is of
}

// Nodes is the picture of the nodes that can run pods.
type Nodes struct {
	client *Client
	log    *slog.Logger
	ready  chan struct{} // closed at the first snapshot

	mu      sync.RWMutex // guards all below
	nodes   map[string]Node
	synced  bool
	at      int64           // revision of the picture
	changed []chan struct{} // subscribers, each with room for one
}

// WatchNodes is the picture as [Nodes.Run] keeps it.
func WatchNodes(c *Client, log *slog.Logger) *Nodes {
	return &Nodes{client: c, log: log, ready: make(chan struct{}), nodes: map[string]Node{}}
}

// Ready is closed when the picture is there.
func (n *Nodes) Ready() <-chan struct{} { return n.ready }

// Get finds a node by its name.
func (n *Nodes) Get(name string) (Node, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	node, ok := n.nodes[name]
	node.Revision = n.at
	return node, ok
}

// All are the nodes in order of name.
func (n *Nodes) All() []Node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	all := slices.SortedFunc(maps.Values(n.nodes), func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	for i := range all {
		all[i].Revision = n.at
	}
	return all
}

// Revision is how new the picture is, as [polderv1.CommitResponse] counts.
func (n *Nodes) Revision() int64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.at
}

// Changed is sent to after changes; several changes may be one message.
func (n *Nodes) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := make(chan struct{}, 1)
	n.changed = append(n.changed, c)
	return c
}

// Run follows the pool until ctx is done. When the connection breaks it starts anew; the picture stays as it was meanwhile.
func (n *Nodes) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := n.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		n.log.Warn("lost sight of the pool's nodes; trying again", "error", err)
		select {
		case <-time.After(reconnect):
		case <-ctx.Done():
		}
	}
}

func (n *Nodes) follow(ctx context.Context) error {
	stream, err := n.client.Claims.Watch(ctx, connect.NewRequest(&polderv1.ClaimServiceWatchRequest{}))
	if err != nil {
		return err
	}
	defer stream.Close()
	fresh := map[string]Node{}
	complete := false
	for stream.Receive() {
		m := stream.Msg()
		if !complete {
			for _, node := range m.Nodes {
				set(fresh, node)
			}
			if complete = m.SnapshotComplete; complete {
				n.replace(fresh, m.Revision)
			}
			continue
		}
		n.change(m)
	}
	return stream.Err()
}

func (n *Nodes) replace(fresh map[string]Node, revision int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes, n.at = fresh, revision
	if !n.synced {
		n.synced = true
		close(n.ready)
	}
	n.tell()
}

func (n *Nodes) change(m *polderv1.ClaimServiceWatchResponse) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range m.Nodes {
		set(n.nodes, node)
	}
	for _, name := range m.Removed {
		delete(n.nodes, name)
	}
	n.at = m.Revision
	n.tell()
}

// tell wakes the subscribers. The caller holds the lock.
func (n *Nodes) tell() {
	for _, c := range n.changed {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// set keeps a node that can run pods, and no other. One that does not answer may still run some.
func set(nodes map[string]Node, node *polderv1.Node) {
	_, was := nodes[node.Name]
	if !slices.Contains(node.Runtimes, KubeRuntime) && !(was && node.State == Unreachable) {
		delete(nodes, node.Name)
		return
	}
	nodes[node.Name] = Node{Node: node, Capacity: amounts(node.Capacity), Available: amounts(node.Available)}
}

// amounts reads amounts by kind. What cannot be read is not there.
func amounts(texts map[string]string) resource.Resources {
	out := resource.Resources{}
	for name, text := range texts {
		_, kind := resource.SplitName(name)
		if a, err := resource.ParseValue(name, text); err == nil {
			out[kind] = a
		}
	}
	return out
}
