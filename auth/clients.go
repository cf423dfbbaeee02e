package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// tokenHost is the host of the URI in a certificate that stands for a token: polder://token/<id>.
const tokenHost = "token"

// IssueClient signs the request of somebody with a user token, for programs that can show a certificate and no token. The
// certificate is as good as the token: who it is, what they may and for how long is looked up in the token's record each time, so
// revoking the token ends both. Only the key of the request counts, no name in it. unit is a word for doors to find again in the
// certificate, empty for none. The certificate is PEM, leaf then root.
func (b *Book) IssueClient(ca *CA, token Secret, csrPEM []byte, unit string) (chain []byte, expires time.Time, err error) {
	id, err := b.VerifyToken(token)
	if err != nil {
		return nil, time.Time{}, err
	}
	csr, err := decodeRequest(csrPEM)
	if err != nil {
		return nil, time.Time{}, err
	}
	t, err := ParseUserToken(token.Reveal())
	if err != nil {
		return nil, time.Time{}, err
	}
	r, _ := b.tokens.get(t.ID) // it was verified
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: id.String()}, URIs: []*url.URL{{Scheme: "polder", Host: tokenHost, Path: "/" + t.ID}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: r.value.Expires,
	}
	if unit != "" {
		leaf.Subject.OrganizationalUnit = []string{unit}
	}
	der, err := ca.sign(csr.PublicKey, b.now(), leaf)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("signing a certificate for token %s: %w", t.ID, err)
	}
	return append(encodeCertificate(der), ca.RootPEM()...), leaf.NotAfter, nil
}

// BearerOf returns the token in a header Authorization, the zero Secret when there is none.
func BearerOf(header string) Secret {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Secret{}
	}
	return NewSecret(strings.TrimSpace(token))
}

// byTokenOf is whose token a certificate stands for, while that token is good.
func (b *Book) byTokenOf(u *url.URL) (Identity, error) {
	r, ok := b.tokens.get(strings.TrimPrefix(u.Path, "/"))
	if !ok {
		return Identity{}, fmt.Errorf("%w %.40q; ask an admin for one", ErrUnknownToken, u.Path)
	}
	if err := r.value.usable(b.now()); err != nil {
		return Identity{}, err
	}
	return r.value.identity(), nil
}
