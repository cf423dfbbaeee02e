package mesos

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire/agentv1"
)

// serveContainers serves what runs on a node, with what it may take and what it uses.
func (d *Door) serveContainers(who principal, w http.ResponseWriter, r *http.Request) error {
	v, err := d.viewerOf(who)
	if err != nil {
		return answer(http.StatusForbidden, "%v", err)
	}
	d.mu.Lock()
	list := d.containers(v, r, false)
	d.mu.Unlock()
	d.measure(r.Context(), list)
	out := []object{}
	for _, c := range list {
		out = append(out, containerDoc(c))
	}
	return writeDoc(w, r, out)
}

// measure writes down what containers use, as far as their nodes have said. What is nested has no measure of its own. The mutex is not held.
func (d *Door) measure(ctx context.Context, list []*agentv1.Response_GetContainers_Container) {
	ctx, cancel := context.WithTimeout(withSelf(ctx), remaining)
	defer cancel()
	for _, c := range list {
		if c.ContainerId.Parent != nil {
			continue
		}
		res, err := d.c.API.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: c.ContainerId.GetValue()}))
		if ctx.Err() != nil {
			return
		}
		if err != nil || res.Msg.Usage == nil { // it is over by now, or nothing is known yet
			continue
		}
		s, u := c.ResourceStatistics, res.Msg.Usage
		s.Timestamp = new(seconds(u.At.AsTime()))
		s.CpusUserTimeSecs, s.CpusSystemTimeSecs = &u.CpuSeconds, new(0.0) // tools add them
		s.MemRssBytes, s.MemTotalBytes = new(uint64(u.MemoryBytes)), new(uint64(u.MemoryBytes))
	}
}

func containerDoc(c *agentv1.Response_GetContainers_Container) object {
	s := c.ResourceStatistics
	figures := object{"timestamp": s.GetTimestamp(), "cpus_limit": s.GetCpusLimit(), "mem_limit_bytes": s.GetMemLimitBytes()}
	if s.MemRssBytes != nil {
		figures["cpus_user_time_secs"], figures["cpus_system_time_secs"] = s.GetCpusUserTimeSecs(), s.GetCpusSystemTimeSecs()
		figures["mem_rss_bytes"], figures["mem_total_bytes"] = s.GetMemRssBytes(), s.GetMemTotalBytes()
	}
	return object{
		"container_id": c.ContainerId.GetValue(), "executor_id": c.ExecutorId.GetValue(), "executor_name": c.GetExecutorName(), "framework_id": c.FrameworkId.GetValue(),
		"source": c.ExecutorId.GetValue(), "status": wireDoc(c.ContainerStatus), "statistics": figures,
	}
}
