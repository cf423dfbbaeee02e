package traffic

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

const (
	window    = 60  // seconds the rate is taken over
	keepKinds = 50  // kinds of refused calls
	keepText  = 200 // bytes of a call and of an answer
)

// Counter counts the requests of one door.
type Counter struct {
	name, address string
	now           func() time.Time
	since         time.Time

	mu                sync.Mutex // guards what follows
	requests, refused int64
	seconds           [window]int64 // requests by second, modulo the window
	at                int64         // the second counted last
	kinds             []refusal     // the latest last
}

// refusal is one kind of refused call.
type refusal struct {
	call, status, message string
	count                 int64
	last                  time.Time
}

// New counts for a door with a name that listens on an address. A nil clock is [time.Now].
func New(name, address string, now func() time.Time) *Counter {
	if now == nil {
		now = time.Now
	}
	return &Counter{name: name, address: address, now: now, since: now(), at: now().Unix()}
}

// Answered counts one request.
func (c *Counter) Answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now().Unix()
	c.pass(now)
	c.requests++
	c.seconds[now%window]++
}

// Refused counts one request that was refused, with what was called, the status, and the beginning of the answer.
func (c *Counter) Refused(call, status, message string) {
	c.Answered()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused++
	r := refusal{call: tidy(call), status: tidy(status)}
	if i := slices.IndexFunc(c.kinds, func(k refusal) bool { return k.call == r.call && k.status == r.status }); i >= 0 {
		r = c.kinds[i]
		c.kinds = slices.Delete(c.kinds, i, i+1)
	} else if len(c.kinds) == keepKinds {
		c.kinds = slices.Delete(c.kinds, 0, 1)
	}
	r.count, r.last, r.message = r.count+1, c.now(), tidy(message)
	c.kinds = append(c.kinds, r)
}

// pass empties the seconds that have passed since the last request. The mutex is held.
func (c *Counter) pass(now int64) {
	for s := max(c.at+1, now-window+1); s <= now; s++ {
		c.seconds[s%window] = 0
	}
	c.at = max(c.at, now)
}

// Report is the counter now.
func (c *Counter) Report() *polderv1.Door {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.pass(now.Unix())
	var recent int64
	for _, n := range c.seconds {
		recent += n
	}
	out := &polderv1.Door{
		Name: c.name, Address: c.address, State: On, Since: timestamppb.New(c.since), Requests: c.requests, Refused: c.refused,
		Rate: float64(recent) / min(window, max(1, now.Sub(c.since).Seconds())),
	}
	for _, k := range slices.Backward(c.kinds) {
		out.Refusals = append(out.Refusals, &polderv1.RefusedCall{Call: k.call, Status: k.status, Count: k.count, Last: timestamppb.New(k.last), Message: k.message})
	}
	return out
}

// tidy is the beginning of a text that comes from anybody, on one line and valid.
func tidy(s string) string {
	s = s[:min(len(s), keepText)]
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(s)
}

// Before counts the requests of a handler. Status 400 and above is a refusal.
func (c *Counter) Before(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + r.URL.Path // a handler may change it
		a := &answer{ResponseWriter: w}
		defer func() {
			if a.status >= 400 {
				c.Refused(call, strconv.Itoa(a.status), string(a.begins))
			} else {
				c.Answered()
			}
		}()
		h.ServeHTTP(a, r)
	})
}

// answer notes how a request was answered. Streams and connections that are taken over pass through it.
type answer struct {
	http.ResponseWriter
	status int
	begins []byte // of a refusal
}

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if a.status < 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(data []byte) (int, error) {
	if a.status >= 400 && len(a.begins) < keepText {
		a.begins = append(a.begins, data[:min(len(data), keepText-len(a.begins))]...)
	}
	return a.ResponseWriter.Write(data)
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush implements [http.Flusher].
func (a *answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() } // as a flusher, it cannot say that it cannot

// Hijack implements [http.Hijacker].
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(a.ResponseWriter).Hijack()
}
