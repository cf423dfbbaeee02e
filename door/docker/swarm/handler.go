package swarm

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/door/docker/fields"
)

// call is one call of a client.
type call struct {
	*http.Request
	w   http.ResponseWriter
	who string
}

// routes are the calls that are served, by method and path as in the door's table.
var routes = map[string]func(*Swarm, *call) error{
	"GET /swarm": (*Swarm).inspect, "POST /swarm/update": (*Swarm).update, "GET /swarm/unlockkey": (*Swarm).unlockKey, "POST /swarm/unlock": (*Swarm).unlock,
	"GET /nodes": (*Swarm).listNodes, "GET /nodes/{id}": (*Swarm).inspectNode, "POST /nodes/{id}/update": (*Swarm).updateNode, "DELETE /nodes/{id}": (*Swarm).removeNode,
	"GET /services": (*Swarm).listServices, "POST /services/create": (*Swarm).createService, "GET /services/{id}": (*Swarm).inspectService,
	"POST /services/{id}/update": (*Swarm).updateService, "DELETE /services/{id}": (*Swarm).removeService, "GET /services/{id}/logs": (*Swarm).serviceLogs,
	"GET /tasks": (*Swarm).listTasks, "GET /tasks/{id}": (*Swarm).inspectTask, "GET /tasks/{id}/logs": (*Swarm).taskLogs,
	"GET /secrets": listItems("secret"), "POST /secrets/create": createItem("secret"), "GET /secrets/{id}": inspectItem("secret"),
	"DELETE /secrets/{id}": removeItem("secret"), "POST /secrets/{id}/update": updateItem("secret"),
	"GET /configs": listItems("config"), "POST /configs/create": createItem("config"), "GET /configs/{id}": inspectItem("config"),
	"DELETE /configs/{id}": removeItem("config"), "POST /configs/{id}/update": updateItem("config"),
}

// Endpoints lists what [Swarm.Serve] serves, as "GET /services".
func Endpoints() []string { return slices.Sorted(maps.Keys(routes)) }

// readyWait is how long a call waits for the swarm to serve: after a start it reads and compares first.
const readyWait = 20 * time.Second

// Serve answers a request whose pattern is among [Endpoints]. who is the caller, whose credentials are in the request's context. An
// error means that nothing was answered yet.
func (s *Swarm) Serve(w http.ResponseWriter, r *http.Request, who string) error {
	timer := time.NewTimer(readyWait)
	defer timer.Stop()
	select {
	case <-s.up:
	case <-timer.C:
		return fail(http.StatusServiceUnavailable, "swarm mode is still starting: it waits for the server to lead; try again")
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
	return routes[r.Pattern](s, &call{r, w, who})
}

// reply answers with JSON.
func (c *call) reply(status int, v any) error {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(v) // the client is gone if this fails
	return nil
}

// maxBody bounds a request.
const maxBody = 1 << 20

// read decodes a body strictly into v, and returns it as it came.
func (c *call) read(table fields.Table, what string, v any) ([]byte, fields.Verdict, error) {
	data, err := io.ReadAll(io.LimitReader(c.Body, maxBody+1))
	if err != nil {
		return nil, fields.Verdict{}, fail(http.StatusBadRequest, "reading the request: %v", err)
	}
	if len(data) > maxBody {
		return nil, fields.Verdict{}, fail(http.StatusRequestEntityTooLarge, "%s has more than %d bytes", what, maxBody)
	}
	tree, err := fields.Decode(data)
	if err != nil {
		return nil, fields.Verdict{}, fail(http.StatusBadRequest, "%s: %v", what, err)
	}
	verdict, err := table.Check(tree)
	if err != nil {
		return nil, verdict, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, verdict, fail(http.StatusBadRequest, "%s: %v", what, err)
	}
	return data, verdict, nil
}

// only refuses parameters that are not known.
func (c *call) only(names ...string) error {
	for name := range c.URL.Query() {
		if !slices.Contains(names, name) {
			return fail(http.StatusBadRequest, "the parameter %s is not known", clip(name))
		}
	}
	return nil
}

// filters reads the parameter filters; names are those that are known.
func (c *call) filters(names ...string) (map[string][]string, error) {
	out, err := fields.Filters(c.URL.Query().Get("filters"))
	if err != nil {
		return nil, fail(http.StatusBadRequest, "%s", err)
	}
	for name := range out {
		if !slices.Contains(names, name) {
			return nil, fail(http.StatusBadRequest, "invalid filter '%s'", clip(name))
		}
	}
	return out, nil
}

// viewer answers which roles the caller may view, and remembers.
func (s *Swarm) viewer(c *call) func(role string) bool {
	known := map[string]bool{}
	return func(role string) bool {
		ok, asked := known[role]
		if !asked {
			ok = s.opt.Containers.May(c.Context(), "view", role) == nil
			known[role] = ok
		}
		return ok
	}
}

// matches reports whether any of some filter values is as wanted; no values are fine.
func matches(values []string, match func(string) bool) bool {
	return len(values) == 0 || slices.ContainsFunc(values, match)
}

// labelled reports whether labels have all of some key or key=value.
func labelled(labels map[string]string, wanted []string) bool {
	for _, w := range wanted {
		key, value, both := strings.Cut(w, "=")
		have, ok := labels[key]
		if !ok || both && have != value {
			return false
		}
	}
	return true
}

// isSet reads a parameter as the engine does.
func isSet(q url.Values, name string) bool {
	switch strings.ToLower(strings.TrimSpace(q.Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// pick finds one of some objects by id, name, or the beginning of an id.
func pick[T any](what, ref string, all []T, id, name func(T) string) (T, error) {
	var zero T
	for _, by := range []func(T) string{id, name} {
		for _, x := range all {
			if by(x) == ref {
				return x, nil
			}
		}
	}
	found := zero
	n := 0
	for _, x := range all {
		if ref != "" && strings.HasPrefix(id(x), ref) {
			found, n = x, n+1
		}
	}
	switch n {
	case 1:
		return found, nil
	case 0:
		return zero, fail(http.StatusNotFound, "%s %s not found", what, clip(ref))
	}
	return zero, fail(http.StatusBadRequest, "%s %s is ambiguous (%d matches found)", what, clip(ref), n)
}
