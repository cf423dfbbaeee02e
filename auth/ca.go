package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	rootLife   = 10 * 365 * 24 * time.Hour
	memberLife = 90 * 24 * time.Hour
	backdate   = 5 * time.Minute // clocks of machines differ
	caFile     = "ca.pem"        // key and certificate in one file: never one without the other
)

// ServerName is a name every server certificate carries. Agents and the command line verify it, not the address they
// dialled: only a server of this cluster can prove it, whatever address it has.
const ServerName = "polder-server"

// CA is the cluster's certificate authority: an ECDSA P-256 root that signs leaves directly.
type CA struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenCA loads the authority from ca.pem in dir, or creates it (mode 0600; dir 0700) if there is none. Several
// processes may open it at once: one creates it.
func OpenCA(dir string, now time.Time) (*CA, error) {
	path := filepath.Join(dir, caFile)
	ca, err := loadCA(path, now)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if err := createCA(path, now); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating certificate authority: %w", err)
	}
	return loadCA(path, now)
}

// Root returns the root certificate.
func (ca *CA) Root() *x509.Certificate { return ca.root }

// RootPEM returns the root certificate as PEM, to hand to clients.
func (ca *CA) RootPEM() []byte { return encodeCertificate(ca.root.Raw) }

// Secret returns 32 bytes for one purpose, the same on every server that has this authority, and of no use for any other
// purpose or to find the authority's key.
func (ca *CA) Secret(purpose string) ([]byte, error) {
	key, err := ca.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("secret for %s: %w", purpose, err)
	}
	return hkdf.Key(sha256.New, key, nil, "polder "+purpose, 32)
}

// Digest returns the base32 SHA-256 of a root certificate, as in join tokens.
func Digest(root *x509.Certificate) string { return digest(root.Raw) }

func loadCA(path string, now time.Time) (*CA, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	key, certs, err := decodePair(data)
	if err == nil && len(certs) != 1 {
		err = fmt.Errorf("%w: %d certificates, want 1", ErrInvalid, len(certs))
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s is damaged: %w; restore it from a backup, or every agent must join again", path, err)
	}
	root := certs[0]
	if !root.IsCA || !key.PublicKey.Equal(root.PublicKey) {
		return nil, fmt.Errorf("certificate authority %s: key and certificate do not belong together; restore it from a backup", path)
	}
	if now.After(root.NotAfter) {
		return nil, fmt.Errorf("certificate authority %s ended at %s; move it away to create another, then every agent must join again",
			path, root.NotAfter.Format(time.RFC3339))
	}
	return &CA{root, key}, nil
}

func createCA(path string, now time.Time) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: "Polder cluster authority"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLife),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	pair, err := encodePair(key, der)
	if err != nil {
		return err
	}
	return writeNew(path, pair)
}

// issue signs a certificate for an agent or a door and returns it as PEM, followed by the root.
func (ca *CA) issue(public any, id Identity, now time.Time) ([]byte, error) {
	der, err := ca.sign(public, now, &x509.Certificate{
		Subject: pkix.Name{CommonName: id.String()}, URIs: []*url.URL{id.uri()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("signing certificate of %s: %w", id, err)
	}
	return append(encodeCertificate(der), ca.RootPEM()...), nil
}

// sign fills in the life, usage and serial number of a leaf and signs it. A leaf outlives neither the root nor what it says itself.
func (ca *CA) sign(public any, now time.Time, leaf *x509.Certificate) ([]byte, error) {
	leaf.SerialNumber = newSerial()
	leaf.NotBefore = now.Add(-backdate)
	if most := now.Add(memberLife); leaf.NotAfter.IsZero() || leaf.NotAfter.After(most) {
		leaf.NotAfter = most
	}
	if leaf.NotBefore.Before(ca.root.NotBefore) {
		leaf.NotBefore = ca.root.NotBefore
	}
	if leaf.NotAfter.After(ca.root.NotAfter) {
		leaf.NotAfter = ca.root.NotAfter
	}
	leaf.KeyUsage, leaf.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	return x509.CreateCertificate(rand.Reader, leaf, ca.root, public, ca.key)
}

// signServer makes a server certificate for the given host names and addresses, and [ServerName].
func (ca *CA) signServer(key *ecdsa.PrivateKey, hosts []string, now time.Time) ([]byte, error) {
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: ServerName}, DNSNames: []string{ServerName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, h)
		}
	}
	return ca.sign(key.Public(), now, leaf)
}

// renewAt is when a certificate should be replaced: after two thirds of its life.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func newSerial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // positive, as RFC 5280 asks
	return new(big.Int).SetBytes(b)
}

const (
	pemKey         = "PRIVATE KEY"
	pemCertificate = "CERTIFICATE"
	pemRequest     = "CERTIFICATE REQUEST"
)

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
}

func encodePair(key *ecdsa.PrivateKey, der ...[]byte) ([]byte, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: pkcs8})
	for _, d := range der {
		out = append(out, encodeCertificate(d)...)
	}
	return out, nil
}

// decodePair is the inverse of encodePair: one private key, then certificates, nothing else.
func decodePair(data []byte) (*ecdsa.PrivateKey, []*x509.Certificate, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemKey {
		return nil, nil, fmt.Errorf("%w: no %s block", ErrInvalid, pemKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("%w: key is a %T, want ECDSA", ErrInvalid, parsed)
	}
	certs, err := decodeCertificates(rest)
	return key, certs, err
}

func decodeCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(data) > 0 {
		block, rest := pem.Decode(data)
		if block == nil || block.Type != pemCertificate {
			return nil, fmt.Errorf("%w: want PEM blocks of type %s only", ErrInvalid, pemCertificate)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs, data = append(certs, c), rest
	}
	return certs, nil
}
