package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// An image belongs to no role: who may run something anywhere may use, add and remove images. One that containers use is not
// removed.

// imagePath is an engine's path of an image by name.
func imagePath(name, rest string) string { return "/images/" + name + rest }

// holders are the engines that have an image, where its name means the same as where it was tagged last.
func (d *Door) holders(ctx context.Context, name string) ([]string, error) {
	engines, err := d.holding(ctx, name)
	var ids []string
	for _, e := range engines {
		ids = append(ids, e.id)
	}
	return ids, err
}

func (d *Door) holding(ctx context.Context, name string) ([]engine, error) {
	engines, err := d.engines(ctx)
	if err != nil {
		return nil, err
	}
	type image struct {
		ID       string `json:"Id"`
		Metadata struct{ LastTagTime string }
	}
	found := make([]image, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		err := d.ask(ctx, e.node(), looking, http.MethodGet, imagePath(name, "/json"), nil, nil, &found[i])
		if status := statusIn(err); status == http.StatusNotFound || status == http.StatusBadRequest {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var newest image
	for _, x := range found {
		if x.ID != "" && (newest.ID == "" || x.Metadata.LastTagTime > newest.Metadata.LastTagTime) {
			newest = x
		}
	}
	var out []engine
	for i, x := range found {
		if x.ID != "" && x.ID == newest.ID {
			out = append(out, engines[i])
		}
	}
	return out, nil
}

// copyImage brings an image from an engine that has it to another.
func (d *Door) copyImage(ctx context.Context, x *draft, holders []string, to site) error {
	engines, err := d.engines(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(engines, func(e engine) bool { return slices.Contains(holders, e.id) })
	if i < 0 {
		return fail(http.StatusNotFound, "No such image: %s", clip(text(x.body, "Image")))
	}
	e := errand{x.role, "run", "copy image " + clip(text(x.body, "Image")) + " to node " + to.node}
	saved, err := d.call(ctx, engines[i].node(), e, http.MethodGet, "/images/get", url.Values{"names": {text(x.body, "Image")}}, nil, nil)
	if err != nil {
		return err
	}
	defer saved.Body.Close()
	if saved.StatusCode != http.StatusOK {
		return fail(http.StatusBadGateway, "node %s does not give the image: %s", engines[i].node(), saved.Status)
	}
	loaded, err := d.call(ctx, to.node, e, http.MethodPost, "/images/load", url.Values{"quiet": {"1"}}, saved.Body,
		http.Header{"Content-Type": {"application/x-tar"}})
	if err != nil {
		return err
	}
	defer loaded.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(loaded.Body, maxAnswer))
	if err != nil || loaded.StatusCode != http.StatusOK || bytes.Contains(answer, []byte(`"errorDetail"`)) {
		return fail(http.StatusBadGateway, "node %s does not take the image: %s %s", to.node, loaded.Status, clip(string(answer)))
	}
	d.recent.imagesChanged()
	return nil
}

// images lists every image once, with the names it has anywhere.
func (d *Door) images(q *request) error {
	ctx := q.Context()
	engines, err := d.engines(ctx)
	if err != nil {
		return err
	}
	found := make([][]thing, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/images/json", q.URL.Query(), nil, &found[i])
	})
	if err != nil {
		return err
	}
	out, at := []thing{}, map[string]thing{}
	for _, list := range found {
		for _, image := range list {
			have := at[text(image, "Id")]
			if have == nil {
				at[text(image, "Id")] = image
				out = append(out, image)
				continue
			}
			for _, key := range []string{"RepoTags", "RepoDigests"} {
				have[key] = union(have[key], image[key])
			}
		}
	}
	reply(q.w, http.StatusOK, out)
	return nil
}

func union(a, b any) []any {
	out, _ := a.([]any)
	more, _ := b.([]any)
	for _, x := range more {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// onImage sends calls about one image: reading ones to an engine that has it, changing ones to all of them.
func (d *Door) onImage(q *request) error {
	name := strings.TrimPrefix(q.URL.Path, "/images/")
	for _, a := range []struct {
		method, last, action string
		all                  bool
	}{
		{http.MethodGet, "/json", "", false}, {http.MethodGet, "/history", "", false}, {http.MethodGet, "/attestations", "", false}, {http.MethodGet, "/get", "save image", false},
		{http.MethodPost, "/push", "push image", false}, {http.MethodPost, "/tag", "tag image", true}, {http.MethodDelete, "", "remove image", true},
	} {
		if short, ok := strings.CutSuffix(name, a.last); ok && q.Method == a.method && short != "" {
			return d.imageCall(q, short, a.last, a.action, a.all)
		}
	}
	return fail(http.StatusNotFound, "page not found: the Engine API has no %s %s", q.Method, clip(q.URL.Path))
}

func (d *Door) imageCall(q *request, name, last, action string, all bool) error {
	engines, err := d.holding(q.Context(), name)
	if err != nil {
		return err
	}
	if len(engines) == 0 {
		return fail(http.StatusNotFound, "No such image: %s", clip(name))
	}
	e := looking
	if action != "" {
		role, err := d.roleFor(q, "")
		if err != nil {
			return err
		}
		e = errand{role, "run", action + " " + clip(name)}
	}
	if !all {
		return d.pass(q, engines[0].node(), e, imagePath(name, last), nil)
	}
	if isSet(q.URL.Query(), "force") {
		return fail(http.StatusBadRequest, "images are shared by all roles: one that containers use is not removed by force")
	}
	return d.everyHolder(q, engines, e, imagePath(name, last))
}

// everyHolder makes one change on all engines that have an image. The first refusal is the answer; what others did stays.
func (d *Door) everyHolder(q *request, engines []engine, e errand, path string) error {
	var mu sync.Mutex
	var done []any
	err := d.each(q.Context(), engines, func(ctx context.Context, _ int, at engine) error {
		var out []any
		err := d.ask(ctx, at.node(), e, q.Method, path, q.URL.Query(), nil, &out)
		mu.Lock()
		defer mu.Unlock()
		done = append(done, out...)
		return err
	})
	if err != nil {
		return err
	}
	if q.Method == http.MethodDelete {
		reply(q.w, http.StatusOK, distinct(done))
		return nil
	}
	q.w.WriteHeader(http.StatusCreated)
	return nil
}

// distinct leaves out what several engines said alike.
func distinct(list []any) []any {
	out, seen := []any{}, map[string]bool{}
	for _, x := range list {
		if s := encode(x); !seen[s] {
			seen[s] = true
			out = append(out, x)
		}
	}
	return out
}

// pull gets an image from a registry, or makes one of an archive: where it is already, else where there is most room.
func (d *Door) pull(q *request) error {
	ctx, query := q.Context(), q.URL.Query()
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	if query.Get("fromSrc") != "" && query.Get("fromSrc") != "-" {
		return fail(http.StatusBadRequest, "an engine fetches no archive by URL; send it: docker import -")
	}
	name := query.Get("fromImage")
	if tag := query.Get("tag"); tag != "" {
		name += map[bool]string{true: "@", false: ":"}[strings.Contains(tag, ":")] + tag
	}
	var engines []engine
	if query.Get("fromImage") != "" {
		if engines, err = d.holding(ctx, name); err != nil {
			return err
		}
	}
	if len(engines) == 0 {
		if engines, err = d.roomiest(ctx); err != nil {
			return err
		}
	}
	e := errand{role, "run", "pull image " + clip(name)}
	if len(engines) == 1 {
		return d.pass(q, engines[0].node(), e, "/images/create", nil)
	}
	return d.onAll(q, engines, e, "/images/create")
}

// roomiest is the engine of the node with most room, in a list.
func (d *Door) roomiest(ctx context.Context) ([]engine, error) {
	engines, err := d.byRoom(ctx)
	if err != nil {
		return nil, err
	}
	return engines[:1], nil
}

// onAll makes a call on engines one after the other, and shows what they say as one stream. The first that refuses ends it.
func (d *Door) onAll(q *request, engines []engine, e errand, path string) error {
	body, err := readAll(q)
	if err != nil {
		return err
	}
	for i, at := range engines {
		res, err := d.call(q.Context(), at.node(), e, http.MethodPost, path, q.URL.Query(), bytes.NewReader(body), q.Header)
		if err == nil {
			err = d.relate(q, res, i > 0, at.node())
		}
		if err != nil && i == 0 {
			return err
		}
		if err != nil { // the head was sent: clients look for it in the stream
			text := failureOf(err).message
			_, err = fmt.Fprintf(q.w, "%s\n", encode(thing{"error": text, "errorDetail": thing{"message": text}}))
			return ignoreGone(err)
		}
	}
	return nil
}

// relate shows what one engine says; an error is its refusal, of which nothing was shown yet.
func (d *Door) relate(q *request, res *http.Response, more bool, node string) error {
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer)) // what is read of it is said
		return said(res.StatusCode, body)
	}
	if more {
		fmt.Fprintf(q.w, "%s\n", encode(thing{"status": "Node " + node}))
	} else {
		q.w.Header().Set("Content-Type", "application/json")
		q.w.WriteHeader(res.StatusCode)
	}
	_, err := io.Copy(flushing{q.w}, res.Body)
	return ignoreGone(err)
}

