package controlplane

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// clientOf is a client that goes inside to a handler, as somebody.
func clientOf(t *testing.T, h http.HandlerFunc) *http.Client {
	t.Helper()
	i := &inside{}
	if h != nil {
		var handler http.Handler = h
		i.handler.Store(&handler)
	}
	c := &rest.Config{Host: "https://127.0.0.1:1"}
	i.lead(c, "somebody", "some")
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestInsideKnowsWhoCalls: the handler sees the request as a server does, with the caller in its context and not in its headers, and the
// caller gets what was written.
func TestInsideKnowsWhoCalls(t *testing.T) {
	client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		who, _ := request.UserFrom(r.Context())
		body, _ := io.ReadAll(r.Body)
		if who.GetName() != "somebody" || strings.Join(who.GetGroups(), " ") != "some "+user.AllAuthenticated {
			t.Errorf("called by %v", who)
		}
		if r.RequestURI != "/api/v1/pods?limit=2" || r.Host != "127.0.0.1:1" || string(body) != "a pod" {
			t.Errorf("%s at %s with %q", r.RequestURI, r.Host, body)
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusCreated)
		w.(http.Flusher).Flush() // changes nothing where the answer is one
		_, _ = io.WriteString(w, "made")
	})
	r, err := client.Post("https://127.0.0.1:1/api/v1/pods?limit=2", "text/plain", strings.NewReader("a pod"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != "made" || r.StatusCode != http.StatusCreated || r.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("%v %v %q, %v", r.Status, r.Header, body, err)
	}
}

// TestInsideRefuses what it cannot do: there is nobody yet, another's name, and a handler that gives up.
func TestInsideRefuses(t *testing.T) {
	if _, err := clientOf(t, nil).Get("https://127.0.0.1:1/readyz"); !errors.Is(err, errClosed) {
		t.Errorf("before the start: %v", err)
	}
	client := clientOf(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, path := range []string{"/api/v1/pods", "/api/v1/pods?watch=true"} {
		r, err := client.Get("https://127.0.0.1:1" + path)
		if err == nil {
			_, err = io.ReadAll(r.Body)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s, given up: %v", path, err)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:1/api/v1/pods", nil)
	req.Header.Set("Impersonate-User", "root")
	if _, err := client.Do(req); err == nil || !strings.Contains(err.Error(), "Impersonate-User is refused") {
		t.Errorf("as somebody else: %v", err)
	}
}

// TestInsideWatches: what is flushed is read while the handler goes on, and both sides can end it.
func TestInsideWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next, ended := make(chan string), make(chan error, 1)
		client := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			for {
				select {
				case text, more := <-next:
					if !more {
						return
					}
					if _, err := io.WriteString(w, text); err != nil {
						t.Error(err)
					}
				case <-r.Context().Done():
					ended <- r.Context().Err()
					return
				}
			}
		})
		const path = "https://127.0.0.1:1/api/v1/pods?watch=true"
		r, err := client.Get(path)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatal(r, err)
		}
		b := make([]byte, 16)
		for _, text := range []string{"one", "two"} {
			next <- text
			if n, err := r.Body.Read(b); err != nil || string(b[:n]) != text {
				t.Errorf("%q, %v, not %q", b[:n], err, text)
			}
		}
		close(next)
		if n, err := r.Body.Read(b); n != 0 || err != io.EOF {
			t.Errorf("after its end: %d, %v", n, err)
		}
		next = make(chan string)
		if r, err = client.Get(path); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("its reader closed it: %v", err)
		}
	})
}

// TestStreamWaitsForItsReader when much has not been read, and is bounded by that.
func TestStreamWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(func() {})
		written := make(chan error, 1)
		go func() {
			for range 3 {
				if _, err := s.write(make([]byte, mostUnread)); err != nil {
					written <- err
				}
			}
			s.end(nil)
			written <- nil
		}()
		synctest.Wait()
		if len(written) > 0 || s.unread.Len() != 2*mostUnread {
			t.Errorf("%d bytes unread, %d writers done", s.unread.Len(), len(written))
		}
		if n, err := io.Copy(io.Discard, s); n != 3*mostUnread || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		_ = s.Close()
		if _, err := s.write([]byte("x")); err == nil {
			t.Error("written after the end")
		}
	})
}

// TestInsideIsAuthorized: who calls from inside may do what the API server's rules allow, and no more.
func TestInsideIsAuthorized(t *testing.T) {
	c := genericserver.NewConfig(scheme.Codecs)
	c.RequestInfoResolver = genericserver.NewRequestInfoResolver(c)
	c.Authorization.Authorizer = authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser().GetName() == "somebody" && a.GetVerb() == "list" && a.GetResource() == "pods" {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
	client := clientOf(t, chain(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), c).ServeHTTP)
	for path, want := range map[string]int{"pods": http.StatusOK, "secrets": http.StatusForbidden} {
		r, err := client.Get("https://127.0.0.1:1/api/v1/" + path)
		if err != nil || r.StatusCode != want {
			t.Errorf("%s: %v, %v", path, r, err)
		}
	}
}
