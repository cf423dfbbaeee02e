package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ServerTLS returns the configuration of a listener: TLS 1.3, a certificate for [ServerName] and the given host names and
// addresses that is renewed as it ages, the root in the chain so that a joining agent can check it. A client certificate
// is asked for but judged only by [Authenticator], so that a foreign one is answered and audited, not just hung up on:
// never use the peer certificates of such a connection without it.
func (ca *CA) ServerTLS(hosts []string, now func() time.Time) (*tls.Config, error) {
	s := &serverCertificate{ca: ca, hosts: slices.Clone(hosts), now: now}
	if _, err := s.current(nil); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: s.current,
		ClientAuth:     tls.RequestClientCert,
		ClientCAs:      poolOf(ca.root), // tells browsers that none of their certificates will do
		NextProtos:     []string{"h2", "http/1.1"},
		Time:           now,
	}, nil
}

// serverCertificate holds a server's key pair in memory and replaces it when two thirds of its life are over.
type serverCertificate struct {
	ca    *CA
	hosts []string
	now   func() time.Time
	mu    sync.Mutex // guards pair
	pair  *tls.Certificate
}

func (s *serverCertificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.pair != nil && now.Before(renewAt(s.pair.Leaf)) {
		return s.pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := s.ca.signServer(key, s.hosts, now)
	if err != nil {
		return nil, fmt.Errorf("signing server certificate for %v: %w", s.hosts, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("signing server certificate for %v: %w", s.hosts, err)
	}
	s.pair = &tls.Certificate{Certificate: [][]byte{der, s.ca.root.Raw}, PrivateKey: key, Leaf: leaf}
	return s.pair, nil
}

// ClientTLS returns the configuration of somebody who knows the root certificate (PEM) and calls with a token.
func ClientTLS(rootPEM []byte) (*tls.Config, error) {
	certs, err := decodeCertificates(rootPEM)
	if err != nil || len(certs) != 1 {
		return nil, fmt.Errorf("%w: the cluster's root certificate must be one PEM certificate", ErrInvalid)
	}
	return clientTLS(certs[0]), nil
}

func clientTLS(root *x509.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    poolOf(root),
		ServerName: ServerName,
	}
}

// JoinTLS returns the configuration an agent joins with. It knows nothing but the token, so the connection is refused
// unless the server's chain ends in the root whose digest the token holds; only then is the secret safe to send.
func JoinTLS(t JoinToken) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		// The chain is verified below, against the pinned root instead of the system's.
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { _, err := t.Root(state); return err },
	}
}

// Root returns the cluster's root certificate from a server's chain, if the chain is good and the token pins it; else an
// [ErrForeignCertificate].
func (t JoinToken) Root(state tls.ConnectionState) (*x509.Certificate, error) {
	chain := state.PeerCertificates
	i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return c.IsCA && Digest(c) == t.Digest })
	if i < 1 {
		return nil, fmt.Errorf("%w: the server is not of the cluster this join token belongs to; check the address, or create a new token there",
			ErrForeignCertificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: poolOf(chain[i]), DNSName: ServerName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: server: %w", ErrForeignCertificate, err)
	}
	return chain[i], nil
}

func poolOf(root *x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return pool
}
