package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/door"
)

// Config is what a console stands on.
type Config struct {
	// Server is the native API, guard included.
	Server http.Handler
	// Key seals the cookies, 32 bytes. Servers of one cluster have the same, before and after a restart.
	Key []byte
	// Now is the wall clock; nil is [time.Now].
	Now func() time.Time
}

// pages are the first parts of the addresses that the program in the browser shows. Everything else is the API's.
var pages = []string{"", "roles", "plan", "lending", "nodes", "tasks", "queue", "events", "access", "doors", "frameworks", "login"}

// maxLogin bounds what a browser sends to log in.
const maxLogin = 8 << 10

// New returns the console with the API behind it: one handler for the server's listener. It is an error if the key is not
// 32 bytes long.
func New(cfg Config) (http.Handler, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	seal, err := newSealer(cfg.Key)
	if err != nil {
		return nil, err
	}
	files, err := readFiles(built)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	c := &console{server: cfg.Server, api: door.Open(cfg.Server, "console"), seal: seal, tickets: newTickets(cfg.Now), files: files, now: cfg.Now,
		terminals: terminals{open: map[string]*terminal{}}}
	return c.routes(), nil
}

// console serves browsers.
type console struct {
	server  http.Handler
	api     *door.API
	seal    *sealer
	tickets *tickets
	files   map[string]file
	now     func() time.Time

	terminals terminals
}

// routes puts the console before the API.
func (c *console) routes() http.Handler {
	own := http.NewServeMux()
	own.HandleFunc("GET /console/assets/{name}", func(w http.ResponseWriter, r *http.Request) { c.asset(w, r, r.PathValue("name")) })
	own.HandleFunc("POST /console/session", c.login)
	own.HandleFunc("DELETE /console/session", c.logout)
	own.HandleFunc("POST /console/ticket", c.ticket)
	own.HandleFunc("POST /console/api/{procedure...}", c.call)
	own.HandleFunc("GET /console/live/{topic}", c.live)
	own.HandleFunc("POST /console/terminal", c.execute)
	own.HandleFunc("POST /console/terminal/{id}", c.typed)
	sameOrigin := http.NewCrossOriginProtection().Handler(own)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		switch {
		case first == "console":
			guardHeaders(w.Header())
			sameOrigin.ServeHTTP(w, r)
		case (r.Method == http.MethodGet || r.Method == http.MethodHead) && slices.Contains(pages, first):
			guardHeaders(w.Header())
			c.asset(w, r, "index.html")
		default:
			c.server.ServeHTTP(w, r)
		}
	})
}

// guardHeaders tell the browser to run nothing but our own files and to let nobody frame them.
func guardHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// call passes a request of the native API on, with the token of the browser's session.
func (c *console) call(w http.ResponseWriter, r *http.Request) {
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		http.Error(w, "send application/json", http.StatusUnsupportedMediaType)
		return
	}
	token, err := c.token(r)
	if err != nil {
		refuse(w, http.StatusUnauthorized, err)
		return
	}
	in := r.Clone(r.Context())
	in.URL.Path, in.URL.RawPath = "/"+r.PathValue("procedure"), ""
	in.RequestURI = in.URL.RequestURI()
	in.Header.Del("Cookie")
	in.Header.Set("Authorization", "Bearer "+token)
	w.Header().Set("Cache-Control", "no-store")
	c.server.ServeHTTP(w, in)
}

// errNoSession is what a browser without a good cookie is told.
var errNoSession = errors.New("you are not logged in, or the session has ended; log in again")
