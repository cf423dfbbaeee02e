package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
)

const (
	// liveQueue is how many messages of a stream wait here while the browser takes one. The rest waits in the server's log of
	// changes, which says what is too much.
	liveQueue = 64
	// liveStall is how long a browser may take nothing.
	liveStall = 30 * time.Second
	// liveBeat is how often a silent stream says that it is alive.
	liveBeat = 15 * time.Second
	// rolesEvery is how often roles are looked at; they change as a whole.
	rolesEvery = time.Second
)

// message is one server-sent event.
type message struct {
	event string // empty is a change
	id    string // the revision to go on after; empty when the stream cannot be resumed
	data  []byte
}

// topic reads one kind of change until it ends and sends each on. It returns why it ended.
type topic func(ctx context.Context, api *door.API, r *http.Request, send func(message) error) error

var topics = map[string]topic{
	"events": func(ctx context.Context, api *door.API, r *http.Request, send func(message) error) error {
		stream, err := api.Events.Watch(ctx, connect.NewRequest(&polderv1.EventServiceWatchRequest{Role: r.FormValue("role"), FromRevision: from(r)}))
		return pass(stream, err, send, func(e *polderv1.Event) (int64, proto.Message) { return e.Revision, e })
	},
	"notices": func(ctx context.Context, api *door.API, r *http.Request, send func(message) error) error {
		stream, err := api.Notices.Watch(ctx, connect.NewRequest(&polderv1.NoticeServiceWatchRequest{Role: r.FormValue("role"), FromRevision: from(r)}))
		return pass(stream, err, send, func(n *polderv1.NoticeServiceWatchResponse) (int64, proto.Message) { return n.Revision, n.Notice })
	},
	"nodes": func(ctx context.Context, api *door.API, r *http.Request, send func(message) error) error {
		stream, err := api.Claims.Watch(ctx, connect.NewRequest(&polderv1.ClaimServiceWatchRequest{FromRevision: from(r)}))
		return pass(stream, err, send, func(n *polderv1.ClaimServiceWatchResponse) (int64, proto.Message) { return n.Revision, n })
	},
	"logs": func(ctx context.Context, api *door.API, r *http.Request, send func(message) error) error {
		stream, err := api.Tasks.Logs(ctx, connect.NewRequest(&polderv1.LogsRequest{Task: r.FormValue("task"), Follow: true, Tail: 1000}))
		return pass(stream, err, send, func(l *polderv1.LogsResponse) (int64, proto.Message) { return 0, l })
	},
	"roles": roles,
}

