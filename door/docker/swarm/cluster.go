package swarm

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"polder.dev/polder/door/docker/fields"
	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// clusterID is the swarm's id: there is one.
var clusterID = nodeID("the swarm of this pool")

// managerID is the node id under which the door stands for its manager.
var managerID = nodeID("the manager of this pool")

// clusterKind is the kind of the one item that holds what was said of the whole.
const clusterKind = "cluster"

// history is how many tasks of a slot the whole is to remember; data is what was written down.
func (x item) history() (n int64) {
	if json.Unmarshal(x.Data, &n) != nil { // nobody has said
		return orchestrator.History
	}
	return n
}

// cluster is what is said of the whole.
func (s *Swarm) cluster() swarm.ClusterInfo {
	s.mu.Lock()
	kept := s.vault[clusterID]
	s.mu.Unlock()
	keep := kept.history()
	out := swarm.ClusterInfo{ID: clusterID, DataPathPort: 4789, SubnetSize: 24}
	out.CreatedAt, out.UpdatedAt, out.Version.Index = time.Unix(0, 0).UTC(), time.Unix(0, 0).UTC(), kept.Index+1
	if !kept.Updated.IsZero() {
		out.UpdatedAt = kept.Updated
	}
	out.Spec.Name, out.Spec.Labels = "default", maps.Clone(kept.Labels)
	if out.Spec.Labels == nil {
		out.Spec.Labels = map[string]string{}
	}
	out.Spec.Orchestration.TaskHistoryRetentionLimit = &keep
	return out
}

// inspect is docker swarm inspect. Nodes join with the pool's own tokens, so there are none here.
func (s *Swarm) inspect(c *call) error {
	if err := s.seeNodes(c); err != nil {
		return err
	}
	return c.reply(http.StatusOK, swarm.Swarm{ClusterInfo: s.cluster()})
}

// update is docker swarm update: labels of the whole, and how many ended tasks are remembered. Who may cordon nodes may.
func (s *Swarm) update(c *call) error {
	if err := c.only("version", "rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"); err != nil {
		return err
	}
	for _, what := range []string{"rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"} {
		if isSet(c.URL.Query(), what) {
			return fail(http.StatusBadRequest, "%s: nodes join with the pool's own tokens: polder token create --join NAME, polder token revoke ID", what)
		}
	}
	if err := s.opt.Containers.May(c.Context(), "node", ""); err != nil {
		return err
	}
	var spec swarm.Spec
	if _, _, err := c.read(fields.Cluster, "the swarm", &spec); err != nil {
		return err
	}
	defer s.changing.other()()
	s.mu.Lock()
	x := s.vault[clusterID]
	s.mu.Unlock()
	if c.URL.Query().Get("version") != strconv.FormatUint(x.Index+1, 10) {
		return fail(http.StatusConflict, "rpc error: code = Unknown desc = update out of sequence")
	}
	keep := x.history()
	if n := spec.Orchestration.TaskHistoryRetentionLimit; n != nil {
		keep = *n
	}
	x.ID, x.Kind, x.Labels, x.Index, x.Data = clusterID, clusterKind, spec.Labels, x.Index+1, []byte(strconv.FormatInt(keep, 10))
	if err := s.keep(c.Context(), x); err != nil {
		return err
	}
	s.mu.Lock()
	s.m.Remember(int(keep))
	s.mu.Unlock()
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// unlockKey is docker swarm unlock-key: there is none, because what is secret is sealed with the certificate authority's key.
func (s *Swarm) unlockKey(c *call) error {
	if err := s.seeNodes(c); err != nil {
		return err
	}
	return c.reply(http.StatusOK, swarm.UnlockKeyResponse{})
}

// unlock is docker swarm unlock, for managers that wait for a key after a start. This one never does.
func (s *Swarm) unlock(*call) error {
	return fail(http.StatusConflict, "swarm is not locked")
}

// Info is the part of docker info by which clients know that they speak to a manager.
func (s *Swarm) Info() swarm.Info {
	about := s.cluster()
	s.mu.Lock()
	defer s.mu.Unlock()
	return swarm.Info{
		NodeID: managerID, NodeAddr: "127.0.0.1", LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: true,
		Nodes: len(s.nodes), Managers: 1, Cluster: &about, RemoteManagers: []swarm.Peer{{NodeID: managerID, Addr: "127.0.0.1"}},
	}
}
