package docker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"connectrpc.com/connect"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// ping says that the pool is there; the versions are in the head.
func (d *Door) ping(q *request) error {
	q.w.Header().Set("Builder-Version", "1")
	if d.swarm != nil {
		q.w.Header().Set("Swarm", "active/manager")
	}
	q.w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if q.Method == http.MethodHead {
		q.w.Header().Set("Content-Length", "0")
		return nil
	}
	_, err := q.w.Write([]byte("OK"))
	return ignoreGone(err)
}

// about is docker version: what the pool speaks, and who.
func (d *Door) about(q *request) error {
	newest, err := d.newest(q.Context())
	if err != nil {
		return err
	}
	reply(q.w, http.StatusOK, thing{
		"Version": "polder-" + d.opt.Version, "ApiVersion": newest, "MinAPIVersion": oldest, "Os": "linux", "Arch": "amd64",
		"Platform":   thing{"Name": "Polder"},
		"Components": []thing{{"Name": "Polder", "Version": d.opt.Version, "Details": thing{"ApiVersion": newest, "MinAPIVersion": oldest, "Os": "linux", "Arch": "amd64"}}},
	})
	return nil
}

// poolInfo is docker info: the engines summed up, the caller's role, the nodes.
func (d *Door) poolInfo(q *request) error {
	ctx := q.Context()
	engines, err := d.engines(ctx)
	if err != nil {
		return err
	}
	infos := make([]thing, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/info", nil, nil, &infos[i])
	})
	if err != nil {
		return err
	}
	first := slices.IndexFunc(infos, func(info thing) bool { return info != nil })
	out := maps.Clone(infos[first]) // drivers, plugins and security of the first engine; numbers and names are the pool's
	for _, key := range []string{"Swarm", "DockerRootDir", "HttpProxy", "HttpsProxy", "Labels", "ClusterStore", "ClusterAdvertise"} {
		delete(out, key)
	}
	out["Swarm"] = d.swarmInfo()
	for _, key := range []string{"NCPU", "MemTotal", "Images"} {
		sum := int64(0)
		for _, info := range infos {
			n, _ := number(info, key)
			sum += n
		}
		out[key] = sum
	}
	if err := d.countStates(ctx, out); err != nil {
		return err
	}
	out["Name"], out["ServerVersion"], out["OperatingSystem"] = "polder", "polder-"+d.opt.Version, "Polder"
	if out["SystemStatus"], err = d.status(q, engines, infos); err != nil {
		return err
	}
	reply(q.w, http.StatusOK, out)
	return nil
}

// countStates counts the containers that the caller may view.
func (d *Door) countStates(ctx context.Context, out thing) error {
	all, err := d.containers(ctx, mine(nil))
	if err != nil {
		return err
	}
	states := map[string]int{}
	for _, c := range all {
		states[c.State]++
	}
	out["Containers"], out["ContainersRunning"], out["ContainersPaused"] = len(all), states["running"], states["paused"]
	out["ContainersStopped"] = len(all) - states["running"] - states["paused"]
	return nil
}

// status is what docker info prints line by line: the caller's role with what it has, then the nodes.
func (d *Door) status(q *request, engines []engine, infos []thing) ([][2]string, error) {
	ctx := q.Context()
	lines := [][2]string{}
	if role, err := d.roleFor(q, ""); err == nil {
		res, err := d.api.Roles.Get(ctx, connect.NewRequest(&polderv1.RoleServiceGetRequest{Path: role}))
		if err != nil {
			return nil, err
		}
		r := res.Msg
		lines = append(lines, [2]string{"Role", role}, [2]string{"  Guarantee", amounts(r.Effective.GetGuarantee())}, [2]string{"  Used", amounts(r.Usage)},
			[2]string{"  Borrowed", amounts(r.Borrowed)})
	}
	count := 0
	for _, e := range engines {
		count += len(e.nodes)
	}
	lines = append(lines, [2]string{"Nodes", fmt.Sprint(count)})
	for i, e := range engines {
		for _, n := range e.nodes {
			lines = append(lines, [2]string{"  " + n.Name, n.State}, [2]string{"    Engine", text(infos[i], "ServerVersion")},
				[2]string{"    Capacity", amounts(n.Capacity)})
		}
	}
	return lines, nil
}

func amounts(m map[string]string) string {
	out := ""
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out += ", " + name + " " + m[name]
	}
	if out == "" {
		return "none"
	}
	return out[2:]
}

// df is docker system df: every engine's, limited to what the caller may view.
func (d *Door) df(q *request) error {
	ctx := q.Context()
	engines, err := d.engines(ctx)
	if err != nil {
		return err
	}
	parts := make([]thing, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/system/df", url.Values{}, nil, &parts[i])
	})
	if err != nil {
		return err
	}
	mayView := d.viewer(ctx)
	layers := int64(0)
	known := map[string]int64{} // how many containers have a volume of the pool's, by its lease
	out := thing{"Images": []any{}, "Containers": []any{}, "Volumes": []any{}, "BuildCache": []any{}}
	for i, part := range parts {
		n, _ := number(part, "LayersSize")
		layers += n
		for _, key := range []string{"Images", "Containers", "Volumes"} {
			list, _ := part[key].([]any)
			for _, x := range list {
				m, _ := x.(thing)
				if lease := text(under(m, "Labels"), runtime.LabelVolume); lease != "" {
					known[lease], _ = number(under(m, "UsageData"), "RefCount")
				}
				if key == "Images" || d.owned(m, engines[i], mayView) {
					out[key] = append(out[key].([]any), m)
				}
			}
		}
	}
	sized, err := d.sized(ctx)
	if err != nil {
		return err
	}
	for _, v := range sized {
		out["Volumes"] = append(out["Volumes"].([]any), shownSized(v, nil).usage(known[v.Task]))
	}
	out["LayersSize"] = layers
	reply(q.w, http.StatusOK, out)
	return nil
}

// owned reports whether an object belongs to a role that may be viewed, and puts the door's words into a container.
func (d *Door) owned(m thing, e engine, mayView func(string) bool) bool {
	labels := under(m, "Labels")
	role := cmp.Or(text(labels, "polder.role"), "\x00")
	if !mayView(role) || text(labels, runtime.LabelVolume) != "" { // it stands for one of the pool
		return false
	}
	if id := text(labels, "polder.container"); id != "" {
		mounts, _ := m["Mounts"].([]any)
		if m["Mounts"] = withoutSandbox(slices.Clone(mounts)); len(m["Mounts"].([]any)) == len(mounts) {
			return false // it only says that it is a door's
		}
		m["Id"] = id
		delete(labels, labelSpec)
		return has(e, text(labels, "polder.agent"))
	}
	return true
}

// auth is docker login: an engine asks the registry.
func (d *Door) auth(q *request) error {
	engines, err := d.engines(q.Context())
	if err != nil {
		return err
	}
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	return d.pass(q, engines[0].node(), errand{role, "run", "log in to a registry"}, q.URL.Path, nil)
}
