package docker

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// A plugin changes the machine that it is on. Who sees to the nodes adds and removes them, on every engine alike; nodes that join later
// get one when it is installed again.

// seeingTo is an errand of who sees to the nodes.
func seeingTo(action string) errand { return errand{"", "node", action} }

// plugin is one as engines have it.
type plugin struct {
	thing
	engines []engine // that have it
}

func (p plugin) name() string { return text(p.thing, "Name") }

// is reports whether a plugin has a name, with or without its tag.
func (p plugin) is(name string) bool { return p.name() == name || p.name() == name+":latest" }

// listPlugins lists what the engines have, by name, and the engines; one counts as enabled when it is enabled on all that have it.
func (d *Door) listPlugins(ctx context.Context, query url.Values) (found []*plugin, engines []engine, err error) {
	if engines, err = d.engines(ctx); err != nil {
		return nil, nil, err
	}
	lists := make([][]thing, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, e engine) error {
		return d.ask(ctx, e.node(), looking, http.MethodGet, "/plugins", query, nil, &lists[i])
	})
	for i, list := range lists {
		for _, m := range list {
			at := slices.IndexFunc(found, func(p *plugin) bool { return p.name() == text(m, "Name") })
			if at < 0 {
				at, found = len(found), append(found, &plugin{thing: m})
			}
			p := found[at]
			p.engines = append(p.engines, engines[i])
			on, _ := m["Enabled"].(bool)
			if was, _ := p.thing["Enabled"].(bool); was && !on {
				p.thing["Enabled"] = false
			}
		}
	}
	return found, engines, err
}

// findPlugin finds one by name, with or without its tag, or by an engine's id of it.
func (d *Door) findPlugin(ctx context.Context, ref string) (*plugin, error) {
	all, _, err := d.listPlugins(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.is(ref) || len(ref) >= 12 && strings.HasPrefix(text(p.thing, "Id"), ref) {
			return p, nil
		}
	}
	return nil, fail(http.StatusNotFound, "plugin %q not found", clip(ref))
}

// without are the engines that do not have a plugin; all, when every one has it: they say that themselves.
func (d *Door) without(ctx context.Context, name string) ([]engine, error) {
	all, engines, err := d.listPlugins(ctx, nil)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(p *plugin) bool { return p.is(name) })
	if i < 0 || len(all[i].engines) == len(engines) {
		return engines, nil
	}
	return slices.DeleteFunc(engines, func(e engine) bool {
		return slices.ContainsFunc(all[i].engines, func(h engine) bool { return h.id == e.id })
	}), nil
}

func (d *Door) plugins(q *request) error {
	all, _, err := d.listPlugins(q.Context(), q.URL.Query())
	if err != nil {
		return err
	}
	out := []thing{}
	for _, p := range all {
		out = append(out, p.thing)
	}
	reply(q.w, http.StatusOK, out)
	return nil
}

// onPlugin sends calls about one plugin to the engines that have it.
func (d *Door) onPlugin(q *request) error {
	ref := strings.TrimPrefix(q.URL.Path, "/plugins/")
	for _, a := range []struct {
		method, last string
		status       int // of an answer; 0 passes an engine's on
	}{
		{http.MethodGet, "/json", http.StatusOK}, {http.MethodPost, "/enable", http.StatusOK}, {http.MethodPost, "/disable", http.StatusOK},
		{http.MethodPost, "/set", http.StatusNoContent}, {http.MethodPost, "/upgrade", 0}, {http.MethodPost, "/push", 0}, {http.MethodDelete, "", http.StatusOK},
	} {
		if short, ok := strings.CutSuffix(ref, a.last); ok && q.Method == a.method && short != "" {
			return d.pluginCall(q, short, a.last, a.status)
		}
	}
	return fail(http.StatusNotFound, "page not found: the Engine API has no %s %s", q.Method, clip(q.URL.Path))
}

func (d *Door) pluginCall(q *request, ref, last string, status int) error {
	p, err := d.findPlugin(q.Context(), ref)
	if err != nil {
		return err
	}
	path, e := "/plugins/"+p.name()+last, seeingTo(strings.TrimSpace(q.Method+" plugin "+p.name()+" "+strings.TrimPrefix(last, "/")))
	switch last {
	case "/json":
		reply(q.w, status, p.thing)
		return nil
	case "/push":
		return d.pass(q, p.engines[0].node(), e, path, nil)
	case "/upgrade":
		return d.onAll(q, p.engines, e, path)
	}
	body, err := readAll(q)
	if err != nil {
		return err
	}
	err = d.each(q.Context(), p.engines, func(ctx context.Context, _ int, at engine) error {
		return d.send(ctx, at, e, q.Method, path, q.URL.Query(), bytes.NewReader(body), q.Header)
	})
	if err == nil {
		q.w.WriteHeader(status)
	}
	return err
}

// readAll reads a body that may be as large as a container's description.
func readAll(q *request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(q.Body, maxCreate+1))
	switch {
	case err != nil:
		return nil, fail(http.StatusBadRequest, "reading the request: %v", err)
	case len(body) > maxCreate:
		return nil, fail(http.StatusRequestEntityTooLarge, "want a body of at most %d bytes", maxCreate)
	}
	return body, nil
}

// send makes one call of which only the success matters.
func (d *Door) send(ctx context.Context, at engine, e errand, method, path string, query url.Values, body io.Reader, header http.Header) error {
	res, err := d.call(ctx, at.node(), e, method, path, query, body, header)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return gone(err, at.node())
	case res.StatusCode >= 300:
		return said(res.StatusCode, answer)
	}
	return nil
}

// privileges asks a registry, through any engine, what a plugin wants to do on a machine.
func (d *Door) privileges(q *request) error {
	engines, err := d.engines(q.Context())
	if err != nil {
		return err
	}
	return d.pass(q, engines[0].node(), seeingTo("read the privileges of plugin "+clip(q.URL.Query().Get("remote"))), "/plugins/privileges", nil)
}

// pullPlugin installs a plugin on the engines that lack it, one after the other.
func (d *Door) pullPlugin(q *request) error {
	query := q.URL.Query()
	name := cmp.Or(query.Get("name"), query.Get("remote"))
	engines, err := d.without(q.Context(), name)
	if err != nil {
		return err
	}
	return d.onAll(q, engines, seeingTo("install plugin "+clip(name)), "/plugins/pull")
}

// createPlugin gives the engines that lack it a plugin out of an archive, all at the same time.
func (d *Door) createPlugin(q *request) error {
	name := q.URL.Query().Get("name")
	engines, err := d.without(q.Context(), name)
	if err != nil {
		return err
	}
	var all errgroup.Group
	var to []io.Writer
	var pipes []*io.PipeWriter
	for _, at := range engines {
		r, w := io.Pipe()
		to, pipes = append(to, w), append(pipes, w)
		all.Go(func() error {
			err := d.send(q.Context(), at, seeingTo("make plugin "+clip(name)), http.MethodPost, "/plugins/create", q.URL.Query(), struct{ io.Reader }{r}, q.Header)
			_, _ = io.Copy(io.Discard, r) // what one takes no more of is still for the others
			return err
		})
	}
	_, err = io.Copy(io.MultiWriter(to...), q.Body)
	for _, w := range pipes {
		w.CloseWithError(err) // nil is the ordinary end
	}
	if failed := all.Wait(); failed != nil {
		return failed
	}
	if err != nil {
		return fail(http.StatusBadRequest, "reading the request: %v", err)
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}
