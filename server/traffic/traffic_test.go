package traffic

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestRate: what is older than a minute is not in the rate, and a young counter is not divided by a whole minute.
func TestRate(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	c := New("x", "", func() time.Time { return now })
	for range 20 {
		c.Answered()
	}
	now = now.Add(10 * time.Second)
	if got := c.Report().Rate; got != 2 {
		t.Errorf("20 requests in 10 s are %v a second", got)
	}
	now = now.Add(49 * time.Second)
	if got := c.Report().Rate; got < 0.3 || got > 0.34 {
		t.Errorf("20 requests in 59 s are %v a second", got)
	}
	now = now.Add(time.Hour)
	c.Answered()
	if got := c.Report(); got.Rate != 1.0/60 || got.Requests != 21 {
		t.Errorf("one request in a minute: %v", got)
	}
}

// TestRefusals: they are kept by kind, the latest first, and of too many kinds the oldest go.
func TestRefusals(t *testing.T) {
	c := New("x", "", nil)
	c.Refused("GET /a", "404", "no\x00thing\n")
	c.Refused("GET /b", "404", "")
	c.Refused("GET /a", "404", "still nothing")
	got := c.Report().Refusals
	if len(got) != 2 || got[0].Call != "GET /a" || got[0].Count != 2 || got[0].Message != "still nothing" {
		t.Errorf("%v", got)
	}
	for i := range 3 * keepKinds {
		c.Refused(fmt.Sprintf("GET /%d%s", i, strings.Repeat("é", 200)), "500", "")
	}
	if got := c.Report(); len(got.Refusals) != keepKinds || got.Refused != 3+3*keepKinds || len(got.Refusals[0].Call) > keepText {
		t.Errorf("%d kinds, %d refused", len(got.Refusals), got.Refused)
	}
}

// TestBefore: answers are counted by their status; a connection can be taken over and a stream flushed.
func TestBefore(t *testing.T) {
	c := New("x", "", nil)
	h := c.Before(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/no":
			r.URL.Path = "/changed"
			http.Error(w, "not like this", http.StatusTeapot)
		case "/taken":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
			conn.Close()
		default:
			fmt.Fprint(w, "fine")
			w.(http.Flusher).Flush()
			if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); errors.Is(err, http.ErrNotSupported) {
				t.Error(err)
			}
		}
	}))
	var calls sync.WaitGroup // a connection that was taken over is not the server's to wait for
	calls.Add(3)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer calls.Done()
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	for path, want := range map[string]string{"/yes": "fine", "/no": "not like this\n", "/taken": "hi"} {
		res, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != want {
			t.Errorf("%s: %q", path, body)
		}
	}
	calls.Wait()
	got := c.Report()
	if got.Requests != 3 || got.Refused != 1 || got.Refusals[0].Call != "GET /no" || got.Refusals[0].Status != "418" || got.Refusals[0].Message != "not like this" {
		t.Errorf("%v", got)
	}
}

// TestBook: doors are listed in their order, frameworks of all doors together.
func TestBook(t *testing.T) {
	var b Book
	b.Add(New("one", "a:1", nil))
	b.Add(New("two", "", nil))
	for _, role := range []string{"corp", "lab"} {
		b.Offers(func(may func(string) bool) (f []*polderv1.Framework, o []*polderv1.Offer) {
			if may(role) {
				f = append(f, &polderv1.Framework{Id: role})
			}
			return f, append(o, &polderv1.Offer{Id: role})
		})
	}
	if d := b.Doors(time.Now()); len(d) != 2 || d[0].Name != "one" || d[0].Address != "a:1" {
		t.Error(d)
	}
	if f, o := b.Frameworks(func(r string) bool { return r == "lab" }); len(f) != 1 || f[0].Id != "lab" || len(o) != 2 {
		t.Error(f, o)
	}
}

// TestReports: a door that is a program of its own is shown while it reports itself, then as away, and at last forgotten; until
// then, and again after it, the book says why it is off.
func TestReports(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	var b Book
	b.Add(New("mesos", "127.0.0.1:5050", nil))
	b.Closed("kubernetes", "Nobody opened it.")
	show := func() (out []string) {
		for _, d := range b.Doors(now) {
			out = append(out, d.Name+" "+d.State+" "+d.Off)
		}
		return out
	}
	shows := func(want ...string) {
		t.Helper()
		if got := show(); !slices.Equal(got, want) {
			t.Errorf("at %v: %q, want %q", now, got, want)
		}
	}
	shows("mesos on ", "kubernetes off Nobody opened it.")
	long := &polderv1.Door{Name: "kubernetes", State: "evil", Off: "evil", Address: "a\x00b", Requests: 3, Refused: 2, Rate: 1}
	for range 3 * keepKinds {
		long.Refusals = append(long.Refusals, &polderv1.RefusedCall{Call: strings.Repeat("x", 1000)})
	}
	for range 2 {
		if err := b.Heard(long, now); err != nil {
			t.Fatal(err)
		}
	}
	shows("mesos on ", "kubernetes on ")
	if d := b.Doors(now)[1]; d.Address != "a b" || len(d.Refusals) != keepKinds || len(d.Refusals[0].Call) != keepText {
		t.Errorf("a report is not bounded: %v", d)
	}
	now = now.Add(awayAfter + 1)
	shows("mesos on ", "kubernetes away ")
	now = now.Add(forgetAfter)
	if err := b.Heard(&polderv1.Door{Name: "other"}, now); err != nil {
		t.Fatal(err)
	}
	shows("mesos on ", "other on ", "kubernetes off Nobody opened it.")
}

// TestFalseReports: what cannot be is refused, and so are more doors than there is room for.
func TestFalseReports(t *testing.T) {
	var b Book
	b.Add(New("mesos", "", nil))
	for name, d := range map[string]*polderv1.Door{
		"nothing": nil, "no name": {}, "evil": {Name: "<b>"}, "native": {Name: "native"}, "one of the server's": {Name: "mesos"},
		"less than nothing": {Name: "x", Requests: -1}, "more refused than asked": {Name: "x", Requests: 1, Refused: 2}, "no number": {Name: "x", Rate: math.NaN()},
	} {
		if err := b.Heard(d, time.Now()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for i := range keepHeard {
		if err := b.Heard(&polderv1.Door{Name: fmt.Sprint("door-", i)}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Heard(&polderv1.Door{Name: "one-more"}, time.Now()); err == nil {
		t.Error("there is no bound")
	}
}
