package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// ordinary is an engine that has every image and nothing else.
func ordinary(_ string, w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/images/"):
		reply(w, http.StatusOK, thing{"Id": "sha256:1"})
	case r.URL.Path == "/containers/json" || r.URL.Path == "/networks":
		reply(w, http.StatusOK, []thing{})
	case r.URL.Path == "/volumes":
		reply(w, http.StatusOK, thing{"Volumes": []thing{}})
	default:
		reply(w, http.StatusNotFound, thing{"message": "page not found"})
	}
}

// listing is an engine that has what was made on it.
func listing(s **stand) func(string, http.ResponseWriter, *http.Request) {
	return func(node string, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/containers/json" {
			ordinary(node, w, r)
			return
		}
		(*s).mu.Lock()
		defer (*s).mu.Unlock()
		out := []thing{}
		for i, m := range (*s).made {
			if m.Node == node {
				out = append(out, thing{"Id": fmt.Sprintf("%064x", i+1), "Names": []string{"/" + m.Container.Name}, "State": "created", "Mounts": sandbox,
					"Labels": thing{"polder.container": m.Container.Id, "polder.role": m.Role, "polder.agent": node}})
			}
		}
		reply(w, http.StatusOK, out)
	}
}

// TestOneNameOneContainer: of clients that race for a name one gets it, the others a conflict; a name whose container was not made is free.
func TestOneNameOneContainer(t *testing.T) {
	var s *stand
	s = newStand(t, 2, listing(&s))
	var mu sync.Mutex
	count := map[int]int{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			code, _ := s.call("POST", "/containers/create?name=web", `{"Image":"app"}`)
			mu.Lock()
			defer mu.Unlock()
			count[code]++
		})
	}
	all.Wait()
	if count[http.StatusCreated] != 1 || count[http.StatusConflict] != 7 || len(s.made) != 1 {
		t.Errorf("the answers are %v, and %d were made", count, len(s.made))
	}
	s.forbidden["host team"] = true
	s.wants(http.StatusForbidden, "may not host", "POST", "/containers/create?name=other", `{"Image":"app","HostConfig":{"Privileged":true}}`)
	s.forbidden["host team"] = false
	s.wants(http.StatusCreated, "Id", "POST", "/containers/create?name=other", `{"Image":"app"}`)
}

// TestOneNameTwoRenames: of clients that race to rename their containers to one name one gets it, and is the only one that an engine hears of.
func TestOneNameTwoRenames(t *testing.T) {
	var mu sync.Mutex
	names := map[string]string{"n0": "of-n0", "n1": "of-n1"}
	s := newStand(t, 2, func(node string, w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/containers/json":
			reply(w, http.StatusOK, []thing{{"Id": "e-" + node, "Names": []string{"/" + names[node]}, "State": "running", "Mounts": sandbox,
				"Labels": thing{"polder.container": strings.Repeat("0", 62) + node, "polder.role": "team", "polder.agent": node}}})
		case strings.HasSuffix(r.URL.Path, "/rename"):
			names[node] = r.URL.Query().Get("name")
			w.WriteHeader(http.StatusNoContent)
		default:
			ordinary(node, w, r)
		}
	})
	codes := make(chan int, 2)
	for _, node := range []string{"n0", "n1"} {
		go func() {
			code, _ := s.call("POST", "/containers/of-"+node+"/rename?name=web", "")
			codes <- code
		}()
	}
	renamed := 0
	if a, b := <-codes, <-codes; a+b != http.StatusNoContent+http.StatusConflict {
		t.Errorf("the answers are %d and %d", a, b)
	}
	for _, line := range s.calls() {
		if strings.Contains(line, "/rename?name=web") {
			renamed++
		}
	}
	if renamed != 1 {
		t.Errorf("engines renamed %d containers", renamed)
	}
}

// TestNameTakenMeanwhile: a container that was made while engines were asked what they have is not forgotten because they do not say so.
func TestNameTakenMeanwhile(t *testing.T) {
	asked, made := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := newStand(t, 1, func(node string, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/containers/json" {
			once.Do(func() { close(asked) })
			<-made // it says what was there when it was asked
		}
		ordinary(node, w, r)
	})
	taken := make(chan struct{})
	s.making = func() { close(taken); <-asked }
	var first sync.WaitGroup
	first.Go(func() {
		s.wants(http.StatusCreated, "Id", "POST", "/containers/create?name=web", `{"Image":"app"}`)
		close(made)
	})
	<-taken
	s.wants(http.StatusConflict, "already in use by container", "POST", "/containers/create?name=web", `{"Image":"app"}`)
	first.Wait()
}

