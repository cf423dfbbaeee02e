package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
	"polder.dev/polder/door/docker/swarm"
	"polder.dev/polder/store"
)

// oldest is the lowest version of the Engine API that clients may speak.
const oldest = "1.24"

// Options say how a door is.
type Options struct {
	Version string // of Polder, for docker version
	Logger  *slog.Logger
	// Store keeps what services want, and Key seals what is secret in it. Without a store there is no swarm mode.
	Store store.Store
	Key   [32]byte
}

// Door serves the Engine API for the whole pool. Make one with [New].
type Door struct {
	api *door.API
	opt Options
	mux *http.ServeMux

	recent *recent
	// swarm is nil without a store.
	swarm *swarm.Swarm

	mu     sync.Mutex               // guards what follows
	infos  map[string]engineInfo    // by node
	places map[string]place         // by the door's id of a container
	notes  uint64                   // how many places were noted so far
	names  map[string]string        // id by name; "" while a container of that name is being made
	asks   map[string]string        // the open ask of a container, by its id
	starts map[string]chan struct{} // by container; closed when its start is over
	moves  map[string]chan struct{} // by container; closed when it was made anew elsewhere
	execs  map[string]execAt        // by the engine's id
}

// New makes a door in front of a server.
func New(api *door.API, opt Options) *Door {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Door{api: api, opt: opt, mux: http.NewServeMux(), recent: newRecent(), infos: map[string]engineInfo{}, places: map[string]place{},
		names: map[string]string{}, asks: map[string]string{}, starts: map[string]chan struct{}{}, moves: map[string]chan struct{}{}, execs: map[string]execAt{}}
	if opt.Store != nil {
		d.swarm = swarm.New(swarm.Options{API: api, Containers: containersOf{d}, Store: opt.Store, Key: opt.Key, Version: opt.Version, Logger: opt.Logger})
	}
	known := map[string]bool{}
	for _, e := range Endpoints {
		if p := e.Method + " " + e.pattern(); !known[p] { // what may be asked of an image or a plugin is one pattern
			known[p] = true
			d.mux.Handle(p, d.endpoint(e))
		}
	}
	d.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, fail(http.StatusNotFound, "page not found: the Engine API has no %s %s", r.Method, clip(r.URL.Path)))
	})
	return d
}

type localKey struct{}

// Local returns a context for connections whose owner the operating system vouches for, as on a Unix socket with mode 0600.
func Local(ctx context.Context, id auth.Identity) context.Context {
	return context.WithValue(ctx, localKey{}, id)
}

// callerOf is who sent a request.
func callerOf(r *http.Request) door.Caller {
	c := door.CallerOf(r)
	if id, ok := r.Context().Value(localKey{}).(auth.Identity); ok && c.Authorization == "" && c.TLS == nil {
		c.Identity = id
	}
	return c
}

// request is one call of a client.
type request struct {
	*http.Request
	w       http.ResponseWriter
	who     string // the caller, as the pool knows it
	version string // of the Engine API this call is in
}

type versionKey struct{}

type whoKey struct{}

// version is the version of the call that ctx belongs to.
func (d *Door) version(ctx context.Context) string {
	v, _ := ctx.Value(versionKey{}).(string)
	return v
}

// ServeHTTP implements [http.Handler].
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer d.recovered(w, r)
	w.Header().Set("Server", "Polder/"+d.opt.Version+" (linux)")
	ctx := door.As(r.Context(), callerOf(r))
	who, err := d.caller(ctx)
	if err != nil {
		refuse(w, err)
		return
	}
	newest, err := d.recent.version(func() (string, error) { return d.newest(ctx) })
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Api-Version", newest)
	w.Header().Set("Ostype", "linux")
	w.Header().Set("Docker-Experimental", "false")
	version, path, err := split(r.URL.Path, newest)
	if err != nil {
		refuse(w, err)
		return
	}
	r = r.WithContext(context.WithValue(context.WithValue(ctx, versionKey{}, version), whoKey{}, who))
	r.URL.Path, r.URL.RawPath = path, ""
	d.mux.ServeHTTP(w, r)
}

func (d *Door) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	d.opt.Logger.Error("the docker door panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	refuse(w, fail(http.StatusInternalServerError, "a bug in the docker door; the server's log says more"))
}

// newest is the version that every engine of the pool speaks. It is asked with the caller's credentials, so a stranger is
// refused here.
func (d *Door) newest(ctx context.Context) (string, error) {
	engines, err := d.engines(ctx)
	if err != nil {
		return "", err
	}
	least := engines[0].api
	for _, e := range engines {
		if less(e.api, least) {
			least = e.api
		}
	}
	return least, nil
}

// split takes the version off a path.
func split(path, newest string) (version, rest string, err error) {
	text, ok := strings.CutPrefix(path, "/v")
	version, rest, _ = strings.Cut(text, "/")
	if !ok || !isVersion(version) {
		return newest, path, nil
	}
	switch {
	case less(newest, version):
		return "", "", fail(http.StatusBadRequest, "client version %s is too new. Maximum supported API version is %s", version, newest)
	case less(version, oldest):
		return "", "", fail(http.StatusBadRequest, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", version, oldest)
	}
	return version, "/" + rest, nil
}

func isVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	_, err := strconv.ParseUint(major, 10, 16)
	_, err2 := strconv.ParseUint(minor, 10, 16)
	return ok && err == nil && err2 == nil
}