// flushing sends on what it is given at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}

// load takes an archive of images to the node with most room; other nodes get them when they need them.
func (d *Door) load(q *request) error {
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	engines, err := d.roomiest(q.Context())
	if err != nil {
		return err
	}
	return d.pass(q, engines[0].node(), errand{role, "run", "load images"}, "/images/load", nil)
}

// save gives several images as one archive, from an engine that has them all.
func (d *Door) save(q *request) error {
	ctx := q.Context()
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	var common []engine
	for i, name := range q.URL.Query()["names"] {
		have, err := d.holding(ctx, name)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return fail(http.StatusNotFound, "No such image: %s", clip(name))
		}
		if i == 0 {
			common = have
		}
		common = slices.DeleteFunc(common, func(e engine) bool {
			return !slices.ContainsFunc(have, func(h engine) bool { return h.id == e.id })
		})
	}
	if len(common) == 0 {
		return fail(http.StatusConflict, "no node has all of these images; save them one by one")
	}
	return d.pass(q, common[0].node(), errand{role, "run", "save images"}, "/images/get", nil)
}

// buildRefused are parameters of a build that steer the machine.
var buildRefused = map[string]string{
	"cgroupparent": "cgroups mirror the role tree", "securityopt": "a build is confined as any container", "remote": "send the context",
	"cpusetcpus": "the pool leases no single CPUs", "cpusetmems": "the pool leases no nodes of memory", "outputs": "a build's output is an image",
	"ulimits": "a build has the engine's limits", "isolation": "the pool's machines run Linux",
}

