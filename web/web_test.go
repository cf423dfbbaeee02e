package web

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/server"
	"polder.dev/polder/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stand is a console on a real server, over TLS, with a clock of its own.
type stand struct {
	*testing.T
	world  *servertest.World
	api    *door.API
	server *httptest.Server
	later  atomic.Int64 // how far the console's clock is ahead
	ahead  atomic.Int64 // how far the server's is
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{T: t}
	s.world = servertest.Start(t, func(c *server.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	})
	s.api = door.Open(s.world.Handler, "test")
	h, err := New(Config{Server: s.world.Handler, Key: bytes.Repeat([]byte{7}, 32), Now: func() time.Time { return time.Now().Add(time.Duration(s.later.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewTLSServer(h)
	t.Cleanup(s.server.Close)
	return s
}

// send makes a request and returns the answer with its body read.
func (s *stand) send(method, path, body string, header ...string) (*http.Response, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.server.Client().Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return res, string(text)
}

// cookie logs in with a token and returns the header that a browser would send.
func (s *stand) cookie(token string) string {
	s.Helper()
	res, body := s.send("POST", "/console/session", fmt.Sprintf(`{"token":%q}`, token))
	if res.StatusCode != http.StatusNoContent || len(res.Cookies()) != 1 {
		s.Fatalf("login: %s %s", res.Status, body)
	}
	c := res.Cookies()[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || !strings.HasPrefix(c.Name, "__Host-") || c.Path != "/" || strings.Contains(c.Value, token) {
		s.Errorf("the cookie is %v", c)
	}
	return c.Name + "=" + c.Value
}

const whoAmI = "/console/api/polder.v1.AccessService/WhoAmI"

func (s *stand) whoAmI(header ...string) (int, string) {
	s.Helper()
	res, body := s.send("POST", whoAmI, "{}", append([]string{"Content-Type", "application/json"}, header...)...)
	return res.StatusCode, body
}

// token makes another token, good for an hour.
func (s *stand) token(name string) (id, secret string) {
	s.Helper()
	ctx := door.As(s.Context(), door.Bearer(s.world.Admin, ""))
	res, err := s.api.Access.CreateToken(ctx, connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "user", Name: name, ValidFor: durationpb.New(time.Hour)}))
	if err != nil {
		s.Fatal(err)
	}
	return res.Msg.Token.Id, res.Msg.Secret
}

// TestSession: who is logged in acts as who they are, and no longer than their token and session are good.
func TestSession(t *testing.T) {
	s := newStand(t)
	id, secret := s.token("ann")
	cookie := s.cookie(secret)
	if code, body := s.whoAmI("Cookie", cookie); code != http.StatusOK || !strings.Contains(body, "ann") {
		t.Fatalf("ann is %d %s", code, body)
	}
	if res, body := s.send("POST", "/console/api/polder.v1.AccessService/GetPermissions", "{}", "Content-Type", "application/json", "Cookie", cookie); res.StatusCode != http.StatusForbidden {
		t.Errorf("ann may read permissions: %s %s", res.Status, body)
	}
	s.later.Store(int64(sessionLife))
	if code, body := s.whoAmI("Cookie", cookie); code != http.StatusUnauthorized {
		t.Errorf("an old session: %d %s", code, body)
	}
	s.later.Store(0)
	s.ahead.Store(int64(time.Hour))
	if code, body := s.whoAmI("Cookie", cookie); code != http.StatusUnauthorized || !strings.Contains(body, "expired") {
		t.Errorf("an expired token: %d %s", code, body)
	}
	s.ahead.Store(0)
	ctx := door.As(t.Context(), door.Bearer(s.world.Admin, ""))
	if _, err := s.api.Access.RevokeToken(ctx, connect.NewRequest(&polderv1.RevokeTokenRequest{Id: id})); err != nil {
		t.Fatal(err)
	}
	if code, body := s.whoAmI("Cookie", cookie); code != http.StatusUnauthorized || !strings.Contains(body, "unauthenticated") {
		t.Errorf("a revoked token: %d %s", code, body)
	}
}

// TestStrangers: without a good cookie there is nothing to see, and other origins get nowhere with one.
func TestStrangers(t *testing.T) {
	s := newStand(t)
	cookie := s.cookie(s.world.Admin)
	name, _, _ := strings.Cut(cookie, "=")
	for what, header := range map[string][]string{
		"nobody":            nil,
		"a made-up cookie":  {"Cookie", name + "=AAAA"},
		"a bearer token":    {"Authorization", "Bearer " + s.world.Admin}, // the console takes cookies only
		"a token as cookie": {"Cookie", name + "=" + s.world.Admin},
	} {
		if code, body := s.whoAmI(header...); code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", what, code, body)
		}
	}
	if code, body := s.whoAmI("Cookie", cookie, "Sec-Fetch-Site", "cross-site"); code != http.StatusForbidden {
		t.Errorf("another site: %d %s", code, body)
	}
	if code, body := s.whoAmI("Cookie", cookie, "Origin", "https://evil.example"); code != http.StatusForbidden {
		t.Errorf("another origin: %d %s", code, body)
	}
	if res, _ := s.send("POST", whoAmI, "{}", "Content-Type", "text/plain", "Cookie", cookie); res.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %s", res.Status)
	}
	if _, body := s.send("GET", "/console/live/roles", ""); !strings.Contains(body, "event: login") {
		t.Errorf("a stream for a stranger: %s", body)
	}
	if res, body := s.send("POST", "/console/session", `{"token":"wrong"}`); res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) > 0 {
		t.Errorf("a wrong token: %s %s", res.Status, body)
	}
	if res, body := s.send("POST", "/console/session", `{"token":"a","more":1}`); res.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown field: %s %s", res.Status, body)
	}
}

