package docker

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// forward sends a call to the engine that has the container, as it came, under a permission on the container's role.
func forward(verb, action string) func(*Door, *request) error {
	return func(d *Door, q *request) error {
		p, err := d.lookup(q.Context(), q.PathValue("id"))
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/containers/"), "/")
		path := "/containers/" + p.engine
		if rest != "" {
			path += "/" + rest
		}
		e := errand{p.role, verb, strings.TrimSpace(action + " container " + short(p.id))}
		return d.pass(q, p.node, e, path, func(res *http.Response) error { return d.translate(res, p) })
	}
}

// pass sends a call to an engine and its answer back, streams in both directions included.
func (d *Door) pass(q *request, node string, e errand, path string, change func(*http.Response) error) error {
	var failed error
	proxy := &httputil.ReverseProxy{
		Transport:     d.transport(q.Context(), node, e),
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL = &url.URL{Scheme: "http", Host: host, Path: "/v" + q.version + path, RawQuery: r.In.URL.RawQuery}
			r.Out.Host = host
			for _, name := range []string{"Authorization", "Cookie", roleHeader} {
				r.Out.Header.Del(name)
			}
		},
		ModifyResponse: func(res *http.Response) error {
			for _, name := range []string{"Server", "Api-Version", "Ostype", "Docker-Experimental"} {
				res.Header.Del(name) // the door has said its own
			}
			if change == nil {
				return nil
			}
			return change(res)
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = gone(err, node) },
		ErrorLog:     quiet,
	}
	proxy.ServeHTTP(q.w, q.Request)
	return failed
}

// translate puts the door's words into an engine's answer about a container: its id, and what the engine says when it has it no
// longer.
func (d *Door) translate(res *http.Response, p place) error {
	if res.StatusCode < 300 {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	res.Body.Close()
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusNotFound && strings.Contains(string(body), "No such container") {
		d.forget(p.id)
	}
	text := strings.NewReplacer(p.engine, p.id, short(p.engine), short(p.id)).Replace(string(body))
	setBody(res, []byte(text))
	return nil
}

// maxAnswer bounds an answer that is changed on its way.
const maxAnswer = 8 << 20

// setBody replaces the body of an answer.
func setBody(res *http.Response, body []byte) {
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	res.ContentLength = int64(len(body))
	res.Header.Del("Transfer-Encoding")
	res.TransferEncoding = nil
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// quiet takes what a proxy complains about when a client hangs up.
var quiet = log.New(io.Discard, "", 0)
