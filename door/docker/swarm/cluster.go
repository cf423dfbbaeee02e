package swarm

import (
	"net/http"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// clusterID is the swarm's id: there is one.
var clusterID = nodeID("the swarm of this pool")

// managerID is the node id under which the door stands for its manager.
var managerID = nodeID("the manager of this pool")

// cluster is what is said of the whole.
func (s *Swarm) cluster() swarm.ClusterInfo {
	keep := int64(5)
	out := swarm.ClusterInfo{ID: clusterID, DataPathPort: 4789, SubnetSize: 24}
	out.CreatedAt, out.UpdatedAt, out.Version.Index = time.Unix(0, 0).UTC(), time.Unix(0, 0).UTC(), 1
	out.Spec.Name, out.Spec.Labels = "default", map[string]string{}
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