// TestTicket: a link lets in once, and not for long.
func TestTicket(t *testing.T) {
	s := newStand(t)
	get := func() string {
		res, body := s.send("POST", "/console/ticket", "", "Authorization", "Bearer "+s.world.Admin)
		var c credential
		if err := json.Unmarshal([]byte(body), &c); err != nil || res.StatusCode != http.StatusOK || c.Ticket == "" {
			t.Fatalf("ticket: %s %s", res.Status, body)
		}
		return c.Ticket
	}
	enter := func(ticket string) int {
		res, _ := s.send("POST", "/console/session", fmt.Sprintf(`{"ticket":%q}`, ticket))
		return res.StatusCode
	}
	ticket := get()
	if first, second := enter(ticket), enter(ticket); first != http.StatusNoContent || second != http.StatusUnauthorized {
		t.Errorf("the first time %d, the second %d", first, second)
	}
	ticket = get()
	s.later.Store(int64(ticketLife))
	if code := enter(ticket); code != http.StatusUnauthorized {
		t.Errorf("an old ticket: %d", code)
	}
	if res, _ := s.send("POST", "/console/ticket", "", "Authorization", "Bearer wrong"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a ticket for a wrong token: %s", res.Status)
	}
	many := newTickets(time.Now)
	first := many.issue("a")
	for range mostTickets {
		many.issue("b")
	}
	if _, ok := many.redeem(first); ok || len(many.known) > mostTickets {
		t.Errorf("%d tickets are kept", len(many.known))
	}
}

// TestPages: pages are pages, the API is the API, and both say what a browser may do with them.
func TestPages(t *testing.T) {
	s := newStand(t)
	for _, path := range []string{"/", "/roles/corp/search", "/nodes/n1", "/login"} {
		res, body := s.send("GET", path, "")
		if res.StatusCode != http.StatusOK || !strings.Contains(body, "Polder") || !strings.Contains(res.Header.Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if res, body := s.send("GET", "/healthz", ""); res.StatusCode != http.StatusOK || strings.TrimSpace(body) != "ok" {
		t.Errorf("healthz: %s %s", res.Status, body)
	}
	res, body := s.send("POST", "/polder.v1.AccessService/WhoAmI", "{}", "Content-Type", "application/json", "Authorization", "Bearer "+s.world.Admin)
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "admin") {
		t.Errorf("the API: %s %s", res.Status, body)
	}
	for _, path := range []string{"/console/assets/../../web.go", "/console/assets/missing.js", "/console/live/nothing", "/elsewhere"} {
		if res, _ := s.send("GET", path, ""); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

// stream opens a stream and returns a function that waits for a line with a prefix.
func (s *stand) stream(path string, header ...string) func(prefix string) string {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), "GET", s.server.URL+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.server.Client().Do(req)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { res.Body.Close() })
	lines := bufio.NewScanner(res.Body)
	return func(prefix string) string {
		s.Helper()
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return rest
			}
		}
		s.Fatalf("the stream of %s ended without %q: %v", path, prefix, lines.Err())
		return ""
	}
}

// TestLive: a stream resumes after the revision it was left at, without a gap, and says so when it cannot.
func TestLive(t *testing.T) {
	s := newStand(t)
	cookie := s.cookie(s.world.Admin)
	ctx := door.As(t.Context(), door.Bearer(s.world.Admin, ""))
	submit := func(name string) {
		spec := &polderv1.AskSpec{Name: name, Role: "default", Task: &polderv1.TaskSpec{Command: []string{"x"}, Resources: map[string]string{"cpu": "1"}}}
		if _, err := s.api.Asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{spec}})); err != nil {
			t.Fatal(err)
		}
	}
	now, err := s.api.Events.List(ctx, connect.NewRequest(&polderv1.EventServiceListRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	next := s.stream(fmt.Sprintf("/console/live/events?from=%d", now.Msg.Revision), "Cookie", cookie)
	next("event: open")
	next("data: ") // its time
	submit("first")
	id := next("id: ")
	if data := next("data: "); !strings.Contains(data, "first-") {
		t.Fatalf("the first event is %s", data)
	}
	submit("second") // while nobody listens
	again := s.stream("/console/live/events?from=1", "Cookie", cookie, "Last-Event-ID", id)
	again("id: ")
	if data := again("data: "); !strings.Contains(data, "second-") {
		t.Errorf("after %s comes %s", id, data)
	}
	lost := s.stream("/console/live/events", "Cookie", cookie, "Last-Event-ID", "99999999")
	lost("event: resync")

	roles := s.stream("/console/live/roles", "Cookie", cookie)
	roles("event: open")
	roles("data: ")
	if data := roles("data: "); !strings.Contains(data, `"default"`) {
		t.Errorf("the roles are %s", data)
	}
}

// FuzzCookie: whatever a browser sends as a cookie is refused, unless it was sealed here.
func FuzzCookie(f *testing.F) {
	s, err := newSealer(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.seal(session{Token: "t"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[1:])
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := s.open(text); err == nil && v.Token != "t" {
			t.Errorf("%q opens as %v", text, v)
		}
	})
}
