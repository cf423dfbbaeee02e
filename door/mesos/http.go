package mesos

import (
	"errors"
	"io"
	"net/http"
	"path"
	"runtime/debug"
	"strings"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door/mesos/wire"
)

// streamHeader names a subscription; every other call of a scheduler must carry it.
const streamHeader = "Mesos-Stream-Id"

// maxBody is the longest call; a hundred thousand tasks to reconcile fit.
const maxBody = 32 << 20

// Handler serves the door: what a master and its agents serve.
func (d *Door) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer d.recovered(w, r)
		if err := d.route(w, r); err != nil {
			writeProblem(w, err)
		}
	})
}

// recovered answers for a handler that panicked.
func (d *Door) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { // what was begun is to break off
		panic(p)
	}
	d.log.Error("a handler of the mesos door panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	writeProblem(w, answer(http.StatusInternalServerError, "a bug in the server; its log says more"))
}

// handler serves a path for somebody. What it returns is answered unless something was written.
type handler func(d *Door, who principal, w http.ResponseWriter, r *http.Request) error

// handlers are the paths of the master. The longest that a request's path starts with serves it.
var handlers map[string]handler

func init() { // a table that refers to functions that read it
	handlers = map[string]handler{
		"/api/v1/scheduler": (*Door).serveScheduler,
		"/api/v1":           (*Door).serveOperator,
		"/api/v1/operator":  (*Door).serveOperator,
	}
	for name, h := range endpoints {
		handlers[name] = h
	}
}

// route finds who serves a request, and lets nobody in whom the pool does not know.
func (d *Door) route(w http.ResponseWriter, r *http.Request) error {
	if strings.HasPrefix(r.URL.Path, agentPath+"/") {
		return d.routeAgent(w, r)
	}
	name := cleanPath(r.URL.Path)
	if name == executorPath {
		return d.serveExecutor(w, r)
	}
	if name == "/health" { // probes have no credentials, and learn nothing
		return nil
	}
	h, realm := longest(handlers, name), "mesos-master-readonly"
	switch {
	case strings.HasPrefix(name, "/api/v1/scheduler"):
		realm = "mesos-master-scheduler"
	case strings.HasPrefix(name, "/api/v1"):
		realm = "mesos-master-readwrite"
	}
	who, err := d.who.of(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`"`)
		return answer(http.StatusUnauthorized, "%v", err)
	}
	if h == nil {
		return answer(http.StatusNotFound, "%s is not served; docs/mesos.md lists what is", name)
	}
	return h(d, who, w, r)
}

// cleanPath takes off what Mesos takes off: "/master" or an agent's process before the rest, and what a proxy puts there.
func cleanPath(p string) string {
	p = path.Clean("/" + p)
	for _, prefix := range []string{"/mesos", "/master", agentPath} {
		if rest, ok := strings.CutPrefix(p, prefix+"/"); ok {
			p = "/" + rest
		}
	}
	return p
}

// onlyPost refuses every other method, in Mesos' words.
func onlyPost(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return answer(http.StatusMethodNotAllowed, "Expecting one of { 'POST' }, but received '%s'", r.Method)
	}
	return nil
}

// readCall reads the body of a call. The words are Mesos'.
func readCall(w http.ResponseWriter, r *http.Request, call proto.Message) (wire.Media, error) {
	if err := onlyPost(w, r); err != nil {
		return "", err
	}
	media, err := wire.RequestMedia(r.Header)
	switch {
	case errors.Is(err, wire.ErrNoMedia):
		return "", answer(http.StatusBadRequest, "%v", err)
	case err != nil:
		return "", answer(http.StatusUnsupportedMediaType, "%v", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return "", answer(http.StatusRequestEntityTooLarge, "a call has at most %d bytes", maxBody)
	case err != nil:
		return "", answer(http.StatusBadRequest, "Failed to read the call: %v", err)
	}
	if err := media.Unmarshal(body, call); err != nil {
		return "", answer(http.StatusBadRequest, "Failed to parse body into %s: %v", call.ProtoReflect().Descriptor().Name(), err)
	}
	return media, nil
}

// answerMedia is what an answer is to be written in.
func answerMedia(r *http.Request) (wire.Media, error) {
	media, err := wire.AnswerMedia(r.Header)
	if err != nil {
		return "", answer(http.StatusNotAcceptable, "%v", err)
	}
	return media, nil
}
