package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// Member is an agent or a door that was given a certificate. Its key is pinned: nobody else can join under its name
// until an operator forgets it, and its certificates are refused from then on.
type Member struct {
	Kind      Kind      `json:"kind"`
	Name      string    `json:"name"`
	Key       string    `json:"key"` // digest of its public key
	Admitted  time.Time `json:"admitted"`
	Forgotten time.Time `json:"forgotten,omitzero"`
}

// Join lets an agent in: it checks and uses up the join token, pins the key of the request to the node it names, and
// returns the signed certificate, PEM, leaf then root. Asking again with the same key is fine. A name taken by another
// key is [ErrDenied].
func (b *Book) Join(ctx context.Context, ca *CA, token Secret, csrPEM []byte) (Identity, []byte, error) {
	csr, id, err := parseRequest(csrPEM)
	if err != nil {
		return Identity{}, nil, err
	}
	if id.Kind != Agent {
		return Identity{}, nil, fmt.Errorf("%w: a join token lets in agents, not %s", ErrDenied, id)
	}
	if err := b.redeem(ctx, token, id.Name+" "+keyDigest(csr)); err != nil {
		return Identity{}, nil, err
	}
	chain, err := b.admit(ctx, ca, id, csr)
	return id, chain, err
}

// IssueDoor signs the request of a door that runs in its own process. The caller has checked for admin on the root.
func (b *Book) IssueDoor(ctx context.Context, ca *CA, csrPEM []byte) (Identity, []byte, error) {
	csr, id, err := parseRequest(csrPEM)
	if err != nil {
		return Identity{}, nil, err
	}
	if id.Kind != Door {
		return Identity{}, nil, fmt.Errorf("%w: %s is not a door; an agent joins with a join token", ErrDenied, id)
	}
	chain, err := b.admit(ctx, ca, id, csr)
	return id, chain, err
}

// Renew signs a new certificate for a member that proved who it is with its present one. The key must be the pinned one.
func (b *Book) Renew(ctx context.Context, ca *CA, id Identity, csrPEM []byte) ([]byte, error) {
	csr, named, err := parseRequest(csrPEM)
	if err != nil {
		return nil, err
	}
	if named.String() != id.String() {
		return nil, fmt.Errorf("%w: %s asks for a certificate of %s", ErrDenied, id, named)
	}
	if err := b.checkMember(id, keyDigest(csr)); err != nil {
		return nil, err
	}
	return ca.issue(csr.PublicKey, id, b.now())
}

// Forget ends a member: its certificates are refused and its name is free. An unknown one is [ErrNotFound].
func (b *Book) Forget(ctx context.Context, id Identity) error {
	_, err := b.members.update(ctx, memberKey(id), func(m Member) (Member, error) {
		if m.Name == "" {
			return m, fmt.Errorf("%s: %w", id, ErrNotFound)
		}
		if m.Forgotten.IsZero() {
			m.Forgotten = b.now().UTC()
		}
		return m, nil
	})
	return err
}

// Members returns every member, forgotten ones too, agents first, by name.
func (b *Book) Members() []Member { return b.members.all() }

func (b *Book) admit(ctx context.Context, ca *CA, id Identity, csr *x509.CertificateRequest) ([]byte, error) {
	key := keyDigest(csr)
	_, err := b.members.update(ctx, memberKey(id), func(m Member) (Member, error) {
		if m.Name != "" && m.Forgotten.IsZero() && m.Key != key {
			return m, fmt.Errorf("%w: %s joined before with another key; if that machine is gone, forget it first (polder node remove %s)",
				ErrDenied, id, id.Name)
		}
		return Member{Kind: id.Kind, Name: id.Name, Key: key, Admitted: b.now().UTC()}, nil
	})
	if err != nil {
		return nil, err
	}
	return ca.issue(csr.PublicKey, id, b.now())
}

// checkMember returns nil if the identity is a present member with that key.
func (b *Book) checkMember(id Identity, key string) error {
	r, ok := b.members.get(memberKey(id))
	if !ok || !r.value.Forgotten.IsZero() || r.value.Key != key {
		return fmt.Errorf("%w: certificate of %s: it was forgotten or replaced; join again with a new join token", ErrRevoked, id)
	}
	return nil
}

func memberKey(id Identity) string { return string(id.Kind) + "/" + id.Name }

func keyDigest(csr *x509.CertificateRequest) string { return digest(csr.RawSubjectPublicKeyInfo) }

func digest(der []byte) string {
	sum := sha256.Sum256(der)
	return base32Lower.EncodeToString(sum[:])
}

// decodeRequest decodes a signing request and checks that its sender holds the key.
func decodeRequest(csrPEM []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(csrPEM)
	if block == nil || block.Type != pemRequest || len(rest) > 0 {
		return nil, fmt.Errorf("%w: signing request is not one PEM block of type %s", ErrInvalid, pemRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: signing request: %w", ErrInvalid, err)
	}
	return csr, nil
}

// parseRequest decodes a signing request and returns whom it names.
func parseRequest(csrPEM []byte) (*x509.CertificateRequest, Identity, error) {
	csr, err := decodeRequest(csrPEM)
	if err != nil {
		return nil, Identity{}, err
	}
	if len(csr.URIs) != 1 {
		return nil, Identity{}, fmt.Errorf("%w: signing request names %d URIs, want one polder://agent/<node>", ErrInvalid, len(csr.URIs))
	}
	id, err := parseURI(csr.URIs[0])
	return csr, id, err
}
