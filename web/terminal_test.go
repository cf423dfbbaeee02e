package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/api/polder/v1/polderv1connect"
)

// shouting runs commands that answer in capitals; "exit" ends one with code 3. One whose caller is gone is counted.
type shouting struct {
	polderv1connect.UnimplementedTaskServiceHandler
	gone chan string
}

func (s shouting) Exec(_ context.Context, b *connect.BidiStream[polderv1.ExecRequest, polderv1.ExecResponse]) error {
	first, err := b.Receive()
	if err != nil {
		return err
	}
	who := b.RequestHeader().Get("Authorization")
	if first.Start.GetTask() == "forbidden" {
		return connect.NewError(connect.CodePermissionDenied, errors.New("user:ann may not exec"))
	}
	for {
		m, err := b.Receive()
		if err != nil {
			s.gone <- who
			return err
		}
		out := &polderv1.ExecResponse{Data: bytes.ToUpper(m.Stdin)}
		if m.Resize != nil {
			out.Data = []byte(m.Resize.String())
		}
		if string(m.Stdin) == "exit" {
			out.ExitCode = new(int32(3))
		}
		if err := b.Send(out); err != nil || out.ExitCode != nil {
			return err
		}
	}
}

// terminalStand is a console before a server that only shouts, and the cookies of two sessions.
func terminalStand(t *testing.T) (s *httptest.Server, cookies [2]string, gone chan string) {
	t.Helper()
	gone = make(chan string, 10)
	_, h := polderv1connect.NewTaskServiceHandler(shouting{gone: gone})
	handler, err := New(Config{Server: h, Key: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	seal, err := newSealer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	for i, token := range []string{"ann", "eve"} {
		value, err := seal.seal(session{Token: token, Until: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		cookies[i] = seal.cookie + "=" + value
	}
	s = httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, cookies, gone
}

func post(t *testing.T, ctx context.Context, s *httptest.Server, path, cookie, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cookie", cookie)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestTerminal: what is typed reaches the command in order, what it writes comes back, and it ends with its code.
func TestTerminal(t *testing.T) {
	s, cookies, gone := terminalStand(t)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	res := post(t, ctx, s, "/console/terminal", cookies[0], `{"task":"t.0","command":["sh"],"tty":true}`)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	next := func() (m struct {
		Terminal, Trouble string
		Data              []byte
		ExitCode          *int32
	}) {
		t.Helper()
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &m) != nil {
			t.Fatalf("no line: %q %v", lines.Text(), lines.Err())
		}
		return m
	}
	id := next().Terminal
	typed := func(path, cookie, body string, want int, header ...string) {
		t.Helper()
		res := post(t, t.Context(), s, path, cookie, body, header...)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("typing %s: %s, want %d", body, res.Status, want)
		}
	}
	at := "/console/terminal/" + id
	typed(at, cookies[0], `{"stdin":"aGVsbG8="}`, http.StatusNoContent)
	if m := next(); string(m.Data) != "HELLO" {
		t.Errorf("it wrote %q", m.Data)
	}
	typed(at, cookies[0], `{"resize":{"rows":24,"columns":80}}`, http.StatusNoContent)
	if m := next(); !strings.Contains(string(m.Data), "80") {
		t.Errorf("it wrote %q", m.Data)
	}
	for what, c := range map[string]struct {
		path, cookie, body string
		want               int
		header             []string
	}{
		"somebody else's session": {at, cookies[1], `{"stdin":"eA=="}`, http.StatusBadRequest, nil},
		"no session":              {at, "", `{"stdin":"eA=="}`, http.StatusUnauthorized, nil},
		"another site":            {at, cookies[0], `{"stdin":"eA=="}`, http.StatusForbidden, []string{"Sec-Fetch-Site", "cross-site"}},
		"another site starts one": {"/console/terminal", cookies[0], `{"task":"t.0"}`, http.StatusForbidden, []string{"Sec-Fetch-Site", "cross-site"}},
		"a form":                  {"/console/terminal", cookies[0], `{"task":"t.0"}`, http.StatusUnsupportedMediaType, []string{"Content-Type", "text/plain"}},
		"no terminal":             {"/console/terminal/x", cookies[0], `{"stdin":"eA=="}`, http.StatusBadRequest, nil},
		"a second start":          {at, cookies[0], `{"start":{"task":"t.1"}}`, http.StatusBadRequest, nil},
		"an unknown field":        {at, cookies[0], `{"keys":"x"}`, http.StatusBadRequest, nil},
		"too much":                {at, cookies[0], `{"stdin":"` + strings.Repeat("AAAA", maxTyped/4) + `"}`, http.StatusBadRequest, nil},
	} {
		t.Run(what, func(t *testing.T) { typed(c.path, c.cookie, c.body, c.want, c.header...) })
	}
	typed(at, cookies[0], `{"stdin":"ZXhpdA=="}`, http.StatusNoContent)
	if m := next(); m.ExitCode == nil || *m.ExitCode != 3 {
		t.Errorf("it ended as %v", m)
	}
	if lines.Scan() {
		t.Errorf("after its end comes %q", lines.Text())
	}
	typed(at, cookies[0], `{"stdin":"eA=="}`, http.StatusBadRequest)

	refused := post(t, t.Context(), s, "/console/terminal", cookies[0], `{"task":"forbidden","command":["sh"]}`)
	defer refused.Body.Close()
	lines = bufio.NewScanner(refused.Body)
	next()
	if m := next(); m.Trouble != "user:ann may not exec" {
		t.Errorf("the refusal is %v", m)
	}

	left := post(t, ctx, s, "/console/terminal", cookies[1], `{"task":"t.0","command":["sh"]}`)
	defer left.Body.Close()
	hangUp()
	if who := <-gone; who != "Bearer eve" {
		t.Errorf("%s hung up", who)
	}
}

// TestTerminalsAreBounded: one more than there may be is refused.
func TestTerminalsAreBounded(t *testing.T) {
	all := terminals{open: map[string]*terminal{}}
	var last string
	for range mostTerminals {
		id, ok := all.add(&terminal{})
		if !ok {
			t.Fatal("refused")
		}
		last = id
	}
	if _, ok := all.add(&terminal{}); ok {
		t.Error("one more was taken")
	}
	all.remove(last)
	if _, ok := all.add(&terminal{}); !ok {
		t.Error("there is room and it was refused")
	}
}
