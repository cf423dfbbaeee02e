package auth

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// maxUses bounds the use limit of a join token: who used it is written in its record.
const maxUses = 1000

// Join is what may be told about a join token.
type Join struct {
	ID      string    `json:"id"`
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Revoked time.Time `json:"revoked,omitzero"`
	Uses    int       `json:"uses,omitempty"` // most nodes that may join with it; 0: any number
	Used    []string  `json:"used,omitempty"` // "node key-digest" of those who did, if Uses > 0
}

type joinRecord struct {
	Join
	Hash string `json:"hash"`
}

// JoinSpec says what join token to issue.
type JoinSpec struct {
	TTL  time.Duration // > 0
	Uses int           // most nodes that may join with it; 0: any number
	By   string
}

// CreateJoin issues a join token for the cluster of this authority. The secret is the whole token, and this is the only
// time it can be read.
func (b *Book) CreateJoin(ctx context.Context, ca *CA, spec JoinSpec) (Join, Secret, error) {
	if spec.TTL <= 0 || spec.Uses < 0 || spec.Uses > maxUses {
		return Join{}, Secret{}, fmt.Errorf("%w: join token: time to live %v must be positive, uses %d between 0 (any) and %d",
			ErrInvalid, spec.TTL, spec.Uses, maxUses)
	}
	t := JoinToken{Digest: Digest(ca.Root()), ID: newID(), Secret: newSecret()}
	now := b.now().UTC()
	r := joinRecord{Join{ID: t.ID, By: spec.By, Created: now, Expires: now.Add(spec.TTL), Uses: spec.Uses}, hashSecret(t.Secret)}
	if err := b.joins.save(ctx, t.ID, r, 0); err != nil {
		return Join{}, Secret{}, err
	}
	return r.Join, NewSecret(t.Reveal()), nil
}

// RevokeJoin ends a join token; nodes that joined with it stay. An unknown id is [ErrNotFound].
func (b *Book) RevokeJoin(ctx context.Context, id string) error {
	_, err := b.joins.update(ctx, id, func(r joinRecord) (joinRecord, error) {
		if r.ID == "" {
			return r, fmt.Errorf("join token %s: %w; \"polder token list\" shows the ids", id, ErrNotFound)
		}
		if r.Revoked.IsZero() {
			r.Revoked = b.now().UTC()
		}
		return r, nil
	})
	return err
}

// Joins returns every join token ever issued, by id.
func (b *Book) Joins() []Join {
	var joins []Join
	for _, r := range b.joins.all() {
		joins = append(joins, r.Join)
	}
	return joins
}

// CheckJoin returns nil if a join token is good, without using it. Errors are [ErrUnauthenticated].
func (b *Book) CheckJoin(token Secret) error {
	t, err := ParseJoinToken(token.Reveal())
	if err != nil {
		return err
	}
	r, _ := b.joins.get(t.ID)
	return b.checkJoin(r.value, t)
}

func (b *Book) checkJoin(r joinRecord, t JoinToken) error {
	if !matchesHash(t.Secret, r.Hash) || r.ID == "" {
		return fmt.Errorf("%w: join token %s; create one with \"polder token create NAME --join\"", ErrUnknownToken, t.ID)
	}
	return checkLife("join token "+r.ID, r.Expires, r.Revoked, b.now())
}

// redeem checks the token and counts a use of it. The same node with the same key counts once: an agent that lost the
// answer may ask again.
func (b *Book) redeem(ctx context.Context, token Secret, user string) error {
	t, err := ParseJoinToken(token.Reveal())
	if err != nil {
		return err
	}
	r, _ := b.joins.get(t.ID)
	if err := b.checkJoin(r.value, t); err != nil || r.value.Uses == 0 || slices.Contains(r.value.Used, user) {
		return err
	}
	_, err = b.joins.update(ctx, t.ID, func(r joinRecord) (joinRecord, error) {
		if err := b.checkJoin(r, t); err != nil || slices.Contains(r.Used, user) {
			return r, err
		}
		if len(r.Used) >= r.Uses {
			return r, fmt.Errorf("%w: %s let %d nodes in; create another", ErrUsedUp, r.ID, r.Uses)
		}
		r.Used = append(slices.Clone(r.Used), user)
		return r, nil
	})
	return err
}
