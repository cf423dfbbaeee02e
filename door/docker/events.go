package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// event is one event of an engine, or of the pool in the same form.
type event struct {
	thing
	at int64 // nanoseconds
}

// events is docker events over the whole pool: what was, in order of time, then what happens, as it comes. Engines' clocks
// decide about the order of what was.
func (d *Door) events(q *request) error {
	query := q.URL.Query()
	filters, err := filtersOf(query)
	if err != nil {
		return err
	}
	since, until, err := span(query)
	if err != nil {
		return err
	}
	engines, err := d.engines(q.Context())
	if err != nil {
		return err
	}
	s := &eventStream{d: d, q: q, filters: filters, mayView: d.viewer(q.Context()), engines: engines, owners: owners{d: d}}
	if types := filters["type"]; len(types) == 0 || slices.Contains(types, "network") || slices.Contains(types, "volume") {
		s.owners.learn(q.Context()) // so that the end of what is there now has an owner
	}
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(q.w).Flush() // the client is gone if this fails
	now := time.Now()
	if !since.IsZero() {
		last := now
		if !until.IsZero() && until.Before(now) {
			last = until
		}
		if err := s.past(since, last); err != nil {
			return nil // the answer has begun; it ends here
		}
	}
	if !until.IsZero() && until.Before(now) {
		return nil
	}
	s.live(now, until)
	return nil
}

// span reads since and until: seconds, with a fraction perhaps.
func span(q url.Values) (since, until time.Time, err error) {
	for name, to := range map[string]*time.Time{"since": &since, "until": &until} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		whole, fraction, _ := strings.Cut(text, ".")
		sec, err := strconv.ParseInt(whole, 10, 64)
		nano, err2 := strconv.ParseInt(cmp.Or((fraction + "000000000")[:9], "0"), 10, 64)
		if err != nil || err2 != nil {
			return since, until, fail(http.StatusBadRequest, "%s: %q is not a time in seconds", name, clip(text))
		}
		*to = time.Unix(sec, nano)
	}
	return since, until, nil
}

// eventStream is one client's.
type eventStream struct {
	d       *Door
	q       *request
	filters map[string][]string
	mayView func(string) bool
	engines []engine

	owners owners

	mu sync.Mutex // guards writing, and mayView
}

// query is what engines are asked; containers are chosen by the door.
func (s *eventStream) query(since, until time.Time) url.Values {
	pass := map[string][]string{}
	for name, values := range s.filters {
		if name != "container" && name != "node" {
			pass[name] = values
		}
	}
	q := url.Values{"filters": {encode(pass)}}
	stamp := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixNano())/1e9, 'f', 9, 64) }
	if !since.IsZero() {
		q.Set("since", stamp(since))
	}
	if !until.IsZero() {
		q.Set("until", stamp(until))
	}
	return q
}

// past sends what all engines remember, in order of time.
func (s *eventStream) past(since, until time.Time) error {
	var mu sync.Mutex
	var all []event
	err := s.d.each(s.q.Context(), s.engines, func(ctx context.Context, _ int, e engine) error {
		return s.read(ctx, e, s.query(since, until), func(ev event) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, ev)
		})
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, ev := range all {
		s.send(ev)
	}
	return nil
}

