package docker

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// TestCredentialsPass: a registry's credentials reach the engine that pulls, pushes or logs in, and nobody else: no audit trail, no log, no
// other engine. Those of the pool itself reach no engine.
func TestCredentialsPass(t *testing.T) {
	s := newStand(t, 2, func(node string, w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/json") && node == "n1":
			reply(w, http.StatusNotFound, thing{"message": "No such image"})
		case strings.HasSuffix(r.URL.Path, "/json"):
			reply(w, http.StatusOK, thing{"Id": "sha256:1"})
		default:
			reply(w, http.StatusOK, thing{"status": "done"})
		}
	})
	var log bytes.Buffer
	s.door.opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
	const login = "aHVudGVyMg=="
	for _, path := range []string{"/images/create?fromImage=shop/app&tag=1", "/images/shop/app/push?tag=1", "/build?t=x", "/distribution/shop/app/json"} {
		method := map[bool]string{true: "GET", false: "POST"}[strings.HasPrefix(path, "/distribution")]
		name := map[bool]string{true: "X-Registry-Config", false: "X-Registry-Auth"}[strings.HasPrefix(path, "/build")]
		s.wants(http.StatusOK, "", method, path, "", name, login, "Authorization", "Bearer polder-token")
		last := s.heads[len(s.heads)-1]
		if last.Get(name) != login {
			t.Errorf("%s: the engine has %q", path, last.Get(name))
		}
	}
	for i, h := range s.heads {
		if h.Get("Authorization") != "" || h.Get(roleHeader) != "" {
			t.Errorf("call %s tells the engine %v", s.asked[i], h)
		}
		if strings.HasSuffix(s.asked[i], "/json") && !strings.Contains(s.asked[i], "distribution") && h.Get("X-Registry-Auth") != "" {
			t.Errorf("a question has credentials: %s", s.asked[i])
		}
	}
	for _, d := range s.dials {
		if strings.Contains(d.String(), login) {
			t.Errorf("the audit trail would have %v", d)
		}
	}
	if log.Len() > 0 {
		t.Errorf("the log has %s", &log)
	}
}

// TestFetch: an image is pulled with credentials where no node has it, once; why it cannot be is told.
func TestFetch(t *testing.T) {
	have := false
	s := newStand(t, 2, func(node string, w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/json") && (!have || node == "n1"):
			reply(w, http.StatusNotFound, thing{"message": "No such image"})
		case strings.HasSuffix(r.URL.Path, "/json"):
			reply(w, http.StatusOK, thing{"Id": "sha256:1"})
		case r.Header.Get("X-Registry-Auth") == "wrong":
			reply(w, http.StatusOK, thing{"errorDetail": thing{"message": "unauthorized"}})
		case r.Header.Get("X-Registry-Auth") == "silent":
			reply(w, http.StatusOK, thing{"errorDetail": thing{}})
		case r.Header.Get("X-Registry-Auth") == "broken":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			have = true
			reply(w, http.StatusOK, thing{"status": "done"})
		}
	})
	c := containersOf{s.door}
	ctx, err := c.versioned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Fetch(ctx, "team", "shop/app", "wrong"); err == nil || !strings.Contains(err.Error(), "node n0 cannot pull it: unauthorized") {
		t.Errorf("with wrong ones: %v", err)
	}
	for auth, why := range map[string]string{"silent": "it does not say why", "broken": "500 Internal Server Error"} {
		if err := c.Fetch(ctx, "team", "shop/app", auth); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("with %s: %v", auth, err)
		}
	}
	s.calls()
	for range 2 {
		if err := c.Fetch(ctx, "team", "shop/app", "right"); err != nil {
			t.Error(err)
		}
	}
	pulls := 0
	for _, line := range s.calls() {
		if strings.Contains(line, "fromImage=shop%2Fapp%3Alatest") {
			pulls++
		}
	}
	if pulls != 1 {
		t.Errorf("it was pulled %d times", pulls)
	}
}
