package mesos

import (
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// setOfNone is no ports.
var setOfNone resource.PortSet

// wireDoc is a message as it looks inside a document.
func wireDoc(m proto.Message) json.RawMessage { return wire.AppendJSON(nil, m) }

// counters count since the door began.
type counters struct {
	offersSent, rescinded, accepted, declined, launched, updates uint64
	inverseSent, inverseAccepted, inverseDeclined                uint64
	states                                                       map[mesosv1.TaskState]uint64
}

func (c *counters) ended(s mesosv1.TaskState) {
	if c.states == nil {
		c.states = map[mesosv1.TaskState]uint64{}
	}
	c.states[s]++
}

// metrics are the figures monitoring reads, under Mesos' names.
func (d *Door) metrics(v viewer) map[string]float64 {
	active, inactive, away := d.countNodes()
	out := map[string]float64{
		"master/elected": 1, "master/uptime_secs": d.c.Now().Sub(d.started).Seconds(),
		"master/slaves_active": float64(active), "master/slaves_connected": float64(active + inactive),
		"master/slaves_inactive": float64(inactive), "master/slaves_disconnected": 0, "master/slaves_unreachable": float64(away),
		"master/messages_decline_offers": float64(d.counters.declined), "master/messages_launch_tasks": float64(d.counters.accepted),
		"master/offers_rescinded": float64(d.counters.rescinded), "master/outstanding_offers": float64(len(d.offers)),
		"master/offers_sent": float64(d.counters.offersSent), "master/tasks_launched": float64(d.counters.launched),
		"master/status_updates_sent": float64(d.counters.updates), "master/inverse_offers_sent": float64(d.counters.inverseSent),
		"master/inverse_offers_accepted": float64(d.counters.inverseAccepted), "master/inverse_offers_declined": float64(d.counters.inverseDeclined),
	}
	for _, s := range []mesosv1.TaskState{
		mesosv1.TaskState_TASK_FINISHED, mesosv1.TaskState_TASK_FAILED, mesosv1.TaskState_TASK_KILLED, mesosv1.TaskState_TASK_LOST,
		mesosv1.TaskState_TASK_GONE, mesosv1.TaskState_TASK_ERROR, mesosv1.TaskState_TASK_DROPPED,
	} {
		out["master/tasks_"+strings.ToLower(strings.TrimPrefix(s.String(), "TASK_"))] = float64(d.counters.states[s])
	}
	d.countFrameworks(v, out)
	d.countResources(out)
	return out
}

func (d *Door) countFrameworks(v viewer, out map[string]float64) {
	for _, name := range []string{"active", "connected", "inactive", "disconnected"} {
		out["master/frameworks_"+name] = 0
	}
	for _, name := range []string{"staging", "starting", "running", "killing", "unreachable"} {
		out["master/tasks_"+name] = 0
	}
	for _, f := range d.sorted(v) {
		if f.stream != nil {
			out["master/frameworks_active"]++
			out["master/frameworks_connected"]++
		} else {
			out["master/frameworks_inactive"]++
			out["master/frameworks_disconnected"]++
		}
		states := map[mesosv1.TaskState]float64{}
		for _, t := range f.tasks {
			if !t.over() {
				states[t.state]++
			}
		}
		for s, n := range states {
			out["master/tasks_"+strings.ToLower(strings.TrimPrefix(s.String(), "TASK_"))] += n
		}
	}
}

func (d *Door) countResources(out map[string]float64) {
	total, free := amounts{}, amounts{}
	for _, n := range d.nodes {
		total, free = plus(total, n.total), plus(free, n.free)
	}
	for _, kind := range []string{"cpu", "memory", "disk", "gpu"} {
		name := "master/" + mesosName(kind)
		all, used := toScalar(kind, total[kind]), toScalar(kind, total[kind].Sub(free[kind]))
		out[name+"_total"], out[name+"_used"], out[name+"_percent"] = all, used, 0
		if all > 0 {
			out[name+"_percent"] = used / all
		}
	}
}
