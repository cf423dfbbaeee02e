package docker

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// foreignID is the door's id of a container of another role.
const foreignID = "00000000000000000000000000000000000000000000000000000000000000bb"

// sandbox is what engines list of the mounts of a container that an agent made.
var sandbox = []thing{{"Type": "bind", "Source": "/agent/containers/x", "Destination": "/polder"}}

// foreign is an engine on which another role has a container, an exec in it, a network and a volume.
func foreign(node string, w http.ResponseWriter, r *http.Request) {
	labels := thing{"polder.container": foreignID, "polder.role": "other", "polder.agent": node}
	switch r.URL.Path {
	case "/containers/json":
		reply(w, http.StatusOK, []thing{{"Id": "e1", "Names": []string{"/theirs"}, "State": "running", "Mounts": sandbox, "Labels": labels}})
	case "/networks":
		reply(w, http.StatusOK, []thing{{"Id": "e2", "Name": "theirs", "Driver": "bridge", "Labels": labels}})
	case "/volumes":
		reply(w, http.StatusOK, thing{"Volumes": []thing{{"Name": "theirs", "Driver": "local", "Labels": labels}}})
	case "/exec/e9/json":
		reply(w, http.StatusOK, thing{"ID": "e9", "ContainerID": "e1", "Running": true})
	default:
		ordinary(node, w, r)
	}
}

// TestForeignIDs: whatever call names something of a role that the caller may do nothing on, by whichever of its names, it is not there,
// and no engine is asked to do anything.
func TestForeignIDs(t *testing.T) {
	s := newStand(t, 1, foreign)
	for _, verb := range []string{"view", "logs", "run", "exec", "host", "node"} {
		s.forbidden[verb+" other"] = true
	}
	names := map[string][]string{
		"/containers/{id}": {foreignID, foreignID[:12], "theirs", "e1"}, "/networks/{id}": {"theirs", "e2"},
		"/volumes/{name}": {"theirs"}, "/exec/{id}": {"e9"},
	}
	asks := []string{"n0 GET /containers/json", "n0 GET /networks", "n0 GET /volumes", "n0 GET /exec/"} // what looking for something asks
	tried := 0
	for _, e := range Endpoints {
		for prefix, refs := range names {
			rest, ok := strings.CutPrefix(e.Path, prefix)
			if !ok || e.Refused != "" {
				continue
			}
			for _, ref := range refs {
				tried++
				path := strings.NewReplacer("{id}", ref, "{name}", ref).Replace(prefix) + rest
				code, said := s.call(e.Method, path, `{"Container":"theirs"}`)
				if code != http.StatusNotFound || strings.Contains(said, "other") {
					t.Errorf("%s %s: %d %s, want 404", e.Method, path, code, said)
				}
				for _, line := range s.calls() {
					if !slices.ContainsFunc(asks, func(p string) bool { return strings.HasPrefix(line, p) }) {
						t.Errorf("%s %s asks an engine %s", e.Method, path, line)
					}
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d calls were tried", tried)
	}
}

// TestHugeBodies: a description that does not end is not read to its end, whatever it describes.
func TestHugeBodies(t *testing.T) {
	s := newStand(t, 1, ordinary)
	for _, path := range []string{
		"/containers/create", "/networks/create", "/volumes/create", "/plugins/pull?remote=x", "/networks/theirs/connect",
		"/containers/theirs/exec", "/containers/theirs/update",
	} {
		if strings.Contains(path, "theirs") {
			s = newStand(t, 1, foreign)
		}
		body := &endless{}
		r := httptest.NewRequest(http.MethodPost, path, body)
		r.Header.Set(roleHeader, "team")
		w := httptest.NewRecorder()
		s.door.ServeHTTP(w, r)
		if w.Code/100 != 4 && w.Code != http.StatusNotImplemented || body.read > 2*maxCreate {
			t.Errorf("%s: %d %.200s, after %d bytes", path, w.Code, w.Body, body.read)
		}
	}
}

// endless is JSON without an end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read > 1<<24 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = '['
	}
	e.read += len(p)
	return len(p), nil
}

// seen is a request as a server understood it.
type seen struct{ method, path, body string }

// understood are the requests that a plain server of net/http, which engines are as well, understands some bytes as, as far as they are whole.
func understood(request []byte) (out []seen) {
	r := bufio.NewReader(bytes.NewReader(request))
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			return out
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return out
		}
		out = append(out, seen{q.Method, q.URL.Path, string(body)})
		if q.Close {
			return out
		}
	}
}

// FuzzPassedOn: what a client sends for a container to unpack comes to the engine as the client's own bytes say, whatever they do with lengths
// and chunks: no request more, none about anything else, and no body that is not one of the client's.
func FuzzPassedOn(f *testing.F) {
	const head = "PUT /containers/web/archive?path=/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
	const hidden = "POST /containers/web/kill HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, rest := range []string{
		"Content-Length: 5\r\n\r\nabcde",
		"Content-Length: 0\r\n\r\n" + hidden,
		"Content-Length: 3\r\n\r\nabcde",
		"Content-Length: 9\r\n\r\nabcde",
		"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
		"Content-Length: 5, 5\r\n\r\nabcde",
		"Content-Length: +5\r\n\r\nabcde",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5;x=\"\r\n\"\r\nabcde\r\n0\r\nTrailer: 1\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n" + hidden,
		"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nabcde\r\n0\r\n\r\n" + hidden,
		"Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
		"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nabcde",
		"Transfer-Encoding : chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n00000000000000000005\r\nabcde\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde",
		"Connection: Content-Length\r\nContent-Length: 5\r\n\r\nabcde",
		"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n\r\nabcde" + hidden,
	} {
		f.Add([]byte(head + rest))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		var mu sync.Mutex
		var got []seen
		s := newStand(t, 1, func(node string, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/containers/json" {
				reply(w, http.StatusOK, []thing{{"Id": "e1", "Names": []string{"/web"}, "State": "running", "Mounts": sandbox, "Labels": thing{"polder.container": foreignID, "polder.role": "team", "polder.agent": node}}})
				return
			}
			body, err := io.ReadAll(r.Body)
			if err == nil && r.Method != http.MethodGet {
				mu.Lock()
				got = append(got, seen{r.Method, r.URL.Path, string(body)})
				mu.Unlock()
			}
			w.WriteHeader(http.StatusOK)
		})
		talked(t, s.door, request) // what it says is judged elsewhere
		mu.Lock()
		defer mu.Unlock()
		meant := understood(request)
		for _, x := range got {
			at := slices.IndexFunc(meant, func(m seen) bool { return means(m, x) })
			if at < 0 {
				t.Fatalf("the engine was asked %q, which is not among %q", x, meant)
			}
			meant = slices.Delete(meant, at, at+1) // once asked, once done
		}
	})
}

// means reports whether what an engine was asked is what a client asked the door.
func means(client, engine seen) bool {
	path := client.path
	if rest, ok := strings.CutPrefix(path, "/v"); ok {
		if version, after, ok := strings.Cut(rest, "/"); ok && isVersion(version) {
			path = "/" + after
		}
	}
	_, verb, ok := strings.Cut(strings.TrimPrefix(path, "/containers/"), "/")
	want := "/containers/e1"
	if ok {
		want += "/" + verb
	}
	return client.method == engine.method && engine.path == want && (client.body == engine.body || verb != "archive")
}