// less compares versions such as "1.41".
func less(a, b string) bool {
	number := func(s string) (n uint64) {
		major, minor, _ := strings.Cut(s, ".")
		x, _ := strconv.ParseUint(major, 10, 16)
		y, _ := strconv.ParseUint(minor, 10, 16)
		return x<<16 | y
	}
	return number(a) < number(b)
}

// endpoint is the handler of one line of the table.
func (d *Door) endpoint(e Endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.Refused != "" {
			refuse(w, fail(e.status(), "%s", e.Refused))
			return
		}
		if err := plain(r); err != nil {
			refuse(w, err)
			return
		}
		who, _ := r.Context().Value(whoKey{}).(string)
		q := &request{Request: r, w: w, who: who, version: d.version(r.Context())}
		if e.images() {
			defer d.recent.imagesChanged()
		}
		if err := e.serve(d, q); err != nil && !errors.Is(err, context.Canceled) {
			refuse(w, err)
		}
	})
}

// plain refuses requests that an engine might read in another way than the door. An engine takes parameters from a form in the body before
// those of the path, where the door judges them.
func plain(r *http.Request) error {
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return fail(http.StatusBadRequest, "the parameters: %v", err)
	}
	kind := strings.ToLower(strings.Join(r.Header.Values("Content-Type"), ","))
	if r.ContentLength != 0 && (strings.Contains(kind, "form-urlencoded") || strings.Contains(kind, "form-data")) {
		return fail(http.StatusUnsupportedMediaType, "a form is nothing the Engine API takes: parameters go into the path, and the body is application/json or application/x-tar")
	}
	return nil
}

// may asks whether the caller has a permission.
func (d *Door) may(ctx context.Context, verb, role string) error {
	res, err := d.api.Access.CanI(ctx, connect.NewRequest(&polderv1.CanIRequest{Verb: verb, Role: role}))
	if err != nil {
		return err
	}
	if !res.Msg.Allowed {
		return &failure{http.StatusForbidden, res.Msg.Reason}
	}
	return nil
}

// viewer answers which roles the caller of one request may view, and remembers.
func (d *Door) viewer(ctx context.Context) func(role string) bool {
	known := map[string]bool{}
	return func(role string) bool {
		ok, asked := known[role]
		if !asked {
			ok = d.may(ctx, "view", role) == nil
			known[role] = ok
		}
		return ok
	}
}

// roleHeader is how a client says for which role it works; "polder door env docker --role" writes it.
const roleHeader = "Polder-Role"

// certifiedRole is the role that a client's certificate was issued with: most programs that show one cannot send a header.
func certifiedRole(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || r.Header.Get("Authorization") != "" {
		return ""
	}
	units := r.TLS.PeerCertificates[0].Subject.OrganizationalUnit
	if len(units) != 1 {
		return ""
	}
	return units[0]
}

// usualRole is where things run for which no role is said, if there is such a role and the caller may.
const usualRole = "default"

// roleFor finds the role of something new: the label's, the client's, its certificate's, the usual one, or the only one the caller may run on.
func (d *Door) roleFor(q *request, label string) (string, error) {
	for _, role := range []string{label, q.Header.Get(roleHeader), certifiedRole(q.Request)} {
		if role == "" {
			continue
		}
		return role, d.mayRunOn(q.Context(), role)
	}
	if d.mayRunOn(q.Context(), usualRole) == nil {
		return usualRole, nil
	}
	return d.onlyRole(q)
}

// mayRunOn asks whether there is a role and the caller may run something on it.
func (d *Door) mayRunOn(ctx context.Context, role string) error {
	if err := d.may(ctx, "run", role); err != nil {
		return err
	}
	_, err := d.api.Roles.Get(ctx, connect.NewRequest(&polderv1.RoleServiceGetRequest{Path: role}))
	return err
}

// onlyRole is the role that the caller may run on, if there is one only.
func (d *Door) onlyRole(q *request) (string, error) {
	res, err := d.api.Roles.List(q.Context(), connect.NewRequest(&polderv1.RoleServiceListRequest{PageSize: 1000}))
	if err != nil {
		return "", err
	}
	var mine []string
	for _, r := range res.Msg.Roles {
		path := r.Effective.GetPath()
		if path != "" && d.may(q.Context(), "run", path) == nil {
			mine = append(mine, path)
		}
	}
	if len(mine) == 1 {
		return mine[0], nil
	}
	return "", fail(http.StatusBadRequest, "for which role? Say it with --label polder.role=ROLE, or once with polder door env docker --role ROLE (%s may run on %d roles)", q.who, len(mine))
}

// isSet reads a parameter as the engine does: "", 0, no, false and none are false.
func isSet(q url.Values, name string) bool {
	switch strings.ToLower(strings.TrimSpace(q.Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// seconds reads a parameter of whole seconds; nil when it is not given.
func seconds(q url.Values, name string) (*time.Duration, error) {
	text := q.Get(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < -1 {
		return nil, fail(http.StatusBadRequest, "%s: %q is not a number of seconds", name, clip(text))
	}
	d := time.Duration(n) * time.Second
	if n == -1 {
		d = 1000 * time.Hour // as long as it takes
	}
	return &d, nil
}

func short(id string) string { return fmt.Sprintf("%.12s", id) }
