package docker

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// BuildKit speaks with its clients in streams of its own: they say what is to run, and send what it is made of. Nobody can judge that
// before it runs, and a client may ask for the machine's own network there, which engines grant by default. So it takes the permission
// to do on a machine what one likes. The streams are carried unread.

// forBuildKit finds out for whom something is built, and where.
func (d *Door) forBuildKit(q *request, action string) (engine, errand, error) {
	role, err := d.roleFor(q, "")
	if err != nil {
		return engine{}, errand{}, err
	}
	if err := d.may(q.Context(), "host", role); err != nil {
		return engine{}, errand{}, fail(http.StatusForbidden, "what BuildKit is to run comes in a stream that nobody can judge before, so it takes that permission: %v; without it, build with DOCKER_BUILDKIT=0", err)
	}
	at, err := d.builder(q.Context(), role)
	return at, errand{role, "host", action}, err
}

// buildKit joins a client with a builder, until either has enough.
func (d *Door) buildKit(q *request) error {
	at, e, err := d.forBuildKit(q, "build with BuildKit")
	if err != nil {
		return err
	}
	return d.pass(q, at.node(), e, q.URL.Path, nil)
}

// cancelBuild ends a build of BuildKit's by its id.
func (d *Door) cancelBuild(q *request) error {
	at, e, err := d.forBuildKit(q, "cancel build "+clip(q.URL.Query().Get("id")))
	if err != nil {
		return err
	}
	return d.pass(q, at.node(), e, "/build/cancel", nil)
}

// builder is the engine that builds for a role with BuildKit. It is the same one as long as the engines stay: one build comes on several
// connections which do not say that they belong together, and what was built before is there.
func (d *Door) builder(ctx context.Context, role string) (engine, error) {
	engines, err := d.engines(ctx)
	if err != nil {
		return engine{}, err
	}
	best, most := -1, uint64(0)
	for i, e := range engines {
		if weight := rendezvous(role, e.id); e.open() && (best < 0 || weight > most) {
			best, most = i, weight
		}
	}
	if best < 0 {
		return engine{}, fail(http.StatusServiceUnavailable, "no node with a container engine takes work now; see polder node list")
	}
	return engines[best], nil
}

// open reports whether a node of the engine takes work.
func (e engine) open() bool {
	return slices.ContainsFunc(e.nodes, func(n *polderv1.EngineNode) bool { return n.State == "ready" })
}

// rendezvous says how well an engine suits a role: of the engines that are there, another one's coming or going moves few roles.
func rendezvous(role, engine string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s", role, engine)
	x := h.Sum64() // whose high bits depend little on what came last
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
