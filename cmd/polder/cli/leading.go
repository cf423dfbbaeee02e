package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// askLeader bounds the question to one server whether it leads: one that is gone must not hold up the others' answer.
	askLeader = 5 * time.Second
	// leaderPath is answered 200 by the server that leads, by every other with 503.
	leaderPath = "/leader"
)

// leading sends every request to the one of several servers of a cluster that leads. It asks them all at the first request, and
// again after one that could not be sent. A request that was sent is never repeated: whoever made it knows whether that does harm.
// Safe for concurrent use.
type leading struct {
	next  http.RoundTripper
	hosts []string // host:port, in the order given

	mu   sync.Mutex
	host string // who leads, as far as we know; empty when nobody was asked
}

func (l *leading) RoundTrip(req *http.Request) (*http.Response, error) {
	host, err := l.leader(req.Context())
	if err != nil {
		return nil, err
	}
	sent := req.Clone(req.Context())
	sent.URL.Host, sent.Host = host, ""
	res, err := l.next.RoundTrip(sent)
	if err != nil || res.StatusCode == http.StatusServiceUnavailable {
		l.forget(host)
	}
	return res, err
}

// leader is who leads. Callers at the same time wait for one question.
func (l *leading) leader(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.host != "" {
		return l.host, nil
	}
	host, err := l.askAll(ctx)
	l.host = host
	return host, err
}

func (l *leading) forget(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.host == host {
		l.host = ""
	}
}

// askAll asks every server at once and returns the first that says it leads.
func (l *leading) askAll(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askLeader)
	defer cancel()
	answers := make([]error, len(l.hosts))
	leads := make(chan string, len(l.hosts))
	var asked sync.WaitGroup
	for i, host := range l.hosts {
		asked.Go(func() {
			if answers[i] = l.ask(ctx, host); answers[i] == nil {
				leads <- host
				cancel() // nobody else does
			}
		})
	}
	asked.Wait()
	select {
	case host := <-leads:
		return host, nil
	default:
		return "", l.nobody(answers)
	}
}

// errFollows is the answer of a server that does not lead.
var errFollows = errors.New("does not lead")

func (l *leading) ask(ctx context.Context, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+leaderPath, nil)
	if err != nil {
		return err
	}
	res, err := l.next.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<10)) // so that the connection can be used again
	switch res.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusServiceUnavailable:
		return errFollows
	}
	return fmt.Errorf("answered %s", res.Status)
}

// nobody says what each server answered.
func (l *leading) nobody(answers []error) error {
	said := make([]string, len(answers))
	for i, err := range answers {
		said[i] = l.hosts[i] + ": " + strings.TrimSuffix(err.Error(), ".")
	}
	return fail(exitError, "A new leader is chosen within half a minute of the old one's end; try again, and look at the servers' logs if it stays.",
		"none of the %d servers leads (%s)", len(l.hosts), strings.Join(said, "; "))
}
