package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Limits of one [Txn]. Whoever has more to write sends several.
const (
	MaxOps   = 1024    // operations, and as many conditions
	MaxBytes = 4 << 20 // keys and values together
	maxKey   = 1024
)

// Errors to test for with errors.Is.
var (
	ErrConflict  = errors.New("changed by somebody else")      // a condition of the Txn did not hold; nothing was written
	ErrNotLeader = errors.New("no longer leader")              // the Leadership was lost; nothing was written
	ErrCompacted = errors.New("changes are no longer kept")    // the watcher is too far behind: View again
	ErrInvalid   = errors.New("invalid transaction")           // a programming error: too large, bad key, key twice
	ErrFull      = errors.New("store is full")                 // no room on the disk or in the quota; reads still work
	ErrClosed    = errors.New("store is closed")               // by Close, or because it failed underneath
	ErrInUse     = errors.New("data directory is in use")      // by another process
	ErrCorrupt   = errors.New("data directory cannot be read") // damaged, or written by something else
)

// Entry is one key as it is.
type Entry struct {
	Key      string
	Value    []byte // not to be modified
	Revision int64  // of the store, when it was last written
}

// Snapshot is every key under a prefix at one revision, in order of key.
type Snapshot struct {
	Revision int64
	Entries  []Entry
}

// Op writes or deletes one key. Use [Put] and [Delete].
type Op struct {
	Key    string
	Value  []byte // the store's once it is handed over: not to be modified
	Delete bool
}

// Put sets key to value.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value} }

// Delete removes key; a key that is not there is fine.
func Delete(key string) Op { return Op{Key: key, Delete: true} }

// Condition holds if the key was last written at Revision, or, for Revision 0, does not exist.
type Condition struct {
	Key      string
	Revision int64
}

// Txn writes all of Ops if all of If hold, else nothing. A key occurs in Ops once at most. The values are the store's, the list of them is
// not: whoever made it may use it again.
type Txn struct {
	If  []Condition
	Ops []Op
}

// Change is what one transaction did to the keys under a prefix. A Change with Err set is the last of its channel.
type Change struct {
	Revision int64
	Ops      []Op // in order of key
	Err      error
}

// Store keeps keys.
type Store interface {
	// View returns every key that starts with prefix ("" is all).
	View(ctx context.Context, prefix string) (Snapshot, error)

	// Update does a transaction without a fence and returns the revision it made, or the present one if it changed
	// nothing. Errors: ErrConflict, ErrInvalid, ErrFull, ErrClosed. When ctx ends first it may still have happened.
	Update(ctx context.Context, t Txn) (int64, error)

	// Watch sends every change to keys under prefix with a revision above after, in order: with the revision of a View
	// there is no gap. The channel closes when ctx ends or the store closes, or after a Change with Err (ErrCompacted,
	// also for a reader that is too slow). The channel must be read or ctx ended.
	Watch(ctx context.Context, prefix string, after int64) <-chan Change

	// Campaign blocks until this store's process leads the named election, or ctx ends.
	Campaign(ctx context.Context, name string) (Leadership, error)

	// Close ends watches and leaderships and releases everything, at last.
	Close() error
}

// Leadership is a won election.
type Leadership interface {
	// Update is [Store.Update], fenced: it fails with ErrNotLeader, atomically, if the election was lost meanwhile,
	// even if this process has not noticed.
	Update(ctx context.Context, t Txn) (int64, error)
	// Term grows with each new leader of the election.
	Term() int64
	// Done is closed when the leadership is known to be lost.
	Done() <-chan struct{}
	// Resign gives up, so that another may lead at once. Again is fine.
	Resign(ctx context.Context) error
}

// Validate returns an [ErrInvalid] for a transaction that no store takes.
func (t Txn) Validate() error {
	if len(t.Ops) > MaxOps || len(t.If) > MaxOps {
		return fmt.Errorf("%w: %d operations and %d conditions, at most %d each; send several", ErrInvalid, len(t.Ops), len(t.If), MaxOps)
	}
	size, seen := 0, make(map[string]bool, len(t.Ops))
	for _, op := range t.Ops {
		if err := op.Validate(); err != nil {
			return err
		}
		if seen[op.Key] {
			return fmt.Errorf("%w: key %s is written twice", ErrInvalid, op.Key)
		}
		seen[op.Key], size = true, size+op.Size()
	}
	if size > MaxBytes {
		return tooLarge(size)
	}
	for _, c := range t.If {
		if err := checkKey(c.Key); err != nil {
			return err
		}
	}
	return nil
}

// Size is how many bytes of a transaction it is.
func (o Op) Size() int { return len(o.Key) + len(o.Value) }

// Validate returns an [ErrInvalid] for an operation that no transaction may have.
func (o Op) Validate() error {
	if o.Size() > MaxBytes {
		return tooLarge(o.Size())
	}
	return checkKey(o.Key)
}

func tooLarge(size int) error {
	return fmt.Errorf("%w: %d bytes, at most %d; send several", ErrInvalid, size, MaxBytes)
}

func checkKey(key string) error {
	if len(key) < 2 || len(key) > maxKey || !strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/") || strings.Contains(key, "//") {
		return fmt.Errorf("%w: key %.80q is not of the form /kind/name with at most %d bytes", ErrInvalid, key, maxKey)
	}
	return nil
}
