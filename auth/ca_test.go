package auth

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCAIsKept(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "ca"), time.Now()
	var wg sync.WaitGroup
	digests := make([]string, 8)
	for i := range digests {
		wg.Go(func() {
			ca, err := OpenCA(dir, now)
			if err != nil {
				t.Error(err)
				return
			}
			digests[i] = Digest(ca.Root())
		})
	}
	wg.Wait()
	for _, d := range digests {
		if d != digests[0] {
			t.Error("opened at once, two authorities were made")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, caFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v, want mode 0600", info, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCARefuses(t *testing.T) {
	other, err := OpenCA(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(path string) error
		later time.Duration
		want  string
	}{
		"open to others": {func(p string) error { return os.Chmod(p, 0o640) }, 0, "chmod 600"},
		"empty":          {func(p string) error { return os.Truncate(p, 0) }, 0, "damaged"},
		"cut":            {func(p string) error { return os.Truncate(p, 300) }, 0, "damaged"},
		"too old":        {func(string) error { return nil }, rootLife + time.Hour, "ended at"},
		"foreign certificate": {func(p string) error {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			key, _, err := decodePair(data)
			if err != nil {
				return err
			}
			data, err = encodePair(key, other.root.Raw)
			return errors.Join(err, os.WriteFile(p, data, 0o600))
		}, 0, "do not belong together"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, now := t.TempDir(), time.Now()
			if _, err := OpenCA(dir, now); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, caFile)
			if err := c.spoil(path); err != nil {
				t.Fatal(err)
			}
			_, err := OpenCA(dir, now.Add(c.later))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("err = %v, want %q and %s", err, c.want, path)
			}
		})
	}
}

// serve runs an HTTPS server that answers with the identity or the error of the caller.
func (h *house) serve(t *testing.T, hosts ...string) string {
	t.Helper()
	config, err := h.ca.ServerTLS(hosts, h.now)
	if err != nil {
		t.Fatal(err)
	}
	return serveTLS(t, config, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := h.auth.Authenticate(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.Write([]byte(id.String()))
	}))
}

func serveTLS(t *testing.T, config *tls.Config, handler http.Handler) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return "https://" + listener.Addr().String()
}

// call returns the body of an answer; the connection is not kept.
func call(t *testing.T, url string, config *tls.Config, header string) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body := make([]byte, 1000)
	n, _ := resp.Body.Read(body)
	return strings.TrimSpace(string(body[:n])), nil
}