// TestBodies: what is no description of a container makes none, and the answer says what is wrong with it.
func TestBodies(t *testing.T) {
	s := newStand(t, 1, ordinary)
	for _, c := range []struct {
		path, body string
		code       int
		words      string
	}{
		{"/containers/create", "", 400, "the container's description"},
		{"/containers/create", "null", 400, "the container's description"},
		{"/containers/create", "[]", 400, "the container's description"},
		{"/containers/create", "{}", 400, "no image is named"},
		{"/containers/create", `{"Image":"app"`, 400, "the container's description"},
		{"/containers/create", `{"Image":"app"}{"HostConfig":{"Privileged":true}}`, 400, "the container's description"},
		{"/containers/create", `{"Image":"app","Image":"other"}`, 400, "the container's description"},
		{"/containers/create", `{"Image":"app","HostConfig":{"Privileged":false,"Privileged":true}}`, 400, "the container's description"},
		{"/containers/create", `{"Image":"app","image":"other"}`, 400, "image: write it Image"},
		{"/containers/create", strings.Repeat("[", 100_000), 413, "more than 65536 bytes"},
		{"/containers/create", strings.Repeat("[", 60_000), 400, "the container's description"},
		{"/containers/create", `{"Image":"` + strings.Repeat("x", 70_000) + `"}`, 413, "more than 65536 bytes"},
		{"/containers/create?name=../x", `{"Image":"app"}`, 400, "Invalid container name"},
		{"/containers/create?name=a%00b", `{"Image":"app"}`, 400, "Invalid container name"},
		{"/containers/create?nosuch=1", `{"Image":"app"}`, 400, "the parameter nosuch is not known"},
		{"/networks/create", `{"Name":"n","Options":{"com.docker.network.bridge.name":"docker0"}}`, 400, "steers the machine"},
		{"/volumes/create", `{"Name":"v","DriverOpts":{"device":"/","o":"bind","type":"none"}}`, 400, "any directory of the node"},
	} {
		if code, said := s.call("POST", c.path, c.body); code != c.code || !strings.Contains(said, c.words) {
			t.Errorf("%s %.60s: %d %s, want %d %q", c.path, c.body, code, said, c.code, c.words)
		}
	}
	if len(s.made) != 0 {
		t.Errorf("%d containers were made", len(s.made))
	}
}

// TestVersions: a client may speak what all engines do and what is not too old, and nothing that only looks like a version.
func TestVersions(t *testing.T) {
	s := newStand(t, 1, ordinary)
	for path, want := range map[string]int{
		"/_ping": 200, "/v1.24/_ping": 200, "/v1.41/_ping": 200, "/v1.42/_ping": 400, "/v2.0/_ping": 400, "/v1.23/_ping": 400, "/v0.0/_ping": 400,
		"/v65536.1/_ping": 404, "/v1/_ping": 404, "/v1.41.1/_ping": 404, "/v-1.41/_ping": 404, "/v1.-41/_ping": 404, "/v+1.41/_ping": 404, "/v1.41": 404, "/v1.41/v1.41/_ping": 404,
		"/V1.41/_ping": 404, "/v1.041/_ping": 200,
	} {
		if code, said := s.call("GET", path, ""); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, said, want)
		}
	}
}

// TestPaths: no spelling of a path or of a name asks an engine for something else than it is judged as.
func TestPaths(t *testing.T) {
	s := newStand(t, 1, ordinary)
	server := httptest.NewServer(s.door)
	t.Cleanup(server.Close)
	for _, path := range []string{
		"/containers/../info", "/containers/%2e%2e/info", "/containers/..%2finfo/json", "/containers/x%2f..%2f..%2finfo/json", "/containers/a/../b/json", "//containers/json/../../info",
		"/containers/x%3fall=1/json", "/containers/x%23/json", "/containers/%00/json", "/volumes/..%2f..%2fswarm", "/networks/x%2fy", "/exec/..%2f..%2finfo/json",
		"/images/..%2f..%2fcontainers%2fjson/json", "/images/../containers/json", "/v1.41/images/%2e%2e/%2e%2e/secrets/json", "/plugins/..%2f..%2finfo/json",
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n%s: team\r\nConnection: close\r\n\r\n", path, roleHeader)
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		conn.Close()
		for _, line := range s.calls() {
			_, rest, _ := strings.Cut(line, "GET ")
			if !strings.HasPrefix(rest, "/containers/json?all=1") && rest != "/networks" && !strings.HasPrefix(rest, "/volumes?") && !strings.HasPrefix(rest, "/images/") && rest != "/plugins" ||
				strings.HasPrefix(rest, "/images/") && strings.Contains(rest, "..") {
				t.Errorf("%s asks an engine %s", path, line)
			}
		}
	}
}

