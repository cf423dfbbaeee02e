package door

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func denied(t *testing.T, err error, want connect.Code) {
	t.Helper()
	if connect.CodeOf(err) != want {
		t.Errorf("got %v, want code %v", err, want)
	}
}

// TestCallsAreTheCallers: a call has its caller's rights, and none when nobody calls.
func TestCallsAreTheCallers(t *testing.T) {
	w := servertest.Start(t, nil)
	api := Open(w.Handler, "test")
	who := func(ctx context.Context) (*connect.Response[polderv1.WhoAmIResponse], error) {
		return api.Access.WhoAmI(ctx, connect.NewRequest(&polderv1.WhoAmIRequest{}))
	}
	_, err := who(t.Context())
	denied(t, err, connect.CodeUnauthenticated)
	admin := As(t.Context(), Bearer(w.Admin, "10.0.0.1:1"))
	if r, err := who(admin); err != nil || r.Msg.Name != "admin" {
		t.Fatalf("the admin is %v, %v", r, err)
	}

	cordon := func(ctx context.Context) error {
		_, err := api.Nodes.Cordon(ctx, connect.NewRequest(&polderv1.CordonRequest{Name: "n1", Cordoned: true}))
		return err
	}
	denied(t, cordon(As(t.Context(), Caller{Identity: auth.Identity{Kind: auth.User, Name: "eve"}})), connect.CodePermissionDenied)
	denied(t, cordon(As(t.Context(), Caller{Identity: auth.Identity{Kind: auth.User, Name: "ann", Groups: []string{auth.AdminGroup}}})), connect.CodeNotFound)
	denied(t, cordon(admin), connect.CodeNotFound)
	var remotes []string
	for _, e := range w.Audit.Entries() {
		if strings.Contains(e.Object, "n1") {
			remotes = append(remotes, e.Who+" "+e.Remote)
		}
	}
	if got := strings.Join(remotes, "; "); !strings.Contains(got, "user:eve door/test") || !strings.Contains(got, "user:admin door/test 10.0.0.1:1") {
		t.Errorf("the audit trail has %s", got)
	}
}

// TestStreamsFlow: a watch delivers while it is open and ends with its context.
func TestStreamsFlow(t *testing.T) {
	w := servertest.Start(t, nil)
	api := Open(w.Handler, "test")
	ctx, cancel := context.WithCancel(As(t.Context(), Bearer(w.Admin, "")))
	stream, err := api.Claims.Watch(ctx, connect.NewRequest(&polderv1.ClaimServiceWatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Fatalf("no snapshot: %v", stream.Err())
	}
	cancel()
	for stream.Receive() {
	}
	if !errors.Is(stream.Err(), context.Canceled) && connect.CodeOf(stream.Err()) != connect.CodeCanceled {
		t.Errorf("the stream ended with %v", stream.Err())
	}
	stream.Close()
}

// send makes one request to a handler through the transport.
func send(t *testing.T, h http.HandlerFunc, body io.Reader) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://polder.invalid/x", body)
	if err != nil {
		t.Fatal(err)
	}
	return (&transport{server: h, door: "test"}).RoundTrip(r)
}

// TestBothWaysAtOnce: the handler answers while the request still comes.
func TestBothWaysAtOnce(t *testing.T) {
	r, w := io.Pipe()
	res, err := send(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.Copy(w, r.Body)
	}, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one", "two"} {
		if _, err := io.WriteString(w, word); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != word {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	w.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("the end is %q, %v", rest, err)
	}
}

// TestDeadlines: a handler can end its own waiting, as on a connection.
func TestDeadlines(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	res, err := send(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		_, err := r.Body.Read(make([]byte, 1))
		if err == nil {
			w.WriteHeader(http.StatusTeapot)
		}
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Unix(1, 0))
		if _, err := w.Write(bytes.Repeat([]byte{'x'}, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			panic(err)
		}
	}, r)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", res, err)
	}
	if _, err := io.ReadAll(res.Body); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading ends with %v", err)
	}
}

// TestCutOff: a handler that panics has answered in part.
func TestCutOff(t *testing.T) {
	res, err := send(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(res.Body); string(got) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v", got, err)
	}
}