// live sends what happens until then, or until the client is gone.
func (s *eventStream) live(since, until time.Time) {
	ctx, cancel := context.WithCancel(s.q.Context())
	defer cancel()
	if !until.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	var all sync.WaitGroup
	for _, e := range s.engines {
		all.Go(func() {
			for ctx.Err() == nil {
				_ = s.read(ctx, e, s.query(since, time.Time{}), s.send) // an engine that stops is asked again
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	all.Go(func() { s.reclaims(ctx) })
	all.Wait()
}

// read gives every event of an engine that concerns the client to each.
func (s *eventStream) read(ctx context.Context, e engine, query url.Values, each func(event)) error {
	res, err := s.d.call(ctx, e.node(), looking, http.MethodGet, "/events", query, nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	reader := json.NewDecoder(res.Body)
	reader.UseNumber()
	for {
		var m thing
		if err := reader.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if s.concerns(m, e) {
			at, _ := number(m, "timeNano")
			each(event{m, at})
		}
	}
}

// concerns reports whether the client may and wants to see an event, and puts the door's words into it.
func (s *eventStream) concerns(m thing, e engine) bool {
	actor := under(m, "Actor")
	about := under(actor, "Attributes")
	role := text(about, runtime.LabelRole)
	switch text(m, "Type") {
	case "container":
		id, node := text(about, runtime.LabelContainer), text(about, runtime.LabelAgent)
		if id == "" || !has(e, node) {
			return false
		}
		actor["ID"] = id
		if m["id"] != nil {
			m["id"] = id
		}
		for _, name := range hidden {
			delete(about, name)
		}
		about["node.name"] = node
		return s.may(role) && s.wanted(id, text(about, "name"), node)
	case "image", "builder":
		return s.wanted("", "", e.names()...)
	case "network", "volume":
		return s.concernsShared(m, e)
	}
	return false
}

// concernsShared is concerns for what containers share. Engines say neither whose it is nor the door's id of a container.
func (s *eventStream) concernsShared(m thing, e engine) bool {
	actor := under(m, "Actor")
	about := under(actor, "Attributes")
	role := s.owners.of(s.q.Context(), e, text(m, "Type"), text(actor, "ID"), text(m, "Action") == "create")
	if role == "" || !s.may(role) {
		return false
	}
	var member place
	if ref := text(about, "container"); ref != "" {
		if p, ok := s.d.byEngine(ref); ok && s.may(p.role) {
			member, about["container"] = p, p.id
		} else {
			delete(about, "container")
		}
	}
	return s.wanted(member.id, member.name, e.names()...)
}

func (s *eventStream) may(role string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayView(role)
}

// wanted applies the filters that are the door's to what happens to a container, if to any, on one of some nodes.
func (s *eventStream) wanted(id, name string, nodes ...string) bool {
	for key, match := range map[string]func(string) bool{
		"container": func(v string) bool {
			return id != "" && (strings.HasPrefix(id, v) || name == strings.TrimPrefix(v, "/"))
		},
		"node": func(v string) bool { return slices.Contains(nodes, v) },
	} {
		if values := s.filters[key]; len(values) > 0 && !slices.ContainsFunc(values, match) {
			return false
		}
	}
	return true
}

func (s *eventStream) send(ev event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = flushing{s.q.w}.Write([]byte(encode(ev.thing) + "\n")) // the client is gone if this fails
}

// reclaims sends an event for every notice to a container, and for what becomes of it.
func (s *eventStream) reclaims(ctx context.Context) {
	stream, err := s.d.api.Notices.Watch(ctx, connect.NewRequest(&polderv1.NoticeServiceWatchRequest{}))
	if err != nil {
		return
	}
	defer stream.Close()
	for stream.Receive() {
		n := stream.Msg().Notice
		res, err := s.d.api.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: n.GetTask()}))
		if err != nil || res.Msg.Task.Container == "" {
			continue
		}
		p, err := s.d.lookup(ctx, res.Msg.Task.Container)
		if err == nil && s.wanted(p.id, p.name, res.Msg.Task.Node) && s.wantsReclaim() {
			s.send(reclaim(n, p, res.Msg.Task))
		}
	}
}

// wantsReclaim applies the filters that engines apply to their own events.
func (s *eventStream) wantsReclaim() bool {
	for key, word := range map[string]string{"type": "container", "event": "reclaim"} {
		if values := s.filters[key]; len(values) > 0 && !slices.Contains(values, word) {
			return false
		}
	}
	return len(s.filters["image"])+len(s.filters["network"])+len(s.filters["volume"])+len(s.filters["label"]) == 0
}

// reclaim is a notice as an event.
func reclaim(n *polderv1.Notice, p place, t *polderv1.Task) event {
	now := time.Now()
	about := thing{
		"name": p.name, "image": t.Labels["image"], "node.name": t.Node, runtime.LabelRole: p.role, "claimant": n.Claimant, "amount": amounts(n.Amount),
		"deadline": n.Deadline.AsTime().UTC().Format(time.RFC3339), "state": n.State, "kind": n.Kind,
	}
	return event{thing{
		"Type": "container", "Action": "reclaim", "status": "reclaim", "id": p.id, "Actor": thing{"ID": p.id, "Attributes": about},
		"scope": "local", "time": now.Unix(), "timeNano": now.UnixNano(),
	}, now.UnixNano()}
}
