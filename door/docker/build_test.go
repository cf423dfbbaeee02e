package docker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestBuildKit: a build's connections all reach one engine, whatever is said in them, and only those of callers who may do on a machine
// what they like.
func TestBuildKit(t *testing.T) {
	s := newStand(t, 3, func(node string, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			reply(w, http.StatusOK, thing{"node": node})
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n%s %s: ", node, r.Header.Get("X-Docker-Expose-Session-Uuid"))
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw) // says again what it is told until the other side is through
	})
	server := httptest.NewServer(s.door)
	t.Cleanup(server.Close)
	nodes := map[string]bool{}
	for _, path := range []string{"/session", "/grpc", "/v1.41/session"} {
		answer := upgraded(t, server.Listener.Addr().String(), path, "frames \x00\x01 of h2c")
		node, rest, _ := strings.Cut(answer, " ")
		nodes[node] = true
		if rest != "some-id: frames \x00\x01 of h2c" {
			t.Errorf("%s: %q", path, rest)
		}
	}
	for _, path := range []string{"/build?version=2&session=some-id&remote=client-session", "/build/cancel?id=x"} {
		code, body := s.call("POST", path, "")
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
		nodes[body[9:11]] = true
	}
	if len(nodes) != 1 {
		t.Errorf("one build is on engines %v", nodes)
	}
	s.forbidden["host team"] = true
	for _, path := range []string{"/session", "/grpc", "/build?version=2", "/build/cancel?id=x"} {
		s.wants(http.StatusForbidden, "build with DOCKER_BUILDKIT=0", "POST", path, "")
	}
	s.wants(http.StatusOK, "node", "POST", "/build?t=x", "") // by the classic builder
}

// upgraded takes a connection over as clients of BuildKit do, says something, ends, and returns all it hears.
func upgraded(t *testing.T, address, path, say string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s: team\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: some-id\r\n\r\n", path, roleHeader)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "h2c" {
		t.Fatalf("%s: %v %+v", path, err, res)
	}
	if _, err := io.WriteString(conn, say); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	data, err := io.ReadAll(in)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// TestRolesBuildApart: roles are spread over the engines, and an engine more moves few of them.
func TestRolesBuildApart(t *testing.T) {
	best := func(role string, engines int) (at int) {
		for i := range engines {
			if rendezvous(role, fmt.Sprint("e", i)) > rendezvous(role, fmt.Sprint("e", at)) {
				at = i
			}
		}
		return at
	}
	count, moved := make([]int, 5), 0
	for i := range 1000 {
		role := fmt.Sprint("corp/team-", i)
		count[best(role, 5)]++
		if now := best(role, 6); now != best(role, 5) {
			moved++
			if now != 5 {
				t.Errorf("%s moved to engine %d, which was there", role, now)
			}
		}
	}
	if slices.Min(count) < 120 || moved > 250 {
		t.Errorf("of 1000 roles the engines have %v; %d moved", count, moved)
	}
}

// TestPruneShared: every engine prunes, what they say is added up, and what has a name is for who sees to the nodes.
func TestPruneShared(t *testing.T) {
	s := newStand(t, 2, func(node string, w http.ResponseWriter, r *http.Request) {
		list := map[string]string{"/images/prune": "ImagesDeleted", "/build/prune": "CachesDeleted"}[r.URL.Path]
		reply(w, http.StatusOK, thing{list: []any{thing{"Deleted": "both"}, thing{"Deleted": node}}, "SpaceReclaimed": 10})
	})
	for _, path := range []string{"/images/prune", "/images/prune?filters=" + `{"dangling":["true"]}`, "/build/prune"} {
		s.wants(http.StatusOK, `"SpaceReclaimed":20`, "POST", path, "")
	}
	s.wants(http.StatusOK, `[{"Deleted":"both"},{"Deleted":"n0"},{"Deleted":"n1"}]`, "POST", "/build/prune", "")
	s.calls()
	all := []string{"/build/prune?all=1", `/images/prune?filters={"dangling":["false"]}`, `/images/prune?filters={"dangling":{"0":true}}`}
	for _, path := range all {
		s.wants(http.StatusOK, `"SpaceReclaimed":20`, "POST", path, "")
	}
	if n := len(s.calls()); n != 2*len(all) {
		t.Errorf("%d calls to engines", n)
	}
	s.forbidden["node "] = true
	for _, path := range all {
		s.wants(http.StatusForbidden, "shared by all roles", "POST", path, "")
	}
	if calls := s.calls(); len(calls) != 0 {
		t.Errorf("engines were asked %v", calls)
	}
}
