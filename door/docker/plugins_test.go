package docker

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestPlugins: who sees to the nodes has one plugin on every engine; a change reaches those that have it, an installation those that
// lack it.
func TestPlugins(t *testing.T) {
	var s *stand
	s = newStand(t, 3, func(node string, w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/plugins" && node == "n2":
			reply(w, http.StatusOK, []thing{})
		case r.URL.Path == "/plugins":
			reply(w, http.StatusOK, []thing{{"Id": strings.Repeat("a", 20) + node, "Name": "shop/fs:latest", "Enabled": node == "n0"}})
		case strings.HasSuffix(r.URL.Path, "/set") || r.URL.Path == "/plugins/create":
			s.keep(r)
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/plugins/pull":
			s.keep(r)
			reply(w, http.StatusOK, thing{"status": "from " + node})
		case strings.HasSuffix(r.URL.Path, "/upgrade") && node == "n1":
			reply(w, http.StatusInternalServerError, thing{"message": "no disk"})
		}
	})
	s.wants(http.StatusOK, `"Enabled":false`, "GET", "/plugins", "")
	s.wants(http.StatusOK, `"Name":"shop/fs:latest"`, "GET", "/plugins/shop/fs/json", "")
	s.wants(http.StatusNotFound, `plugin \"other\" not found`, "POST", "/plugins/other/enable", "")
	s.wants(http.StatusNotFound, "no POST /plugins/shop/fs:latest/nothing", "POST", "/plugins/shop/fs:latest/nothing", "")
	s.calls()
	for _, c := range []struct {
		method, path, body string
		status             int
		words              string
		calls              []string // beside those that list
	}{
		{"POST", "/plugins/shop/fs/enable?timeout=3", "", 200, "", []string{"n0 POST /plugins/shop/fs:latest/enable?timeout=3", "n1 POST /plugins/shop/fs:latest/enable?timeout=3"}},
		{"POST", "/plugins/aaaaaaaaaaaaaaaa/set", `["A=1"]`, 204, "", []string{"n0 POST /plugins/shop/fs:latest/set", "n1 POST /plugins/shop/fs:latest/set"}},
		{"DELETE", "/plugins/shop/fs", "", 200, "", []string{"n0 DELETE /plugins/shop/fs:latest", "n1 DELETE /plugins/shop/fs:latest"}},
		{"POST", "/plugins/shop/fs/push", "", 200, "", []string{"n0 POST /plugins/shop/fs:latest/push"}},
		{"POST", "/plugins/shop/fs/upgrade?remote=x", `[]`, 200, `"errorDetail":{"message":"no disk"}`, []string{"n0 POST /plugins/shop/fs:latest/upgrade?remote=x", "n1 POST /plugins/shop/fs:latest/upgrade?remote=x"}},
		{"POST", "/plugins/pull?name=shop/fs&remote=x", `[{"Name":"mount"}]`, 200, "from n2", []string{"n2 POST /plugins/pull?name=shop%2Ffs&remote=x"}},
		{"POST", "/plugins/pull?remote=new", `[]`, 200, "from n2", []string{"n0 POST /plugins/pull?remote=new", "n1 POST /plugins/pull?remote=new", "n2 POST /plugins/pull?remote=new"}},
		{"POST", "/plugins/create?name=own", "an archive", 204, "", []string{"n0 POST /plugins/create?name=own", "n1 POST /plugins/create?name=own", "n2 POST /plugins/create?name=own"}},
		{"GET", "/plugins/privileges?remote=x", "", 200, "", []string{"n0 GET /plugins/privileges?remote=x"}},
	} {
		s.wants(c.status, c.words, c.method, c.path, c.body)
		got := slices.DeleteFunc(s.calls(), func(line string) bool { return strings.HasSuffix(line, "GET /plugins") })
		if !slices.Equal(got, c.calls) {
			t.Errorf("%s %s: engines were asked %q", c.method, c.path, got)
		}
	}
	slices.Sort(s.said)
	if want := []string{`["A=1"]`, `["A=1"]`, "[]", "[]", "[]", `[{"Name":"mount"}]`, "an archive", "an archive", "an archive"}; !slices.Equal(s.said, want) {
		t.Errorf("engines were sent %q", s.said)
	}
	for _, dial := range s.dials {
		if dial.Verb != "view" && (dial.Verb != "node" || dial.Role != "" || !strings.Contains(dial.Action, "plugin")) {
			t.Errorf("a dial says it is for %+v", dial)
		}
	}
}

// TestCreatePluginFails: one engine that takes nothing does not hold up the others, and is what the client hears of.
func TestCreatePluginFails(t *testing.T) {
	s := newStand(t, 3, func(node string, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plugins" {
			reply(w, http.StatusOK, []thing{})
		} else if node == "n1" {
			reply(w, http.StatusBadRequest, thing{"message": "n1 wants none"})
		}
	})
	s.wants(http.StatusBadRequest, "n1 wants none", "POST", "/plugins/create?name=own", strings.Repeat("x", 4<<20))
}
