// Package failover plays the loss of the leader: two servers on one external etcd, agents that know both, and tasks that do not
// notice. It has only tests.
package failover
