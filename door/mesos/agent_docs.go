package mesos

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door/mesos/wire/agentv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// agentEndpoints are the documents of agents that masters do not have.
var agentEndpoints = map[string]handler{
	"/state":              document((*Door).agentStateDoc),
	"/containers":         (*Door).serveContainers,
	"/monitor/statistics": (*Door).serveContainers,
}

// nodeAsked is the node whose agent a request is for, where that can be told: by the name it was sent to, or because there is no other. It is
// nil when it is for all. The mutex is held.
func (d *Door) nodeAsked(r *http.Request) *node {
	if len(d.order) == 1 {
		return d.order[0]
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	var found *node
	for _, n := range d.order {
		if n.host() != host {
			continue
		}
		if found != nil {
			return nil
		}
		found = n
	}
	return found
}

// run is a container as agents show it: a command task, which is its own executor, or an executor with its tasks.
type run struct {
	id, name, node, role string
	native, directory    string
	resources            []*mesosv1.Resource
	fw                   *framework
	tasks                []*task
	over                 bool
}

// runs are a framework's containers on a node, or on all when that is nil, which somebody may see. The mutex is held.
func (d *Door) runsOf(f *framework, only *node, v viewer) []run {
	var out []run
	add := func(x run) {
		if x.native != "" && (only == nil || x.node == only.name) {
			out = append(out, x)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(f.executors), compareKeys) {
		e := f.executors[key]
		if !v.all && !v.paths[e.path] {
			continue
		}
		x := run{id: e.id, name: e.info.GetName(), node: e.node, role: e.role, native: e.native, directory: e.directory(), resources: e.info.GetResources(), fw: f}
		for _, id := range slices.Sorted(maps.Keys(e.tasks)) {
			x.tasks = append(x.tasks, e.tasks[id])
		}
		add(x)
	}
	for _, t := range slices.Concat(f.completed, sortedTasks(f)) {
		if t.executor == nil && v.task(t) {
			add(run{id: t.id(), name: t.info.GetName(), node: t.node, role: t.role, native: t.native, directory: t.directory(), resources: t.info.GetResources(), fw: f,
				tasks: []*task{t}, over: t.over()})
		}
	}
	return out
}

// doc is a container as an agent's /state shows it.
func (x run) doc() object {
	tasks, completed := []json.RawMessage{}, []json.RawMessage{}
	for _, t := range x.tasks {
		if t.over() {
			completed = append(completed, t.document())
		} else {
			tasks = append(tasks, t.document())
		}
	}
	return object{
		"id": x.id, "name": x.name, "source": x.id, "container": x.native, "directory": x.directory, "resources": json.RawMessage(appendList(nil, x.resources)), "role": x.role,
		"tasks": tasks, "queued_tasks": []any{}, "completed_tasks": completed,
	}
}

// agentStateDoc is what runs, and ran, on a node: where tools find sandboxes.
func (d *Door) agentStateDoc(v viewer, r *http.Request) any {
	n := d.nodeAsked(r)
	doc := versionDoc()
	if n != nil {
		_ = json.Unmarshal(n.shelf.Text(n), &doc) // it was encoded here
	}
	maps.Copy(doc, object{"pid": d.agentPid(), "start_time": seconds(d.started), "log_dir": "", "flags": d.flags(), "master_hostname": d.c.Cluster})
	live, gone := []object{}, []object{}
	for _, f := range slices.Concat(d.gone, d.sorted(v)) {
		if x := d.agentFramework(f, n, v); x == nil {
			continue
		} else if f.removed.IsZero() {
			live = append(live, x)
		} else {
			gone = append(gone, x)
		}
	}
	doc["frameworks"], doc["completed_frameworks"] = live, gone
	return doc
}

// agentFramework is a framework with what it has on a node; nil when that is nothing.
func (d *Door) agentFramework(f *framework, n *node, v viewer) object {
	live, gone := []object{}, []object{}
	for _, x := range d.runsOf(f, n, v) {
		if x.over {
			gone = append(gone, x.doc())
		} else {
			live = append(live, x.doc())
		}
	}
	if len(live)+len(gone) == 0 {
		return nil
	}
	return object{
		"id": f.id, "name": f.info.GetName(), "user": f.info.GetUser(), "hostname": f.info.GetHostname(), "principal": f.principal, "checkpoint": f.info.GetCheckpoint(),
		"failover_timeout": f.info.GetFailoverTimeout(), "roles": rolesOf(f.info), "executors": live, "completed_executors": gone,
	}
}

// containers are what runs on a node; with nested ones where they are asked for.
func (d *Door) containers(v viewer, r *http.Request, withNested bool) []*agentv1.Response_GetContainers_Container {
	var out []*agentv1.Response_GetContainers_Container
	n := d.nodeAsked(r)
	for _, f := range d.sorted(v) {
		for _, x := range d.runsOf(f, n, v) {
			if x.over {
				continue
			}
			id := &mesosv1.ContainerID{Value: &x.native}
			out = append(out, d.container(x, id))
			if !withNested {
				continue
			}
			for _, below := range d.nests.under(x.native) {
				out = append(out, d.container(x, &mesosv1.ContainerID{Value: new(below), Parent: id}))
			}
		}
	}
	return out
}

func (d *Door) container(x run, id *mesosv1.ContainerID) *agentv1.Response_GetContainers_Container {
	w, _ := wantedOf(x.resources) // it was checked when it was launched
	s := &mesosv1.ResourceStatistics{Timestamp: new(seconds(d.c.Now()))}
	if cpu := w.amounts["cpu"]; cpu > 0 {
		s.CpusLimit = new(toScalar("cpu", cpu))
	}
	if memory := w.amounts["memory"]; memory > 0 {
		s.MemLimitBytes = new(uint64(memory))
	}
	status := &mesosv1.ContainerStatus{ContainerId: id}
	if n := d.nodes[x.node]; n != nil {
		status.NetworkInfos = []*mesosv1.NetworkInfo{{IpAddresses: []*mesosv1.NetworkInfo_IPAddress{{Protocol: mesosv1.NetworkInfo_IPv4.Enum(), IpAddress: new(n.ip())}}}}
	}
	return &agentv1.Response_GetContainers_Container{
		FrameworkId: &mesosv1.FrameworkID{Value: &x.fw.id}, ExecutorId: &mesosv1.ExecutorID{Value: &x.id}, ExecutorName: &x.name, ContainerId: id,
		ContainerStatus: status, ResourceStatistics: s,
	}
}

// agentQueries read the books for tools that ask an agent. The mutex is held.
var agentQueries = map[agentv1.Call_Type]func(*Door, viewer, *http.Request, *agentv1.Call) proto.Message{
	agentv1.Call_GET_HEALTH: func(*Door, viewer, *http.Request, *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_HEALTH.Enum(), GetHealth: &agentv1.Response_GetHealth{Healthy: new(true)}}
	},
	agentv1.Call_GET_FLAGS: func(d *Door, _ viewer, _ *http.Request, _ *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_FLAGS.Enum(), GetFlags: &agentv1.Response_GetFlags{Flags: []*mesosv1.Flag{{Name: new("cluster"), Value: &d.c.Cluster}}}}
	},
	agentv1.Call_GET_VERSION: func(*Door, viewer, *http.Request, *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_VERSION.Enum(), GetVersion: &agentv1.Response_GetVersion{VersionInfo: &mesosv1.VersionInfo{Version: new(Version)}}}
	},
	agentv1.Call_GET_METRICS: func(d *Door, v viewer, _ *http.Request, _ *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_METRICS.Enum(), GetMetrics: &agentv1.Response_GetMetrics{Metrics: d.metricProtos(v)}}
	},
	agentv1.Call_GET_LOGGING_LEVEL: func(d *Door, _ viewer, _ *http.Request, _ *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_LOGGING_LEVEL.Enum(), GetLoggingLevel: &agentv1.Response_GetLoggingLevel{Level: new(d.level.get())}}
	},
	agentv1.Call_GET_STATE: func(d *Door, v viewer, r *http.Request, _ *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_STATE.Enum(), GetState: d.agentState(v, r)}
	},
	agentv1.Call_GET_FRAMEWORKS: func(d *Door, v viewer, r *http.Request, _ *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_FRAMEWORKS.Enum(), GetFrameworks: d.agentState(v, r).GetFrameworks}
	},
	agentv1.Call_GET_EXECUTORS: func(d *Door, v viewer, r *http.Request, _ *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_EXECUTORS.Enum(), GetExecutors: d.agentState(v, r).GetExecutors}
	},
	agentv1.Call_GET_TASKS: func(d *Door, v viewer, r *http.Request, _ *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_TASKS.Enum(), GetTasks: d.agentState(v, r).GetTasks}
	},
	agentv1.Call_GET_OPERATIONS: func(*Door, viewer, *http.Request, *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_OPERATIONS.Enum(), GetOperations: &agentv1.Response_GetOperations{}}
	},
	agentv1.Call_GET_CONTAINERS: func(d *Door, v viewer, r *http.Request, c *agentv1.Call) proto.Message {
		return &agentv1.Response{Type: agentv1.Response_GET_CONTAINERS.Enum(), GetContainers: &agentv1.Response_GetContainers{
			Containers: d.containers(v, r, c.GetGetContainers().GetShowNested()),
		}}
	},
	agentv1.Call_GET_AGENT: func(d *Door, _ viewer, r *http.Request, _ *agentv1.Call) proto.Message {
		out := &agentv1.Response_GetAgent{}
		if n := d.nodeAsked(r); n != nil {
			out.AgentInfo = d.agentInfo(n, n.name)
		}
		return &agentv1.Response{Type: agentv1.Response_GET_AGENT.Enum(), GetAgent: out}
	},
}

