package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
)

// Lengths in characters: an id is 50 random bits, a secret and a digest 256 bits, all lower-case base32 without padding.
const (
	idLen     = 10
	secretLen = 52
	prefix    = "polder"
	joinWord  = "join"
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// UserToken is a parsed "polder-<id>-<secret>".
type UserToken struct {
	ID     string
	Secret Secret
}

// Reveal returns the token as its owner types it.
func (t UserToken) Reveal() string {
	return strings.Join([]string{prefix, t.ID, t.Secret.Reveal()}, "-")
}

// ParseUserToken parses a user token; anything else is [ErrMalformedToken]. The error never holds the token.
func ParseUserToken(s string) (UserToken, error) {
	parts := strings.Split(s, "-")
	if len(parts) == 5 && parts[1] == joinWord {
		return UserToken{}, fmt.Errorf("%w: this is a join token, for agents; people use polder-<id>-<secret>", ErrMalformedToken)
	}
	if len(parts) != 3 || parts[0] != prefix || !isBase32(parts[1], idLen) || !isBase32(parts[2], secretLen) {
		return UserToken{}, fmt.Errorf("%w: want polder-<id>-<secret>; was it cut when copied?", ErrMalformedToken)
	}
	return UserToken{parts[1], NewSecret(parts[2])}, nil
}

// JoinToken is a parsed "polder-join-<digest>-<id>-<secret>".
type JoinToken struct {
	Digest string // of the cluster's root certificate, see [Digest]
	ID     string
	Secret Secret
}

// Reveal returns the token as an operator types it.
func (t JoinToken) Reveal() string {
	return strings.Join([]string{prefix, joinWord, t.Digest, t.ID, t.Secret.Reveal()}, "-")
}

// ParseJoinToken parses a join token; anything else is [ErrMalformedToken]. The error never holds the token.
func ParseJoinToken(s string) (JoinToken, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 5 || parts[0] != prefix || parts[1] != joinWord ||
		!isBase32(parts[2], secretLen) || !isBase32(parts[3], idLen) || !isBase32(parts[4], secretLen) {
		return JoinToken{}, fmt.Errorf("%w: want polder-join-<digest>-<id>-<secret>; get one with \"polder token create NAME --join\"", ErrMalformedToken)
	}
	return JoinToken{parts[2], parts[3], NewSecret(parts[4])}, nil
}

// isBase32 reports whether s is the canonical encoding of something and n characters long.
func isBase32(s string, n int) bool {
	if len(s) != n {
		return false
	}
	b, err := base32Lower.DecodeString(s)
	return err == nil && base32Lower.EncodeToString(b) == s
}

func newID() string { return randomBase32(6) }

func newSecret() Secret { return NewSecret(randomBase32(32)) }

func randomBase32(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails: the runtime aborts when there is no entropy
	return base32Lower.EncodeToString(b)
}

// hashSecret is what is stored. A plain hash is enough: the secret has 256 random bits, there is nothing to guess.
func hashSecret(s Secret) string {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

func matchesHash(s Secret, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(hashSecret(s)), []byte(hash)) == 1
}
