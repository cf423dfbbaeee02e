package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Credentials is what an agent or door keeps on its disk: its key, made there and never sent, and the certificate it
// was given. The key is written before it is first used, so an agent that dies while joining may simply try again.
type Credentials struct {
	id   Identity
	path string
	key  *ecdsa.PrivateKey
	mu   sync.RWMutex // guards pair and root
	pair *tls.Certificate
	root *x509.Certificate
}

// OpenCredentials loads the credentials of id from <kind>-<name>.pem in dir (created with mode 0700), or makes a key.
func OpenCredentials(dir string, id Identity) (*Credentials, error) {
	if _, err := parseURI(id.uri()); err != nil {
		return nil, err
	}
	c := &Credentials{id: id, path: filepath.Join(dir, string(id.Kind)+"-"+id.Name+".pem")}
	data, err := readPrivate(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, c.create()
	}
	if err == nil {
		err = c.load(data)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials of %s in %s: %w; to start afresh remove the file, have an admin forget the node, and join again",
			id, c.path, err)
	}
	return c, nil
}

func (c *Credentials) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c.key = key
	pair, err := encodePair(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	return writeNew(c.path, pair)
}

func (c *Credentials) load(data []byte) error {
	key, certs, err := decodePair(data)
	if err != nil {
		return err
	}
	c.key = key
	if len(certs) == 0 {
		return nil
	}
	return c.use(certs)
}

// use checks a chain of leaf and root and takes it.
func (c *Credentials) use(certs []*x509.Certificate) error {
	if len(certs) != 2 || !certs[1].IsCA || !c.key.PublicKey.Equal(certs[0].PublicKey) || certs[0].CheckSignatureFrom(certs[1]) != nil {
		return fmt.Errorf("%w: want a certificate for this key, then the root that signed it", ErrInvalid)
	}
	if len(certs[0].URIs) != 1 || certs[0].URIs[0].String() != c.id.uri().String() {
		return fmt.Errorf("%w: certificate is not for %s", ErrInvalid, c.id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pair = &tls.Certificate{Certificate: [][]byte{certs[0].Raw, certs[1].Raw}, PrivateKey: c.key, Leaf: certs[0]}
	c.root = certs[1]
	return nil
}

// Request returns the signing request to send, PEM.
func (c *Credentials) Request() ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.id.String()}, URIs: []*url.URL{c.id.uri()}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, c.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der}), nil
}

// Accept checks and stores the answer of join or renew. digest is what the join token pins; "" keeps the root there is.
func (c *Credentials) Accept(chainPEM []byte, digest string) error {
	certs, err := decodeCertificates(chainPEM)
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", c.id, err)
	}
	if digest == "" && c.Joined() {
		digest = Digest(c.currentRoot())
	}
	if len(certs) != 2 || Digest(certs[1]) != digest {
		return fmt.Errorf("%w: the certificate for %s is of another cluster", ErrForeignCertificate, c.id)
	}
	data, err := encodePair(c.key, certs[0].Raw, certs[1].Raw)
	if err != nil {
		return err
	}
	if err := c.use(certs); err != nil {
		return err
	}
	return replace(c.path, data)
}

// Joined reports whether there is a certificate.
func (c *Credentials) Joined() bool { return c.currentRoot() != nil }

func (c *Credentials) currentRoot() *x509.Certificate {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.root
}

// RenewAt returns when to renew: at two thirds of the certificate's life; the zero time before joining.
func (c *Credentials) RenewAt() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.pair == nil {
		return time.Time{}
	}
	return renewAt(c.pair.Leaf)
}

// TLS returns the configuration to call the server with; each new connection presents the newest certificate. It is an
// error before joining.
func (c *Credentials) TLS() (*tls.Config, error) {
	if !c.Joined() {
		return nil, fmt.Errorf("%w: %s has not joined yet; run \"polder agent --server ADDRESS --token-file FILE\"", ErrNoCredentials, c.id)
	}
	config := clientTLS(c.currentRoot())
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.mu.RLock()
		defer c.mu.RUnlock()
		return c.pair, nil
	}
	return config, nil
}
