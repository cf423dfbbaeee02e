package auth

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"
)

// client issues a certificate for a token.
func (h *house) client(t *testing.T, secret Secret) *x509.Certificate {
	t.Helper()
	chain, expires, err := h.book.IssueClient(h.ca, secret, request(t, newAgent(t, "any-name")), "corp/search")
	if err != nil {
		t.Fatal(err)
	}
	certs, err := decodeCertificates(chain)
	if err != nil || len(certs) != 2 || !certs[1].Equal(h.ca.Root()) || !certs[0].NotAfter.Equal(expires.Truncate(time.Second)) {
		t.Fatalf("%d certificates until %v, %v", len(certs), expires, err)
	}
	return certs[0]
}

// TestIssueClient: a certificate is what its token is, and as long.
func TestIssueClient(t *testing.T) {
	h, foreign := newHouse(t), newHouse(t)
	token, secret := h.token(t, TokenSpec{Name: "alice", Groups: []string{"search"}})
	_, brief := h.token(t, TokenSpec{Name: "bob", TTL: time.Hour})
	alice, bob := h.client(t, secret), h.client(t, brief)
	id, err := h.auth.byCertificate(alice)
	if err != nil || id.String() != "user:alice" || !id.InGroup("search") || id.InGroup(AdminGroup) {
		t.Errorf("the certificate of alice's token is %v, %v", id, err)
	}
	if got := alice.Subject.OrganizationalUnit; len(got) != 1 || got[0] != "corp/search" {
		t.Errorf("its unit is %q", got)
	}
	if _, err := foreign.auth.byCertificate(alice); !errors.Is(err, ErrForeignCertificate) {
		t.Errorf("in another cluster: %v", err)
	}
	h.advance(2 * time.Hour)
	if _, err := h.auth.byCertificate(bob); !errors.Is(err, ErrExpired) {
		t.Errorf("the certificate of an expired token: %v", err)
	}
	if err := h.book.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.auth.byCertificate(alice); !errors.Is(err, ErrRevoked) {
		t.Errorf("the certificate of a revoked token: %v", err)
	}
	h.advance(memberLife)
	if _, err := h.auth.byCertificate(alice); !errors.Is(err, ErrExpired) {
		t.Errorf("an old certificate: %v", err)
	}
}

// TestIssueClientRefuses: only who holds a good token, with a request of a key of its own.
func TestIssueClientRefuses(t *testing.T) {
	h := newHouse(t)
	_, secret := h.token(t, TokenSpec{Name: "alice"})
	revoked, old := h.token(t, TokenSpec{Name: "alice"})
	if err := h.book.RevokeToken(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	csr := request(t, newAgent(t, "n"))
	for _, c := range []struct {
		name  string
		token Secret
		csr   []byte
		want  error
	}{
		{"no token", Secret{}, csr, ErrMalformedToken},
		{"an unknown token", NewSecret(UserToken{newID(), newSecret()}.Reveal()), csr, ErrUnknownToken},
		{"a revoked token", old, csr, ErrRevoked},
		{"no request", secret, nil, ErrInvalid},
		{"a certificate for a request", secret, h.ca.RootPEM(), ErrInvalid},
	} {
		if _, _, err := h.book.IssueClient(h.ca, c.token, c.csr, ""); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
