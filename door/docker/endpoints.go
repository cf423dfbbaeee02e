package docker

import (
	"net/http"
	"slices"
	"strings"

	"polder.dev/polder/door/docker/fields"
)

// Endpoint is a line of the table of everything the Engine API has.
type Endpoint struct {
	Method, Path string
	// Mode is how it is served: "door", "place", "route", "merge" or "any".
	Mode string
	// Refused says why it is not; empty when it works.
	Refused string

	serve func(*Door, *request) error
}

// pattern is the path as a [net/http.ServeMux] reads it. Names of images and plugins hold slashes.
func (e Endpoint) pattern() string {
	for _, before := range []string{"/images/", "/distribution/", "/plugins/"} {
		if strings.HasPrefix(e.Path, before+"{") {
			return before + "{name...}"
		}
	}
	return e.Path
}

// images reports whether a call may change which engine has which image.
func (e Endpoint) images() bool {
	return e.Method != "GET" && (strings.HasPrefix(e.Path, "/images/") || slices.Contains([]string{"/build", "/session", "/grpc", "/commit"}, e.Path))
}

func works(method, path, mode string, serve func(*Door, *request) error) Endpoint {
	return Endpoint{Method: method, Path: path, Mode: mode, serve: serve}
}

// none are endpoints that are refused for one reason.
func none(why string, lines ...string) (out []Endpoint) {
	for _, line := range lines {
		method, path, _ := strings.Cut(line, " ")
		out = append(out, Endpoint{Method: method, Path: path, Refused: why})
	}
	return out
}

