package auth

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Token is what may be told about a user token; the secret is not kept.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"` // the user
	Groups  []string  `json:"groups,omitempty"`
	By      string    `json:"by"` // who issued it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Revoked time.Time `json:"revoked,omitzero"`
}

type tokenRecord struct {
	Token
	Hash string `json:"hash"`
}

// TokenSpec says what token to issue.
type TokenSpec struct {
	Name   string
	Groups []string
	TTL    time.Duration // 0: never expires
	By     string        // who asks for it, as [Identity.String] writes it
}

// CreateToken issues a user token. The secret is the whole token, and this is the only time it can be read. Whether the
// caller may is for [Policy.CheckToken].
func (b *Book) CreateToken(ctx context.Context, spec TokenSpec) (Token, Secret, error) {
	for _, name := range append([]string{spec.Name}, spec.Groups...) {
		if err := checkName(name); err != nil {
			return Token{}, Secret{}, err
		}
	}
	if spec.TTL < 0 {
		return Token{}, Secret{}, fmt.Errorf("%w: token for %s: time to live %v is negative; 0 means for ever", ErrInvalid, spec.Name, spec.TTL)
	}
	t := UserToken{ID: newID(), Secret: newSecret()}
	now := b.now().UTC()
	r := tokenRecord{Token{ID: t.ID, Name: spec.Name, Groups: slices.Clone(spec.Groups), By: spec.By, Created: now}, hashSecret(t.Secret)}
	if spec.TTL > 0 {
		r.Expires = now.Add(spec.TTL)
	}
	if err := b.tokens.save(ctx, t.ID, r, 0); err != nil {
		return Token{}, Secret{}, err
	}
	return r.Token, NewSecret(t.Reveal()), nil
}

// Bootstrap issues the first admin token, for user "admin", if no usable admin token exists; else it returns false.
func (b *Book) Bootstrap(ctx context.Context) (Secret, bool, error) {
	for _, r := range b.tokens.all() {
		if slices.Contains(r.Groups, AdminGroup) && r.usable(b.now()) == nil {
			return Secret{}, false, nil
		}
	}
	_, secret, err := b.CreateToken(ctx, TokenSpec{Name: "admin", Groups: []string{AdminGroup}, By: "bootstrap"})
	return secret, err == nil, err
}

// RevokeToken ends a user token for good; again is fine. An unknown id is [ErrNotFound].
func (b *Book) RevokeToken(ctx context.Context, id string) error {
	_, err := b.tokens.update(ctx, id, func(r tokenRecord) (tokenRecord, error) {
		if r.ID == "" {
			return r, fmt.Errorf("token %s: %w; \"polder token list\" shows the ids", id, ErrNotFound)
		}
		if r.Revoked.IsZero() {
			r.Revoked = b.now().UTC()
		}
		return r, nil
	})
	return err
}

// Token returns one user token by id.
func (b *Book) Token(id string) (Token, bool) {
	r, ok := b.tokens.get(id)
	return r.value.Token, ok
}

// Tokens returns every user token ever issued, by id.
func (b *Book) Tokens() []Token {
	var tokens []Token
	for _, r := range b.tokens.all() {
		tokens = append(tokens, r.Token)
	}
	return tokens
}

// VerifyToken returns whose token this is. Errors: [ErrMalformedToken], [ErrUnknownToken] (also for a wrong secret),
// [ErrRevoked], [ErrExpired].
func (b *Book) VerifyToken(token Secret) (Identity, error) {
	t, err := ParseUserToken(token.Reveal())
	if err != nil {
		return Identity{}, err
	}
	r, ok := b.tokens.get(t.ID)
	if !matchesHash(t.Secret, r.value.Hash) || !ok {
		return Identity{}, fmt.Errorf("%w %s; ask an admin for one", ErrUnknownToken, t.ID)
	}
	if err := r.value.usable(b.now()); err != nil {
		return Identity{}, err
	}
	return r.value.identity(), nil
}

// identity is whose token it is.
func (t Token) identity() Identity {
	return Identity{Kind: User, Name: t.Name, Groups: slices.Clone(t.Groups)}
}

// usable is nil, or says why the token no longer opens anything. It expires at Expires, not after it.
func (t Token) usable(now time.Time) error {
	return checkLife("token "+t.ID, t.Expires, t.Revoked, now)
}

func checkLife(what string, expires, revoked, now time.Time) error {
	if !revoked.IsZero() {
		return fmt.Errorf("%w: %s was revoked at %s; ask an admin for a new one", ErrRevoked, what, revoked.Format(time.RFC3339))
	}
	if !expires.IsZero() && !now.Before(expires) {
		return fmt.Errorf("%w: %s ended at %s; ask an admin for a new one", ErrExpired, what, expires.Format(time.RFC3339))
	}
	return nil
}
