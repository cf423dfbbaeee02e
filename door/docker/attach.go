package docker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
)

// attach joins the client with a container's streams. A client attaches before it starts: when the start makes the container anew
// on another node, the client is joined with that one.
func (d *Door) attach(q *request) error {
	ctx := q.Context()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	if c, err := d.inspected(ctx, p); err != nil || c.State.Status != "created" {
		return forward("exec", "attach to")(d, q)
	}
	if q.ContentLength > maxCreate {
		return fail(http.StatusRequestEntityTooLarge, "want a body of at most %d bytes", maxCreate)
	}
	if q.ContentLength > 0 { // dockerode says the parameters again in a body, which is not for the container
		_, _ = io.CopyN(io.Discard, q.Body, q.ContentLength) // a client that is gone is found out soon enough
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the request's ends when the connection is taken over
	defer cancel()
	a := &attachment{d: d, query: q.URL.Query(), place: p}
	head, err := a.join(ctx, a.query)
	if err != nil {
		return err
	}
	if head.StatusCode != http.StatusSwitchingProtocols && head.StatusCode != http.StatusOK {
		defer head.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(head.Body, maxAnswer)) // what is read of it is said
		return said(head.StatusCode, body)
	}
	return a.serve(ctx, cancel, q.w, head)
}

// attachment is one client's.
type attachment struct {
	d     *Door
	query url.Values
	place place

	mu     sync.Mutex // guards what follows
	engine *conn
	out    *bufio.Reader
	typed  bytes.Buffer // what the client has sent, for a container that is made anew
	ended  bool         // the client sends nothing more
}

// maxTyped bounds what is remembered of a client's input until the container has said something.
const maxTyped = 1 << 20

// rejoin connects to the container that was made anew. It may be through already, which an attached stream would not tell: its
// output comes from its log, and only its input is attached.
func (a *attachment) rejoin(ctx context.Context) error {
	query := url.Values{"follow": {"1"}, "stdout": {a.query.Get("stdout")}, "stderr": {a.query.Get("stderr")}}
	e := errand{a.place.role, "exec", "attach to container " + short(a.place.id)}
	log, err := a.d.call(ctx, a.place.node, e, http.MethodGet, "/containers/"+a.place.engine+"/logs", query, nil, nil)
	if err != nil {
		return err
	}
	if log.StatusCode != http.StatusOK {
		return said(log.StatusCode, nil)
	}
	if isSet(a.query, "stdin") {
		if _, err := a.join(ctx, url.Values{"stdin": {"1"}, "stream": {"1"}}); err != nil {
			return err
		}
	}
	a.out = bufio.NewReader(log.Body)
	return nil
}

// join connects to the container where it is.
func (a *attachment) join(ctx context.Context, query url.Values) (*http.Response, error) {
	c, err := a.d.dial(ctx, a.place.node, errand{a.place.role, "exec", "attach to container " + short(a.place.id)})
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "http", Host: host, Path: "/v" + a.d.version(ctx) + "/containers/" + a.place.engine + "/attach", RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(c); err != nil {
		c.Close()
		return nil, gone(err, a.place.node)
	}
	out := bufio.NewReader(c)
	head, err := http.ReadResponse(out, req)
	if err != nil {
		c.Close()
		return nil, gone(err, a.place.node)
	}
	return head, a.take(c, out)
}

// take makes a connection the one that counts, and says there again what the client has said.
func (a *attachment) take(c *conn, out *bufio.Reader) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.engine != nil {
		a.engine.Close()
	}
	a.engine, a.out = c, out
	if a.typed.Len() > 0 {
		if _, err := c.Write(a.typed.Bytes()); err != nil {
			return err
		}
	}
	if a.ended {
		return c.CloseWrite()
	}
	return nil
}

// serve takes the client's connection over and carries both directions until the container has said everything.
func (a *attachment) serve(ctx context.Context, cancel context.CancelFunc, w http.ResponseWriter, head *http.Response) error {
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer client.Close()
	fmt.Fprintf(client, "HTTP/1.1 %s\r\n", head.Status)
	_ = head.Header.Write(client) // the client may be gone: then reading from it fails
	_, _ = io.WriteString(client, "\r\n")
	var input sync.WaitGroup
	input.Go(func() { a.typing(buffered.Reader, cancel) })
	a.output(ctx, client)
	if half, ok := client.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the client may be gone already
	}
	client.Close() // ends the reading, too
	input.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return ignoreGone(a.engine.Close())
}

// typing passes on what the client sends. A client that is gone ends the attachment.
func (a *attachment) typing(from io.Reader, gone func()) {
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			a.send(buf[:n])
		}
		if err == io.EOF {
			a.mu.Lock()
			a.ended = true
			_ = a.engine.CloseWrite() // the engine may be through already
			a.mu.Unlock()
			return
		}
		if err != nil {
			gone()
			return
		}
	}
}

func (a *attachment) send(p []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.typed.Len()+len(p) <= maxTyped {
		a.typed.Write(p)
	}
	_, _ = a.engine.Write(p) // a container that takes no more may still say something
}

// output passes on what the container says, wherever it is.
func (a *attachment) output(ctx context.Context, client net.Conn) {
	for {
		a.mu.Lock()
		engine := a.engine
		a.mu.Unlock()
		stop := a.d.onMove(a.place.id, func() { engine.Close() })
		n, _ := io.Copy(client, a.out)
		stop()
		if n > 0 || ctx.Err() != nil {
			return
		}
		now, moved := a.d.resettled(ctx, a.place)
		if !moved {
			return
		}
		a.place = now
		if a.rejoin(ctx) != nil {
			return
		}
	}
}
