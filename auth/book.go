package auth

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Book holds the tokens, the join tokens, the members (agents and doors with a certificate) and the permission table. It
// answers from memory and writes through to its [Records]; a change is visible here only once it is durable.
//
// It expects to be the only writer, as the leader is. A write that meets another writer's fails with [ErrConflict] or is
// retried on the newer record; what others wrote is otherwise seen after [Book.Reload].
type Book struct {
	now     func() time.Time
	tokens  *shelf[tokenRecord]
	joins   *shelf[joinRecord]
	members *shelf[Member]
	tables  *shelf[table]
	policy  atomic.Pointer[revisedPolicy]
	signed  signed
}

// table is the whole permission table in one record, so that it changes as one.
type table struct {
	Rules []Rule `json:"rules"`
}

type revisedPolicy struct {
	*Policy
	revision int64
}

const tableName = "policy"

// Open reads the book. now is the clock expiry is judged by.
func Open(ctx context.Context, r Records, now func() time.Time) (*Book, error) {
	b := &Book{
		now:     now,
		tokens:  newShelf[tokenRecord](r, "/auth/token/"),
		joins:   newShelf[joinRecord](r, "/auth/join/"),
		members: newShelf[Member](r, "/auth/member/"),
		tables:  newShelf[table](r, "/auth/table/"),
	}
	return b, b.Reload(ctx)
}

// Reload reads again what is durable.
func (b *Book) Reload(ctx context.Context) error {
	for _, load := range []func(context.Context) error{b.tokens.load, b.joins.load, b.members.load, b.tables.load} {
		if err := load(ctx); err != nil {
			return fmt.Errorf("reading identities and permissions: %w", err)
		}
	}
	return b.compile()
}

// compile publishes the policy of the newest table, and never an older one over a newer.
func (b *Book) compile() error {
	r, _ := b.tables.get(tableName)
	p, err := NewPolicy(r.value.Rules)
	if err != nil {
		return fmt.Errorf("stored permission table: %w", err)
	}
	next := &revisedPolicy{p, r.revision}
	for {
		old := b.policy.Load()
		if old != nil && old.revision > next.revision || b.policy.CompareAndSwap(old, next) {
			return nil
		}
	}
}

// Policy returns the permission table in force.
func (b *Book) Policy() *Policy { return b.policy.Load().Policy }

// Rules returns the rules of the table in force and its revision, 0 if it was never set.
func (b *Book) Rules() ([]Rule, int64) {
	p := b.policy.Load()
	return p.Rules(), p.revision
}

// SetRules replaces the permission table if its revision is still the given one; else [ErrConflict]. A bad rule is
// [ErrInvalid] and changes nothing.
func (b *Book) SetRules(ctx context.Context, rules []Rule, revision int64) error {
	if _, err := NewPolicy(rules); err != nil {
		return err
	}
	if err := b.tables.save(ctx, tableName, table{Rules: slices.Clone(rules)}, revision); err != nil {
		return err
	}
	return b.compile()
}