// TestVanishes: a client that is gone in the middle of an attachment leaves no connection to the engine behind, whether the container runs or is
// still to be started.
func TestVanishes(t *testing.T) {
	for _, state := range []string{"running", "created"} {
		t.Run(state, func(t *testing.T) { vanishes(t, state) })
	}
}

func vanishes(t *testing.T, state string) {
	ended := make(chan struct{})
	const id = "00000000000000000000000000000000000000000000000000000000000000aa"
	s := newStand(t, 1, func(_ string, w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/containers/json":
			reply(w, http.StatusOK, []thing{{"Id": "e1", "Names": []string{"/web"}, "State": state, "Mounts": sandbox, "Labels": thing{"polder.container": id, "polder.role": "team", "polder.agent": "n0"}}})
		case strings.HasSuffix(r.URL.Path, "/json"):
			reply(w, http.StatusOK, thing{"Id": "e1", "State": thing{"Status": state, "Running": state == "running"}, "Config": thing{}})
		case strings.HasSuffix(r.URL.Path, "/attach"):
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer close(ended)
			defer conn.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello")
			_ = rw.Flush()
			_, _ = io.Copy(io.Discard, rw) // until the other side is gone
		}
	})
	server := httptest.NewServer(s.door)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /containers/web/attach?stream=1&stdout=1&stdin=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	var heard bytes.Buffer
	for buf := make([]byte, 1024); !strings.HasSuffix(heard.String(), "hello"); {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", &heard, err)
		}
		heard.Write(buf[:n])
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // it is cut, not closed
	conn.Close()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the engine still has the connection")
	}
}

// FuzzRequests: whatever bytes a client sends, chunked, with lengths that lie, or with requests in requests, no container is made that
// reaches beyond itself on its machine without the permission for that, and no more containers than there are answers that say so.
func FuzzRequests(f *testing.F) {
	const good, bad = `{"Image":"app","Cmd":["x"]}`, `{"Image":"app","HostConfig":{"Privileged":true}}`
	head := "POST /v1.41/containers/create HTTP/1.1\r\nHost: x\r\nPolder-Role: team\r\nContent-Type: application/json\r\n"
	for _, rest := range []string{
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(good), good),
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(bad), bad),
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(good)-1, good),
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(good)+9, good),
		"Content-Length: 0\r\n\r\n" + bad,
		"Content-Length: -1\r\n\r\n" + good,
		fmt.Sprintf("Content-Length: %d\r\nContent-Length: 3\r\n\r\n%s", len(good), good),
		fmt.Sprintf("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(good), good),
		fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x;ext=1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", len(good), good, len(bad), bad),
		fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\n%s\n0\n\n", len(bad), bad),
		"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + good,
		"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + good + "\r\n0\r\n\r\n",
		fmt.Sprintf("Transfer-Encoding: identity, chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(bad), bad),
		fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n%sContent-Length: %d\r\n\r\n%s", head, len(bad), bad),
		fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(good), good),
		fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(good), good),
	} {
		f.Add([]byte(head + rest))
	}
	f.Add([]byte("GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n" + head + "\r\n"))
	f.Fuzz(func(t *testing.T, request []byte) {
		s := newStand(t, 1, ordinary)
		s.forbidden["host team"] = true
		answers := talked(t, s.door, request)
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := bytes.Count(answers, []byte("HTTP/1.1 201 ")); n != len(s.made) {
			t.Errorf("%d containers were made, and the client was told of %d:\n%s", len(s.made), n, answers)
		}
		for _, m := range s.made {
			var c container.CreateRequest
			if err := json.Unmarshal(m.Container.Create, &c); err != nil {
				t.Fatalf("an engine would be sent %s: %v", m.Container.Create, err)
			}
			if h := c.HostConfig; m.Container.Host || h.Privileged || len(h.CapAdd) > 0 || h.PidMode.IsHost() || h.NetworkMode.IsHost() || m.Role != "team" {
				t.Errorf("this was made: %s for role %s", m.Container.Create, m.Role)
			}
		}
	})
}

// talked sends the bytes of a connection to a server, and returns what it said by its end.
func talked(t *testing.T, h http.Handler, request []byte) []byte {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(request) // a server that has had enough hangs up
	_ = conn.(*net.TCPConn).CloseWrite()
	said, _ := io.ReadAll(conn) // what came counts
	return said
}
