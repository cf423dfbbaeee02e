package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/client-go/rest"
)

// inside is the way of this process's own components to the API server: its handlers, called without a connection. Who calls is known, as
// nobody else has the value; what they may do is asked, admitted and written down as for everybody.
type inside struct {
	handler atomic.Pointer[http.Handler]
}

// open has the way lead to the handlers of the API server, once they are made.
func (i *inside) open(c *genericserver.Config) {
	build := c.BuildHandlerChainFunc
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericserver.Config) http.Handler {
		h := chain(api, c)
		i.handler.Store(&h)
		return build(api, c)
	}
}

// chain is the part of the API server's chain of filters that is not about connections, strangers or overload: who gets here is of this
// process and limits the rate of calls itself.
func chain(h http.Handler, c *genericserver.Config) http.Handler {
	h = filters.WithAuthorization(h, c.Authorization.Authorizer, c.Serializer)
	h = filters.WithAudit(h, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc)
	h = filters.WithWarningRecorder(h)
	h = filters.WithRequestDeadline(h, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	h = genericfilters.WithWaitGroup(h, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	h = filters.WithRequestInfo(h, c.RequestInfoResolver)
	h = filters.WithRequestReceivedTimestamp(h)
	h = genericfilters.WithPanicRecovery(h, c.RequestInfoResolver)
	return filters.WithAuditInit(h)
}

// lead has a client go this way, as somebody. Its address and keys stay what they are, for what needs a connection.
func (i *inside) lead(c *rest.Config, name string, groups ...string) {
	who := &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
	c.WrapTransport = func(http.RoundTripper) http.RoundTripper { return &caller{i, who} }
}

// caller is a component that calls.
type caller struct {
	way *inside
	who user.Info
}

var errClosed = errors.New("the API server has not started yet")

// RoundTrip implements [http.RoundTripper]. A watch has a goroutine of its own, which ends with the request's context or its body; anything
// else is answered in the caller's.
func (c *caller) RoundTrip(out *http.Request) (*http.Response, error) {
	if out.Body != nil {
		defer out.Body.Close()
	}
	h := c.way.handler.Load()
	switch {
	case h == nil:
		return nil, errClosed
	case impersonates(out.Header):
		return nil, errors.New("a component of the control plane calls as itself: Impersonate-User is refused")
	}
	ctx, cancel := context.WithCancel(request.WithUser(out.Context(), c.who))
	in := asServed(ctx, out)
	if !streams(in) {
		defer cancel()
		a := newAnswer(out, nil)
		if err := call(*h, a, in); err != nil {
			return nil, err
		}
		return a.whole(), nil
	}
	a := newAnswer(out, newStream(cancel))
	context.AfterFunc(ctx, func() { a.stream.end(ctx.Err()) }) // nobody may read any more, or close it
	go func() {
		defer cancel()
		a.end(call(*h, a, in))
	}()
	select {
	case r := <-a.begun:
		return r, nil
	case <-out.Context().Done():
		cancel()
		return nil, out.Context().Err()
	}
}

// asServed is a request as a server sees it.
func asServed(ctx context.Context, out *http.Request) *http.Request {
	in := out.WithContext(ctx)
	in.Header, in.RequestURI = out.Header.Clone(), out.URL.RequestURI()
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	if in.Host == "" {
		in.Host = out.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

func impersonates(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "Impersonate-") {
			return true
		}
	}
	return false
}

// streams reports whether an answer has no end.
func streams(r *http.Request) bool {
	q := r.URL.Query()
	return q.Has("watch") || q.Has("follow")
}

// call calls a handler, and makes an answer that it gives up an error.
func call(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the API server gave up on %s %s: %v: %w", r.Method, r.URL.Path, p, io.ErrUnexpectedEOF)
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}