// Endpoints is the table of what this door serves and what it refuses.
var Endpoints = concat(
	[]Endpoint{
		works("GET", "/_ping", "door", (*Door).ping), works("HEAD", "/_ping", "door", (*Door).ping), works("GET", "/version", "door", (*Door).about), works("GET", "/info", "merge", (*Door).poolInfo),
		works("GET", "/events", "merge", (*Door).events), works("GET", "/system/df", "merge", (*Door).df), works("POST", "/auth", "any", (*Door).auth),

		works("GET", "/containers/json", "merge", (*Door).list), works("POST", "/containers/create", "place", (*Door).create),
		works("POST", "/containers/prune", "merge", (*Door).pruneContainers),
		works("GET", "/containers/{id}/json", "route", (*Door).inspect), works("GET", "/containers/{id}/top", "route", forward("view", "")),
		works("GET", "/containers/{id}/logs", "route", forward("logs", "")), works("GET", "/containers/{id}/changes", "route", forward("view", "")),
		works("GET", "/containers/{id}/export", "route", forward("exec", "export")), works("GET", "/containers/{id}/stats", "route", (*Door).stats),
		works("POST", "/containers/{id}/resize", "route", forward("exec", "resize")), works("POST", "/containers/{id}/start", "place", (*Door).start),
		works("POST", "/containers/{id}/stop", "route", (*Door).stop), works("POST", "/containers/{id}/restart", "place", (*Door).restart),
		works("POST", "/containers/{id}/kill", "route", (*Door).kill), works("POST", "/containers/{id}/update", "route", (*Door).update),
		works("POST", "/containers/{id}/rename", "route", (*Door).rename), works("POST", "/containers/{id}/pause", "route", forward("run", "pause")),
		works("POST", "/containers/{id}/unpause", "route", forward("run", "unpause")), works("POST", "/containers/{id}/attach", "route", (*Door).attach),
		works("GET", "/containers/{id}/attach/ws", "route", forward("exec", "attach to")), works("POST", "/containers/{id}/wait", "route", (*Door).wait),
		works("DELETE", "/containers/{id}", "route", (*Door).remove), works("HEAD", "/containers/{id}/archive", "route", forward("exec", "look into")),
		works("GET", "/containers/{id}/archive", "route", forward("exec", "copy from")), works("PUT", "/containers/{id}/archive", "route", forward("exec", "copy into")),
		works("POST", "/containers/{id}/exec", "route", (*Door).execCreate), works("POST", "/exec/{id}/start", "route", execForward("exec", "exec in")),
		works("POST", "/exec/{id}/resize", "route", execForward("exec", "resize exec in")), works("GET", "/exec/{id}/json", "route", execForward("view", "")),

		works("GET", "/images/json", "merge", (*Door).images), works("POST", "/images/create", "place", (*Door).pull),
		works("POST", "/images/load", "place", (*Door).load), works("GET", "/images/get", "any", (*Door).save), works("GET", "/images/search", "any", (*Door).search),
		works("GET", "/images/{image}/json", "any", (*Door).onImage), works("GET", "/images/{image}/history", "any", (*Door).onImage),
		works("GET", "/images/{image}/attestations", "any", (*Door).onImage), works("GET", "/images/{image}/get", "any", (*Door).onImage),
		works("POST", "/images/{image}/push", "any", (*Door).onImage), works("POST", "/images/{image}/tag", "merge", (*Door).onImage),
		works("DELETE", "/images/{image}", "merge", (*Door).onImage), works("POST", "/images/prune", "merge", (*Door).pruneImages),
		works("POST", "/build", "place", (*Door).build), works("POST", "/build/cancel", "place", (*Door).cancelBuild),
		works("POST", "/build/prune", "merge", (*Door).pruneBuilds), works("POST", "/session", "place", (*Door).buildKit), works("POST", "/grpc", "place", (*Door).buildKit),
		works("POST", "/commit", "route", (*Door).commit),
		works("GET", "/distribution/{image}/json", "any", (*Door).search),

		works("GET", "/networks", "merge", (*Door).networks), works("POST", "/networks/create", "place", (*Door).createNetwork),
		works("POST", "/networks/prune", "merge", (*Door).pruneNetworks), works("GET", "/networks/{id}", "route", (*Door).inspectNetwork),
		works("DELETE", "/networks/{id}", "route", (*Door).removeNetwork), works("POST", "/networks/{id}/connect", "route", connectTo("connect", fields.Connect)),
		works("POST", "/networks/{id}/disconnect", "route", connectTo("disconnect", fields.Disconnect)),

		works("GET", "/volumes", "merge", (*Door).showVolumes), works("POST", "/volumes/create", "place", (*Door).createVolume),
		works("POST", "/volumes/prune", "merge", (*Door).pruneVolumes), works("GET", "/volumes/{name}", "route", (*Door).inspectVolume),
		works("DELETE", "/volumes/{name}", "route", (*Door).removeVolume),
	},
	none("volumes are directories of the node", "PUT /volumes/{name}"),
	swarmEndpoints(),
	none(inSwarm, "POST /swarm/init", "POST /swarm/join"),
	none("the pool is the swarm, and this door its only manager: the pool's operators take nodes away with polder", "POST /swarm/leave"),
	[]Endpoint{
		works("GET", "/plugins", "merge", (*Door).plugins), works("GET", "/plugins/privileges", "any", (*Door).privileges),
		works("POST", "/plugins/pull", "merge", (*Door).pullPlugin), works("POST", "/plugins/create", "merge", (*Door).createPlugin),
		works("GET", "/plugins/{name}/json", "any", (*Door).onPlugin), works("DELETE", "/plugins/{name}", "merge", (*Door).onPlugin),
		works("POST", "/plugins/{name}/enable", "merge", (*Door).onPlugin), works("POST", "/plugins/{name}/disable", "merge", (*Door).onPlugin),
		works("POST", "/plugins/{name}/set", "merge", (*Door).onPlugin), works("POST", "/plugins/{name}/upgrade", "merge", (*Door).onPlugin),
		works("POST", "/plugins/{name}/push", "any", (*Door).onPlugin),
	},
)

// inSwarm is what a manager answers to who wants to make it one.
const inSwarm = "This node is already part of a swarm: it is the pool, and nodes join it with polder agent"

// status is what a refused endpoint answers.
func (e Endpoint) status() int {
	if e.Refused == inSwarm {
		return http.StatusServiceUnavailable
	}
	return http.StatusNotImplemented
}

func concat(lists ...[]Endpoint) (out []Endpoint) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
