package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// errand says what a call to an engine is for; the server judges it.
type errand struct {
	role, verb, action string
}

// looking is for what several roles' objects are read for; what is shown of it is up to the door.
var looking = errand{verb: "view"}

// host is the host name of requests to engines; a dial never looks at it.
const host = "engine"

// conn is a connection to a node's engine through its agent.
type conn struct {
	stream  *connect.BidiStreamForClient[polderv1.EngineServiceDialRequest, polderv1.EngineServiceDialResponse]
	cancel  context.CancelFunc
	sending sync.Mutex

	receiving sync.Mutex // guards what follows
	rest      []byte
	end       error // why nothing more comes; [io.EOF] itself at the engine's own end: an answer without a length ends so, and is cut off by any other
}

// chunk is how much goes in one message.
const chunk = 32 << 10

// dial connects to the engine of a node. The connection ends with ctx.
func (d *Door) dial(ctx context.Context, node string, e errand) (*conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &conn{stream: d.api.Engines.Dial(ctx), cancel: cancel}
	start := &polderv1.EngineDial{Node: node, Role: e.role, Verb: e.verb, Action: e.action}
	if err := c.stream.Send(&polderv1.EngineServiceDialRequest{Start: start}); err != nil {
		_, said := c.stream.Receive()
		c.Close()
		return nil, errors.Join(said, ignoreEOF(err))
	}
	return c, nil
}

// ignoreEOF leaves out that a stream has ended, where its end has been asked for already.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// receive takes what comes next; the caller holds the lock.
func (c *conn) receive() {
	m, err := c.stream.Receive()
	switch {
	case errors.Is(err, io.EOF):
		c.end = io.EOF
	case err != nil:
		c.end = err
	default:
		c.rest = append(c.rest, m.Data...)
	}
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	for len(c.rest) == 0 {
		if c.end != nil {
			return 0, c.end
		}
		c.receive()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write implements [net.Conn].
func (c *conn) Write(p []byte) (int, error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	for n := 0; n < len(p); {
		part := p[n:min(len(p), n+chunk)]
		if err := c.stream.Send(&polderv1.EngineServiceDialRequest{Data: part}); err != nil {
			return n, c.why(err)
		}
		n += len(part)
	}
	return len(p), nil
}

// why is the server's reason for taking no more. Sending says only that it does not, or that the other direction has been told and has hung up.
func (c *conn) why(err error) error {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	for c.end == nil {
		c.receive()
	}
	if c.end == io.EOF {
		return err
	}
	return c.end
}

// CloseWrite says that nothing more is sent; what comes can still be read.
func (c *conn) CloseWrite() error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.stream.Send(&polderv1.EngineServiceDialRequest{CloseWrite: true})
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.cancel()
	return errors.Join(c.stream.CloseRequest(), c.stream.CloseResponse())
}

// LocalAddr implements [net.Conn].
func (c *conn) LocalAddr() net.Addr { return &net.UnixAddr{Name: host, Net: "unix"} }

// RemoteAddr implements [net.Conn].
func (c *conn) RemoteAddr() net.Addr { return c.LocalAddr() }

// SetDeadline implements [net.Conn]; the context of the dial bounds everything.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements [net.Conn].
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// transport sends requests to the engine of a node, each on a connection of its own: who may send the next one is judged anew.
func (d *Door) transport(ctx context.Context, node string, e errand) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, WriteBufferSize: chunk, ReadBufferSize: chunk,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return d.dial(ctx, node, e) },
	}
}

// call makes one request to an engine and returns its answer, which the caller closes.
func (d *Door) call(ctx context.Context, node string, e errand, method, path string, query url.Values, body io.Reader, header http.Header) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: host, Path: "/v" + d.version(ctx) + path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Content-Type", "X-Registry-Auth", "X-Registry-Config"} {
		if v := header.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	res, err := d.transport(ctx, node, e).RoundTrip(req)
	if err != nil {
		return nil, gone(err, node)
	}
	return res, nil
}

// gone says that a node's engine could not be asked, in words for a client of the door.
func gone(err error, node string) error {
	switch connect.CodeOf(err) {
	case connect.CodePermissionDenied, connect.CodeUnauthenticated, connect.CodeNotFound, connect.CodeInvalidArgument, connect.CodeCanceled:
		return err // said by the server, or by the client
	}
	return fail(http.StatusServiceUnavailable, "the engine of node %s did not answer: %v", node, err)
}

// maxBody bounds an answer that is read as a whole.
const maxBody = 64 << 20

// ask makes one request and decodes its answer; into a [json.RawMessage] it goes as it came. An answer that is not a success is a [failure] with the engine's words.
func (d *Door) ask(ctx context.Context, node string, e errand, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	header := http.Header{}
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
		header.Set("Content-Type", "application/json")
	}
	if e == looking && path != "/system/df" { // which may take its time
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, engineTimeout)
		defer cancel()
	}
	res, err := d.call(ctx, node, e, method, path, query, body, header)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return gone(err, node)
	}
	if res.StatusCode >= 300 {
		return said(res.StatusCode, data)
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = data
		return nil
	}
	reader := json.NewDecoder(bytes.NewReader(data))
	reader.UseNumber()
	return reader.Decode(out)
}

