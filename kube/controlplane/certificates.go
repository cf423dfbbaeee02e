package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	backdate = 5 * time.Minute // clocks of machines differ
)

// authority signs the certificates of one purpose.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // of the certificate, PEM
}

// openAuthority loads name.crt and name.key of a directory, or makes them.
func openAuthority(dir, name string) (*authority, error) {
	crt, key := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	a := &authority{file: crt}
	var err error
	if a.cert, a.key, err = loadPair(crt, key); err == nil || !errors.Is(err, os.ErrNotExist) {
		return a, err
	}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "polder-kube " + name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true,
	}
	if a.cert, err = sign(template, template, a.key.Public(), a.key); err != nil {
		return nil, err
	}
	return a, writePair(crt, key, a.cert, a.key)
}

// leaf describes a certificate for one member.
type leaf struct {
	name   string // of the files
	user   string // common name
	groups []string
	hosts  []string // names and addresses of a server; a client has none
}

// issue makes a leaf's files anew and returns their names. It does so at every start, so nothing is ever old.
func (a *authority) issue(dir string, l leaf) (crt, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: l.user, Organization: l.groups}, NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(l.hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, h := range l.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	c, err := sign(template, a.cert, k.Public(), a.key)
	if err != nil {
		return "", "", fmt.Errorf("certificate of %s: %w", l.user, err)
	}
	crt, key = filepath.Join(dir, l.name+".crt"), filepath.Join(dir, l.name+".key")
	return crt, key, writePair(crt, key, c, k)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func writePair(crt, key string, c *x509.Certificate, k *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		writeFile(crt, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o644))
}

// writeFile replaces a file so that readers see the old or the new one.
func writeFile(name string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func loadPair(crt, key string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certDER, err := readPEM(crt)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := readPEM(key)
	if err != nil {
		return nil, nil, err
	}
	c, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w; restore it from a backup", crt, err)
	}
	k, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w; restore it from a backup", key, err)
	}
	ec, ok := k.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(c.PublicKey) {
		return nil, nil, fmt.Errorf("%s and %s do not belong together; restore them from a backup", crt, key)
	}
	return c, ec, nil
}

func readPEM(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM; restore it from a backup", name)
	}
	return block.Bytes, nil
}
