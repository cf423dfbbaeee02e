package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
)

// Authenticator turns requests into identities, with the book's tokens and members and the cluster's root.
type Authenticator struct {
	Book *Book
	Root *x509.Certificate
}

// Authenticate returns who sent the request. A token in the header Authorization decides alone, even when a certificate
// is there too; without one the client certificate of the TLS connection does. Every error is an [ErrUnauthenticated]:
// [ErrNoCredentials], [ErrMalformedToken], [ErrUnknownToken], [ErrExpired], [ErrRevoked] or [ErrForeignCertificate].
//
// A request made inside this process for somebody, see [WithIdentity], needs neither.
func (a *Authenticator) Authenticate(r *http.Request) (Identity, error) {
	if id, ok := r.Context().Value(identityKey{}).(Identity); ok && !id.IsZero() {
		return id, nil
	}
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		return a.byHeader(values)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return a.byCertificate(r.TLS.PeerCertificates[0])
	}
	return Identity{}, fmt.Errorf("%w; send \"Authorization: Bearer <token>\"", ErrNoCredentials)
}

type identityKey struct{}

// WithIdentity returns a context whose requests, made inside this process, count as made by id. It is for doors that work on
// for a user or framework whose connection has ended. Nothing that comes from the network can set it.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

type doorKey struct{}

// WithDoor marks requests of the door of that name, made inside this process. Nothing that comes from the network can set it.
func WithDoor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, doorKey{}, name)
}

// DoorIn is the door of this process that a request was made by, whoever it was made for; empty when it came from the network.
func DoorIn(ctx context.Context) string {
	name, _ := ctx.Value(doorKey{}).(string)
	return name
}

func (a *Authenticator) byHeader(values []string) (Identity, error) {
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return Identity{}, fmt.Errorf("%w: want one header \"Authorization: Bearer <token>\"", ErrMalformedToken)
	}
	return a.Book.VerifyToken(NewSecret(strings.TrimSpace(token)))
}

// byCertificate trusts a leaf the root signed for clients, alive, whose name and key are those of a present member. The
// TLS handshake has proved that the caller holds the key. The signature is checked before the dates, so that a stranger
// with an old certificate is called a stranger.
func (a *Authenticator) byCertificate(leaf *x509.Certificate) (Identity, error) {
	if err := a.Book.signed.check(a.Root, leaf); err != nil || len(leaf.URIs) != 1 {
		return Identity{}, fmt.Errorf("%w: %.80q; join this cluster first", ErrForeignCertificate, leaf.Subject.CommonName)
	}
	now := a.Book.now()
	expired := now.Before(leaf.NotBefore) || now.After(leaf.NotAfter)
	if leaf.URIs[0].Host == tokenHost {
		if expired {
			return Identity{}, fmt.Errorf("%w: certificate of %.80s ended at %s; get another one with \"polder door env docker\"",
				ErrExpired, leaf.Subject.CommonName, leaf.NotAfter.Format("2006-01-02"))
		}
		return a.Book.byTokenOf(leaf.URIs[0])
	}
	id, err := parseURI(leaf.URIs[0])
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrForeignCertificate, err)
	}
	if expired {
		return Identity{}, fmt.Errorf("%w: certificate of %s is good from %s to %s; if the clocks are right, join again",
			ErrExpired, id, leaf.NotBefore.Format("2006-01-02"), leaf.NotAfter.Format("2006-01-02"))
	}
	if err := a.Book.checkMember(id, digest(leaf.RawSubjectPublicKeyInfo)); err != nil {
		return Identity{}, err
	}
	return id, nil
}