// said is an engine's refusal.
func said(status int, body []byte) *failure {
	if status < http.StatusBadRequest { // to another path: what was asked for has a name that is none
		return fail(http.StatusBadRequest, "the engine knows no such name")
	}
	var m struct{ Message string }
	if json.Unmarshal(body, &m) != nil || m.Message == "" {
		m.Message = clip(string(body))
	}
	return &failure{status, m.Message}
}

// engine is one container engine; several nodes of one machine may share it.
type engine struct {
	id    string
	api   string // highest version it speaks
	nodes []*polderv1.EngineNode
}

// node is where the engine is asked.
func (e engine) node() string { return e.nodes[0].Name }

// nodes lists the nodes with an engine, those where the needs fit best first.
func (d *Door) nodes(ctx context.Context, need *polderv1.EngineServiceListRequest) ([]*polderv1.EngineNode, error) {
	res, err := d.api.Engines.List(ctx, connect.NewRequest(need))
	if err != nil {
		return nil, err
	}
	return res.Msg.Nodes, nil
}

// engines finds out which engines there are. Nodes that do not answer are left out: what is there is there.
func (d *Door) engines(ctx context.Context) ([]engine, error) {
	nodes, err := d.nodes(ctx, &polderv1.EngineServiceListRequest{})
	if err != nil {
		return nil, err
	}
	return d.group(ctx, nodes)
}

// group puts nodes that share an engine together, in the order of the nodes.
func (d *Door) group(ctx context.Context, nodes []*polderv1.EngineNode) ([]engine, error) {
	known := make([]engineInfo, len(nodes))
	var all errgroup.Group
	for i, n := range nodes {
		if n.State != "unreachable" {
			all.Go(func() error { known[i] = d.info(ctx, n.Name); return nil })
		}
	}
	_ = all.Wait() // none fails
	var out []engine
	at := map[string]int{}
	for i, info := range known {
		if info.ID == "" {
			continue
		}
		j, ok := at[info.ID]
		if !ok {
			j = len(out)
			at[info.ID] = j
			out = append(out, engine{id: info.ID, api: info.api})
		}
		out[j].nodes = append(out[j].nodes, nodes[i])
	}
	if len(out) == 0 {
		return nil, fail(http.StatusServiceUnavailable, "no node with a container engine answers; see polder node list")
	}
	return out, nil
}

// engineInfo is what does not change about an engine while it runs.
type engineInfo struct {
	ID, Architecture, ServerVersion string

	api string
	at  time.Time
}

const (
	infoLife   = time.Minute      // how long an engine is believed to be the same
	silentLife = 10 * time.Second // how long one that did not answer is not asked again
)

// info asks which engine a node has; empty when it does not answer.
func (d *Door) info(ctx context.Context, node string) engineInfo {
	d.mu.Lock()
	known, ok := d.infos[node]
	d.mu.Unlock()
	if age := time.Since(known.at); ok && (age < silentLife || age < infoLife && known.ID != "") {
		return known
	}
	known = engineInfo{at: time.Now()}
	var version struct{ ApiVersion string }
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if d.askRaw(ctx, node, "/info", &known) != nil || d.askRaw(ctx, node, "/version", &version) != nil {
		known = engineInfo{at: time.Now()}
	}
	known.api = version.ApiVersion
	d.mu.Lock()
	defer d.mu.Unlock()
	d.infos[node] = known
	return known
}

// silence notes that an engine did not answer. For a moment the pool is what the others have.
func (d *Door) silence(e engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range e.nodes {
		d.infos[n.Name] = engineInfo{at: time.Now()}
	}
}

// engineTimeout bounds a question that an engine answers at once.
const engineTimeout = 5 * time.Second

// askRaw reads from an engine before its version is known.
func (d *Door) askRaw(ctx context.Context, node, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return err
	}
	res, err := d.transport(ctx, node, looking).RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the engine answered %s", res.Status)
	}
	return json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(out)
}

// each asks every engine at the same time. One that does not answer is left out, as a node is that does not; one that refuses fails the
// whole, and so does it when none answers.
func (d *Door) each(ctx context.Context, engines []engine, f func(ctx context.Context, i int, e engine) error) error {
	var mu sync.Mutex
	var silent []error
	all, one := errgroup.WithContext(ctx)
	all.SetLimit(32)
	for i, e := range engines {
		all.Go(func() error {
			err := f(one, i, e)
			if one.Err() != nil || statusIn(err) != http.StatusServiceUnavailable {
				return err
			}
			d.silence(e)
			mu.Lock()
			defer mu.Unlock()
			silent = append(silent, err)
			return nil
		})
	}
	if err := all.Wait(); err != nil || len(silent) < len(engines) {
		return err
	}
	return silent[0]
}