func TestTLS(t *testing.T) {
	h, foreign := newHouse(t), newHouse(t)
	url, foreignURL := h.serve(t, "127.0.0.1", "polder.corp"), foreign.serve(t)
	person, err := ClientTLS(h.ca.RootPEM())
	if err != nil {
		t.Fatal(err)
	}
	agentTLS, err := h.agent(t, "node-1").TLS()
	if err != nil {
		t.Fatal(err)
	}
	strangerTLS, err := foreign.agent(t, "node-1").TLS()
	if err != nil {
		t.Fatal(err)
	}
	strangerTLS.RootCAs = person.RootCAs // it reaches our server, with the other cluster's certificate
	browser := &tls.Config{RootCAs: person.RootCAs}
	old := person.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	_, secret := h.token(t, TokenSpec{Name: "alice"})
	for _, c := range []struct {
		name   string
		config *tls.Config
		header string
		want   string
	}{
		{"agent", agentTLS, "", "agent:node-1"},
		{"person", person, "Bearer " + secret.Reveal(), "user:alice"},
		{"person on an agent's machine", agentTLS, "bearer " + secret.Reveal(), "user:alice"},
		{"bad token does not fall back to the certificate", agentTLS, "Bearer x", "malformed token"},
		{"other scheme", agentTLS, "Basic x", "malformed token"},
		{"nobody", person, "", "no token"},
		{"browser checks the address", browser, "Bearer " + secret.Reveal(), "user:alice"},
		{"foreign certificate", strangerTLS, "", "not issued by this cluster"},
	} {
		if got, err := call(t, url, c.config, c.header); err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := call(t, url, old, ""); err == nil {
		t.Error("the server speaks TLS 1.2")
	}
	if _, err := call(t, foreignURL, person, "Bearer "+secret.Reveal()); err == nil {
		t.Error("a foreign server was trusted with a token")
	}
}

func TestJoinTLS(t *testing.T) {
	h, foreign := newHouse(t), newHouse(t)
	_, secret := h.joinToken(t, JoinSpec{TTL: time.Hour})
	token, err := ParseJoinToken(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call(t, h.serve(t), JoinTLS(token), ""); err != nil {
		t.Errorf("joining our server: %v", err)
	}
	if _, err := call(t, foreign.serve(t), JoinTLS(token), ""); !errors.Is(err, ErrForeignCertificate) {
		t.Errorf("joining a foreign server: %v, want ErrForeignCertificate", err)
	}
	// Somebody in between shows our root, which is public, behind a chain of its own; or an agent plays server.
	impostors := map[string]tls.Certificate{}
	fake, err := (&serverCertificate{ca: foreign.ca, now: foreign.now}).current(nil)
	if err != nil {
		t.Fatal(err)
	}
	impostors["our root behind a foreign leaf"] = tls.Certificate{Certificate: [][]byte{fake.Certificate[0], h.ca.root.Raw}, PrivateKey: fake.PrivateKey}
	impostors["an agent's certificate"] = *h.agent(t, "node-1").pair
	for name, pair := range impostors {
		url := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{pair}}, http.NotFoundHandler())
		if _, err := call(t, url, JoinTLS(token), ""); !errors.Is(err, ErrForeignCertificate) {
			t.Errorf("%s: %v, want ErrForeignCertificate", name, err)
		}
	}
}

func TestServerCertificateIsRenewed(t *testing.T) {
	h := newHouse(t)
	s := &serverCertificate{ca: h.ca, hosts: []string{"::1", "polder.corp"}, now: h.now}
	var before *tls.Certificate
	for _, c := range []struct {
		days int
		same bool
	}{{0, false}, {59, true}, {2, false}} {
		h.advance(time.Duration(c.days) * 24 * time.Hour)
		pair, err := s.current(nil)
		if err != nil || (pair == before) != c.same {
			t.Errorf("after %d more days: %v, same = %v", c.days, err, pair == before)
		}
		before = pair
	}
	for _, host := range []string{"::1", "polder.corp", ServerName} {
		if err := before.Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

func TestLeafDoesNotOutliveRoot(t *testing.T) {
	h := newHouse(t)
	c := newCredentials(t, Identity{Kind: Agent, Name: "n"})
	chain, err := h.ca.issue(&c.key.PublicKey, c.id, h.ca.root.NotAfter.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := decodeCertificates(chain)
	if err != nil || !certs[0].NotAfter.Equal(h.ca.root.NotAfter) || certs[0].IsCA {
		t.Errorf("leaf ends %v, root %v, %v", certs[0].NotAfter, h.ca.root.NotAfter, err)
	}
}

func FuzzDecodePair(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, _, err := decodePair(data); err == nil && key == nil {
			t.Fatal("no key and no error")
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if csr, id, err := parseRequest(data); err == nil && (csr == nil || id.IsZero()) {
			t.Fatal("nobody and no error")
		}
	})
}

func FuzzParseURI(f *testing.F) {
	f.Add("agent", "node-1")
	f.Fuzz(func(t *testing.T, kind, name string) {
		u := Identity{Kind: Kind(kind), Name: name}.uri()
		id, err := parseURI(u)
		if err == nil && (string(id.Kind) != kind || id.Name != name) {
			t.Fatalf("%s %s became %v", kind, name, id)
		}
	})
}