// build makes an image on the node with most room, where its containers then start first. One of BuildKit's is made where its client's
// session is, and may do there what it likes.
func (d *Door) build(q *request) error {
	query := q.URL.Query()
	if query.Get("version") == "2" {
		at, e, err := d.forBuildKit(q, "build image "+clip(query.Get("t")))
		if err != nil {
			return err
		}
		return d.pass(q, at.node(), e, "/build", nil)
	}
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	for name, why := range buildRefused {
		if v := query.Get(name); v != "" && v != "null" && v != "[]" && v != "default" {
			return fail(http.StatusBadRequest, "%s: %s", name, why)
		}
	}
	if mode := query.Get("networkmode"); !slices.Contains([]string{"", "default", "none", "bridge"}, mode) {
		return fail(http.StatusBadRequest, "networkmode %s: a build has the engine's default network, or none", clip(mode))
	}
	engines, err := d.roomiest(q.Context())
	if err != nil {
		return err
	}
	return d.pass(q, engines[0].node(), errand{role, "run", "build image " + clip(query.Get("t"))}, "/build", nil)
}

// commit makes an image of a container, on its node.
func (d *Door) commit(q *request) error {
	p, err := d.lookup(q.Context(), q.URL.Query().Get("container"))
	if err != nil {
		return err
	}
	query := q.URL.Query()
	query.Set("container", p.engine)
	q.URL.RawQuery = query.Encode()
	return d.pass(q, p.node, errand{p.role, "exec", "commit container " + short(p.id)}, "/commit", func(res *http.Response) error { return d.translate(res, p) })
}

// search asks a registry through any engine.
func (d *Door) search(q *request) error {
	engines, err := d.engines(q.Context())
	if err != nil {
		return err
	}
	return d.pass(q, engines[0].node(), looking, q.URL.Path, nil)
}