// agentState is what runs, and ran, on a node.
func (d *Door) agentState(v viewer, r *http.Request) *agentv1.Response_GetState {
	out := &agentv1.Response_GetState{GetFrameworks: &agentv1.Response_GetFrameworks{}, GetExecutors: &agentv1.Response_GetExecutors{}, GetTasks: &agentv1.Response_GetTasks{}}
	n := d.nodeAsked(r)
	for _, f := range slices.Concat(d.gone, d.sorted(v)) {
		runs := d.runsOf(f, n, v)
		switch {
		case len(runs) == 0:
			continue
		case f.removed.IsZero():
			out.GetFrameworks.Frameworks = append(out.GetFrameworks.Frameworks, &agentv1.Response_GetFrameworks_Framework{FrameworkInfo: f.info})
		default:
			out.GetFrameworks.CompletedFrameworks = append(out.GetFrameworks.CompletedFrameworks, &agentv1.Response_GetFrameworks_Framework{FrameworkInfo: f.info})
		}
		for _, x := range runs {
			x.addTo(d, out)
		}
	}
	return out
}

func (x run) addTo(d *Door, out *agentv1.Response_GetState) {
	e := &agentv1.Response_GetExecutors_Executor{ExecutorInfo: &mesosv1.ExecutorInfo{
		ExecutorId: &mesosv1.ExecutorID{Value: &x.id}, FrameworkId: &mesosv1.FrameworkID{Value: &x.fw.id}, Name: &x.name, Resources: x.resources,
	}}
	if x.over {
		out.GetExecutors.CompletedExecutors = append(out.GetExecutors.CompletedExecutors, e)
	} else {
		out.GetExecutors.Executors = append(out.GetExecutors.Executors, e)
	}
	for _, t := range x.tasks {
		switch p := d.taskProto(t); {
		case !t.over():
			out.GetTasks.LaunchedTasks = append(out.GetTasks.LaunchedTasks, p)
		case len(t.updates) > 0:
			out.GetTasks.TerminatedTasks = append(out.GetTasks.TerminatedTasks, p)
		default:
			out.GetTasks.CompletedTasks = append(out.GetTasks.CompletedTasks, p)
		}
	}
}
