package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/door"
)

// stand is a door before a pool whose engines are scripts. Callers may do anything but what is forbidden to them.
type stand struct {
	api.UnimplementedEngineServiceHandler
	api.UnimplementedAccessServiceHandler
	t         *testing.T
	door      *Door
	engines   map[string]http.Handler // by node
	forbidden map[string]bool         // "verb role"
	making    func()                  // is called before a container is made
	judging   bool                    // whether a call to an engine takes the permission that it says
	volumes   *keptVolumes

	mu    sync.Mutex // guards what follows
	asked []string   // "node METHOD /path?query" of calls about anything but the engine itself
	dials []*polderv1.EngineDial
	made  []*polderv1.EngineServiceCreateRequest
	heads []http.Header
	said  []string // bodies that engines were sent
}

// newStand makes engines n0, n1, …; each answers with what answer says.
func newStand(t *testing.T, nodes int, answer func(node string, w http.ResponseWriter, r *http.Request)) *stand {
	s := &stand{t: t, engines: map[string]http.Handler{}, forbidden: map[string]bool{},
		volumes: &keptVolumes{all: map[string]*polderv1.Volume{}, full: map[string]bool{}}}
	for i := range nodes {
		node := fmt.Sprint("n", i)
		s.engines[node] = s.engine(node, answer)
	}
	mux := http.NewServeMux()
	mux.Handle(api.NewEngineServiceHandler(s))
	mux.Handle(api.NewAccessServiceHandler(s))
	mux.Handle(api.NewRoleServiceHandler(anyRole{}))
	mux.Handle(api.NewVolumeServiceHandler(s.volumes))
	s.door = New(door.Open(mux, "docker"), Options{Version: "test"})
	return s
}

// engine is one that says who it is, and for the rest what the test says.
func (s *stand) engine(node string, answer func(string, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v1.41")
		if path == "/info" || path == "/version" {
			reply(w, http.StatusOK, thing{"ID": "engine of " + node, "ApiVersion": "1.41"})
			return
		}
		r.URL.Path = path
		line := node + " " + r.Method + " " + path
		if r.URL.RawQuery != "" {
			line += "?" + r.URL.RawQuery
		}
		s.mu.Lock()
		s.asked, s.heads = append(s.asked, line), append(s.heads, r.Header)
		s.mu.Unlock()
		answer(node, w, r)
	})
}

// keep notes a body that an engine was sent.
func (s *stand) keep(r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Errorf("the body of %s %s: %v", r.Method, r.URL.Path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, string(data))
}

// List lists the nodes; of constraints it knows those that name nodes.
func (s *stand) List(_ context.Context, r *connect.Request[polderv1.EngineServiceListRequest]) (*connect.Response[polderv1.EngineServiceListResponse], error) {
	out := &polderv1.EngineServiceListResponse{}
	for i := range len(s.engines) {
		name := fmt.Sprint("n", i)
		excludes := func(c string) bool {
			names, ok := strings.CutPrefix(c, "node in (")
			return ok && !slices.Contains(strings.Split(strings.TrimSuffix(names, ")"), ","), name)
		}
		if !slices.ContainsFunc(r.Msg.Constraints, excludes) {
			out.Nodes = append(out.Nodes, &polderv1.EngineNode{Name: name, State: "ready", Fits: true})
		}
	}
	return connect.NewResponse(out), nil
}

// Create makes a container, as far as anybody can tell.
func (s *stand) Create(_ context.Context, r *connect.Request[polderv1.EngineServiceCreateRequest]) (*connect.Response[polderv1.EngineServiceCreateResponse], error) {
	if s.making != nil {
		s.making()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, r.Msg)
	return connect.NewResponse(&polderv1.EngineServiceCreateResponse{Status: http.StatusCreated, Body: fmt.Appendf(nil, `{"Id":"%064x","Warnings":null}`, len(s.made))}), nil
}

func (s *stand) WhoAmI(context.Context, *connect.Request[polderv1.WhoAmIRequest]) (*connect.Response[polderv1.WhoAmIResponse], error) {
	return connect.NewResponse(&polderv1.WhoAmIResponse{Kind: "user", Name: "ann"}), nil
}

func (s *stand) CanI(_ context.Context, r *connect.Request[polderv1.CanIRequest]) (*connect.Response[polderv1.CanIResponse], error) {
	out := &polderv1.CanIResponse{Allowed: !s.forbidden[r.Msg.Verb+" "+r.Msg.Role]}
	if !out.Allowed {
		out.Reason = fmt.Sprintf("user:ann may not %s on role %s", r.Msg.Verb, r.Msg.Role)
	}
	return connect.NewResponse(out), nil
}

// anyRole is a plan that has every role.
type anyRole struct {
	api.UnimplementedRoleServiceHandler
}

func (anyRole) Get(context.Context, *connect.Request[polderv1.RoleServiceGetRequest]) (*connect.Response[polderv1.RoleStatus], error) {
	return connect.NewResponse(&polderv1.RoleStatus{}), nil
}

// Dial joins the door with a script, both ways.
func (s *stand) Dial(ctx context.Context, stream *connect.BidiStream[polderv1.EngineServiceDialRequest, polderv1.EngineServiceDialResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.dials = append(s.dials, first.Start)
	s.mu.Unlock()
	if start := first.Start; s.judging && s.forbidden[start.Verb+" "+start.Role] {
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("may not %s", start.Verb))
	}
	server := httptest.NewServer(s.engines[first.Start.Node])
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() {
		for {
			m, err := stream.Receive()
			if err != nil {
				return
			}
			_, _ = conn.Write(m.Data) // an engine that takes no more may still say something
			if m.CloseWrite {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
		}
	}()
	buf := make([]byte, chunk)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if err := stream.Send(&polderv1.EngineServiceDialResponse{Data: bytes.Clone(buf[:n])}); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// call makes a call for role "team" and returns status and body.
func (s *stand) call(method, path, body string, header ...string) (int, string) {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set(roleHeader, "team")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.door.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// wants makes a call that must be answered with a status and with words.
func (s *stand) wants(status int, words, method, path, body string, header ...string) {
	s.t.Helper()
	if got, text := s.call(method, path, body, header...); got != status || !strings.Contains(text, words) {
		s.t.Errorf("%s %s: %d %s, want %d %q", method, path, got, text, status, words)
	}
}

// calls takes what engines were asked since the last time, in order of the lines.
func (s *stand) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	slices.Sort(out)
	return out
}
