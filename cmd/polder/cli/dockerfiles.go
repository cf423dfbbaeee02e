package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// certificate makes a key and gets a certificate for it that stands for our token, both PEM.
func (c *client) certificate(ctx context.Context, role string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalECPrivateKey(private) // the form that the oldest of docker's libraries read, too
	if err != nil {
		return "", "", err
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})
	r, err := do(ctx, c.access.IssueCertificate, &polderv1.IssueCertificateRequest{Csr: csr, Role: role})
	if err != nil {
		return "", "", err
	}
	return string(r.GetCertificate()), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})), nil
}

// dockerContext is the name of the docker context that leads to the pool.
const dockerContext = "polder"

// dockerFiles are a configuration of docker's own.
type dockerFiles struct {
	host, token, role string
	ca, cert, key     string // PEM
	home              string // plug-ins, such as compose, are found where they were
}

// write puts the configuration into a directory that only its owner can read.
func (d dockerFiles) write(dir string) error {
	sum := sha256.Sum256([]byte(dockerContext))
	id := hex.EncodeToString(sum[:]) // where docker looks for a context of this name
	files := map[string]string{
		"config.json": d.config(), filepath.Join("contexts", "meta", id, "meta.json"): d.meta(),
	}
	for _, at := range []string{"", filepath.Join("contexts", "tls", id, "docker")} {
		for name, text := range map[string]string{"ca.pem": d.ca, "cert.pem": d.cert, "key.pem": d.key} {
			files[filepath.Join(at, name)] = text
		}
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := replacePrivate(path, text); err != nil {
			return err
		}
	}
	return nil
}

func (d dockerFiles) config() string {
	headers := map[string]string{"Authorization": "Bearer " + d.token}
	if d.role != "" {
		headers["Polder-Role"] = d.role
	}
	config := map[string]any{"HttpHeaders": headers, "currentContext": dockerContext}
	if d.home != "" {
		config["cliPluginsExtraDirs"] = []string{filepath.Join(d.home, ".docker", "cli-plugins")}
	}
	return indented(config)
}

// meta describes the context.
func (d dockerFiles) meta() string {
	return indented(map[string]any{
		"Name": dockerContext, "Metadata": map[string]any{"Description": "The pool, through Polder's Docker door"},
		"Endpoints": map[string]any{"docker": map[string]any{"Host": d.host, "SkipTLSVerify": false}},
	})
}

func indented(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // only maps, lists and texts come here
	}
	return string(data) + "\n"
}
