package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// signed remembers which client certificates a root has signed. That never changes, and finding out costs more than everything else about a
// small call; dates, members and tokens are looked at each time. The zero value is ready, and safe for concurrent use.
type signed struct {
	mu    sync.Mutex
	known map[signature]bool
}

// signature is a root and a certificate, by their digests.
type signature struct{ root, leaf [sha256.Size]byte }

// mostSigned bounds how many are remembered.
const mostSigned = 4096

// check returns an error unless the root signed the certificate for a client. The time is of no account here.
func (s *signed) check(root, leaf *x509.Certificate) error {
	key := signature{sha256.Sum256(root.Raw), sha256.Sum256(leaf.Raw)}
	s.mu.Lock()
	known := s.known[key]
	s.mu.Unlock()
	if known {
		return nil
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: poolOf(root), CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= mostSigned {
		s.known = map[signature]bool{}
	}
	s.known[key] = true
	return nil
}
