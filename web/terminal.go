package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
)

const (
	mostTerminals = 256       // open at once
	maxTyped      = 256 << 10 // of one message that a browser sends into one
)

// terminals are the commands that run in tasks for browsers. A browser cannot send while it receives, so what is typed comes in
// requests of its own.
type terminals struct {
	mu   sync.Mutex // guards open
	open map[string]*terminal
}

// terminal is one of them.
type terminal struct {
	token string // of the session that opened it; no other may type into it
	mu    sync.Mutex
	send  func(*polderv1.ExecRequest) error // one at a time
}

// add gives a terminal a name that nobody guesses; false when there are too many.
func (t *terminals) add(x *terminal) (id string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= mostTerminals {
		return "", false
	}
	id = rand.Text()
	t.open[id] = x
	return id, true
}

func (t *terminals) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, id)
}

// find is the terminal of a session.
func (t *terminals) find(id, token string) (*terminal, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x, ok := t.open[id]
	return x, ok && subtle.ConstantTimeCompare([]byte(x.token), []byte(token)) == 1
}

// execute runs a command in a task for as long as the browser reads: first its name, then a line of JSON for each thing it
// writes, at last its exit code or what went wrong.
func (c *console) execute(w http.ResponseWriter, r *http.Request) {
	start := &polderv1.ExecStart{}
	token, err := c.decode(w, r, start)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(door.As(r.Context(), door.Bearer(token, r.RemoteAddr)))
	defer cancel()
	exec := c.api.Tasks.Exec(ctx)
	defer exec.CloseResponse()
	id, ok := c.terminals.add(&terminal{token: token, send: exec.Send})
	if !ok {
		refuse(w, http.StatusServiceUnavailable, fmt.Errorf("%d terminals are open on this server; close one", mostTerminals))
		return
	}
	defer c.terminals.remove(id)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	out := &stream{w: w, control: http.NewResponseController(w)}
	if err := exec.Send(&polderv1.ExecRequest{Start: start}); err != nil && !errors.Is(err, io.EOF) { // then receive has the reason
		_ = out.line(fmt.Appendf(nil, `{"trouble":%s}`, quoteJSON(err.Error()))) // the browser is gone if this fails
		return
	}
	if err := out.line(fmt.Appendf(nil, `{"terminal":%q}`, id)); err != nil {
		return
	}
	if err := out.copyExec(exec.Receive); err != nil {
		_ = out.line(fmt.Appendf(nil, `{"trouble":%s}`, quoteJSON(reasonOf(err)))) // the browser is gone if this fails
	}
}

// copyExec passes on what a command writes; nil after its exit code.
func (s *stream) copyExec(receive func() (*polderv1.ExecResponse, error)) error {
	for {
		m, err := receive()
		if err != nil {
			return err
		}
		data, err := protojson.Marshal(m)
		if err != nil {
			return err
		}
		if err := s.line(data); err != nil || m.ExitCode != nil {
			return err
		}
	}
}

// line writes one line at once.
func (s *stream) line(data []byte) error {
	if err := s.put(append(data, '\n')); err != nil {
		return err
	}
	return s.flush()
}

// typed sends what was typed, or the window's size, into a terminal. One that is not this session's is none.
func (c *console) typed(w http.ResponseWriter, r *http.Request) {
	in := &polderv1.ExecRequest{}
	token, err := c.decode(w, r, in)
	if err != nil {
		return
	}
	x, ok := c.terminals.find(r.PathValue("id"), token)
	if !ok || in.Start != nil {
		refuse(w, http.StatusBadRequest, errors.New("there is no such terminal: its command has ended, or somebody else opened it"))
		return
	}
	x.mu.Lock()
	err = x.send(in)
	x.mu.Unlock()
	if err != nil {
		refuse(w, http.StatusBadRequest, errors.New("the command has ended"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// decode reads a message of the session's and returns its token; on an error it has answered.
func (c *console) decode(w http.ResponseWriter, r *http.Request, m proto.Message) (token string, err error) {
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		http.Error(w, "send application/json", http.StatusUnsupportedMediaType)
		return "", errors.New("not JSON")
	}
	if token, err = c.token(r); err != nil {
		refuse(w, http.StatusUnauthorized, err)
		return "", err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTyped))
	if err == nil {
		err = protojson.Unmarshal(data, m)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
	}
	return token, err
}

// reasonOf is an error's sentence without its code.
func reasonOf(err error) string {
	if e := new(connect.Error); errors.As(err, &e) {
		return e.Message()
	}
	return err.Error()
}