// from is the revision to go on after: what the browser saw last, or what the page read.
func from(r *http.Request) int64 {
	for _, text := range []string{r.Header.Get("Last-Event-ID"), r.FormValue("from")} {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

// pass sends on what a stream of the API brings.
func pass[M any](stream *connect.ServerStreamForClient[M], err error, send func(message) error, of func(*M) (int64, proto.Message)) error {
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		revision, m := of(stream.Msg())
		data, err := protojson.Marshal(m)
		if err != nil {
			return err
		}
		out := message{data: data}
		if revision > 0 {
			out.id = strconv.FormatInt(revision, 10)
		}
		if err := send(out); err != nil {
			return err
		}
	}
	return stream.Err()
}

// roles sends every role, then those that changed. Roles have no revision of their own, so a new stream starts afresh.
func roles(ctx context.Context, api *door.API, _ *http.Request, send func(message) error) error {
	known := map[string][]byte{}
	tick := time.NewTicker(rolesEvery)
	defer tick.Stop()
	last := int64(-1)
	for {
		all, revision, err := listRoles(ctx, api)
		if err != nil {
			return err
		}
		if revision != last {
			last = revision
			m, err := changedRoles(known, all)
			if err != nil {
				return err
			}
			if len(m) > 0 {
				if err := send(message{data: m}); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func listRoles(ctx context.Context, api *door.API) (all []*polderv1.RoleStatus, revision int64, err error) {
	for token := ""; ; {
		res, err := api.Roles.List(ctx, connect.NewRequest(&polderv1.RoleServiceListRequest{PageSize: 1000, PageToken: token}))
		if err != nil {
			return nil, 0, err
		}
		if token == "" {
			revision = res.Msg.Revision
		}
		all = append(all, res.Msg.Roles...)
		if token = res.Msg.NextPageToken; token == "" {
			return all, revision, nil
		}
	}
}

// changedRoles is {"roles": [...], "gone": [...]} with what is different from what is known, which it brings up to date;
// empty when nothing is.
func changedRoles(known map[string][]byte, all []*polderv1.RoleStatus) ([]byte, error) {
	var changed, gone [][]byte
	present := map[string]bool{}
	for _, r := range all {
		path := r.GetEffective().GetPath()
		present[path] = true
		data, err := protojson.Marshal(r)
		if err != nil {
			return nil, err
		}
		// protojson varies its spaces from build to build, not within one.
		if !bytes.Equal(known[path], data) {
			known[path], changed = data, append(changed, data)
		}
	}
	for path := range known {
		if !present[path] {
			delete(known, path)
			gone = append(gone, quoteJSON(path))
		}
	}
	if len(changed) == 0 && len(gone) == 0 {
		return nil, nil
	}
	return fmt.Appendf(nil, `{"roles":[%s],"gone":[%s]}`, bytes.Join(changed, []byte(",")), bytes.Join(gone, []byte(","))), nil
}

// live serves one stream.
func (c *console) live(w http.ResponseWriter, r *http.Request) {
	read, ok := topics[r.PathValue("topic")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	out := &stream{w: w, control: http.NewResponseController(w)}
	token, err := c.token(r)
	if err != nil {
		_ = out.end(connect.NewError(connect.CodeUnauthenticated, err)) // the browser is gone if this fails
		return
	}
	ctx, cancel := context.WithCancel(door.As(r.Context(), door.Bearer(token, r.RemoteAddr)))
	queue := make(chan message, liveQueue)
	var reading sync.WaitGroup
	var why error
	reading.Go(func() {
		defer close(queue)
		why = read(ctx, c.api, r, func(m message) error {
			select {
			case queue <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	sent := out.copy(queue, c.now())
	cancel()
	reading.Wait()
	if sent == nil && r.Context().Err() == nil {
		_ = out.end(why) // the browser is gone if this fails
	}
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// copy writes what is queued until the queue is closed or the browser takes no more.
func (s *stream) copy(queue <-chan message, now time.Time) error {
	beat := time.NewTicker(liveBeat)
	defer beat.Stop()
	opening := message{event: "open", data: fmt.Appendf(nil, `{"now":%q}`, now.UTC().Format(time.RFC3339Nano))}
	if err := s.write(opening); err != nil {
		return err
	}
	for {
		if err := s.flush(); err != nil {
			return err
		}
		select {
		case m, ok := <-queue:
			if !ok {
				return nil
			}
			if err := s.write(m); err != nil {
				return err
			}
			for range len(queue) { // what is here already goes out together
				if m, ok = <-queue; !ok {
					return s.flush()
				}
				if err := s.write(m); err != nil {
					return err
				}
			}
		case <-beat.C:
			if err := s.put([]byte(": alive\n\n")); err != nil {
				return err
			}
		}
	}
}

func (s *stream) write(m message) error {
	var b bytes.Buffer
	if m.id != "" {
		fmt.Fprintf(&b, "id: %s\n", m.id)
	}
	if m.event != "" {
		fmt.Fprintf(&b, "event: %s\n", m.event)
	}
	fmt.Fprintf(&b, "data: %s\n\n", m.data) // protojson writes no line breaks
	return s.put(b.Bytes())
}

// put bounds the time the browser may take for what is sent, not the time in which there is nothing to send. A connection that
// knows no deadlines is left alone.
func (s *stream) put(data []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(liveStall))
	_, err := s.w.Write(data)
	return err
}

func (s *stream) flush() error {
	err := s.control.Flush()
	_ = s.control.SetWriteDeadline(time.Time{})
	return err
}

// end says why a stream ended: the session, the right to it, or changes that are no longer kept.
func (s *stream) end(why error) error {
	event := "trouble"
	switch connect.CodeOf(why) {
	case connect.CodeUnauthenticated:
		event = "login"
	case connect.CodeOutOfRange:
		event = "resync"
	case connect.CodePermissionDenied:
		event = "denied"
	}
	message, text := message{event: event}, ""
	if e := new(connect.Error); errors.As(why, &e) {
		text = e.Message()
	}
	message.data = fmt.Appendf(nil, `{"message":%s}`, quoteJSON(text))
	if why == nil {
		message.event, message.data = "end", []byte("{}")
	}
	if err := s.write(message); err != nil {
		return err
	}
	return s.flush()
}

func quoteJSON(s string) []byte {
	data, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // never: a string can always be written
	}
	return data
}
