package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestMatrix sends every verb on one tenant's role from every kind of caller, through authentication and the policy.
func TestMatrix(t *testing.T) {
	h, foreign := newHouse(t), newHouse(t)
	if err := h.book.SetRules(t.Context(), []Rule{
		{"group:search", []Verb{View, Logs, Run, Exec}, "corp/search/**"},
		{"group:ads", []Verb{View, Logs, Run, Exec, Plan}, "corp/ads/**"},
		{"user:lead", []Verb{Admin}, "corp/search/**"},
		{"user:gone", []Verb{Admin}, "**"},
		{"*", []Verb{View}, "corp"},
		{"door:kube", []Verb{View}, "**"},
	}, 0); err != nil {
		t.Fatal(err)
	}
	bearer := func(spec TokenSpec) *http.Request {
		_, secret := h.token(t, spec)
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", "Bearer "+secret.Reveal())
		return r
	}
	certificate := func(leaf *x509.Certificate) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		return r
	}
	expired := bearer(TokenSpec{Name: "gone", TTL: time.Minute})
	revoked := bearer(TokenSpec{Name: "gone"})
	for _, token := range h.book.Tokens() {
		if token.Expires.IsZero() {
			if err := h.book.RevokeToken(t.Context(), token.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	oldAgent := h.agent(t, "node-9")
	h.advance(memberLife + time.Hour)
	unknown := httptest.NewRequest(http.MethodPost, "/", nil)
	unknown.Header.Set("Authorization", "Bearer "+UserToken{newID(), newSecret()}.Reveal())
	twoHeaders := bearer(TokenSpec{Name: "root", Groups: []string{AdminGroup}})
	twoHeaders.Header.Add("Authorization", "Bearer x")
	door := newCredentials(t, Identity{Kind: Door, Name: "kube"})
	_, chain, err := h.book.IssueDoor(t.Context(), h.ca, request(t, door))
	if err != nil || door.Accept(chain, Digest(h.ca.Root())) != nil {
		t.Fatal(err)
	}
	server, err := (&serverCertificate{ca: h.ca, now: h.now}).current(nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign.advance(2 * memberLife)

	all := map[Verb]bool{View: true, Logs: true, Run: true, Exec: true, Host: true, Plan: true, Node: true, TokenUse: true, Admin: true}
	work := map[Verb]bool{View: true, Logs: true, Run: true, Exec: true}
	for _, c := range []struct {
		name    string
		request *http.Request
		refused error         // by authentication
		may     map[Verb]bool // on corp/search/rank
	}{
		{"anonymous", httptest.NewRequest(http.MethodPost, "/", nil), ErrNoCredentials, nil},
		{"unknown token", unknown, ErrUnknownToken, nil},
		{"expired token", expired, ErrExpired, nil},
		{"revoked token", revoked, ErrRevoked, nil},
		{"two tokens", twoHeaders, ErrMalformedToken, nil},
		{"own tenant", bearer(TokenSpec{Name: "alice", Groups: []string{"search"}}), nil, work},
		{"other tenant", bearer(TokenSpec{Name: "bob", Groups: []string{"ads"}}), nil, nil},
		{"no group", bearer(TokenSpec{Name: "carol"}), nil, nil},
		{"user named as a group", bearer(TokenSpec{Name: "search"}), nil, nil},
		{"lead of the subtree", bearer(TokenSpec{Name: "lead"}), nil, all},
		{"admin", bearer(TokenSpec{Name: "root", Groups: []string{AdminGroup}}), nil, all},
		{"user named admin", bearer(TokenSpec{Name: "admin"}), nil, nil},
		{"agent", certificate(h.agent(t, "node-1").pair.Leaf), nil, nil},
		{"agent named as a user", certificate(h.agent(t, "lead").pair.Leaf), nil, nil},
		{"agent with an old certificate", certificate(oldAgent.pair.Leaf), ErrExpired, nil},
		{"agent of another cluster", certificate(foreign.agent(t, "node-1").pair.Leaf), ErrForeignCertificate, nil},
		{"the server's own certificate", certificate(server.Leaf), ErrForeignCertificate, nil},
		{"the root certificate", certificate(h.ca.Root()), ErrForeignCertificate, nil},
		{"door", certificate(door.pair.Leaf), nil, map[Verb]bool{View: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := h.auth.Authenticate(c.request)
			if !errors.Is(err, c.refused) || (err != nil) != (c.refused != nil) {
				t.Fatalf("authenticated as %v, %v, want %v", id, err, c.refused)
			}
			if err != nil && (!errors.Is(err, ErrUnauthenticated) || !id.IsZero()) {
				t.Errorf("%v came with identity %v", err, id)
			}
			for _, verb := range Verbs {
				if err := h.book.Policy().Check(id, verb, "corp/search/rank"); (err == nil) != c.may[verb] {
					t.Errorf("%s: %v, want allowed = %v", verb, err, c.may[verb])
				}
			}
		})
	}
}
