package store

import (
	"context"
	"errors"
)

// Records reads and writes single keys, for packages that keep a few records and need not know more of a store.
type Records struct {
	Reader interface {
		View(ctx context.Context, prefix string) (Snapshot, error)
	}
	Writer interface { // a Leadership, so that every record is fenced
		Update(ctx context.Context, t Txn) (int64, error)
	}
}

// Load calls each for every key with the prefix, in order, and returns the revision of the view.
func (r Records) Load(ctx context.Context, prefix string, each func(key string, value []byte, revision int64) error) (int64, error) {
	snap, err := r.Reader.View(ctx, prefix)
	if err != nil {
		return 0, err
	}
	for _, e := range snap.Entries {
		if err := each(e.Key, e.Value, e.Revision); err != nil {
			return 0, err
		}
	}
	return snap.Revision, nil
}

// Save writes key if its revision is still the given one (0: it does not exist) and returns the new one. It is false,
// with no error, when somebody else was first.
func (r Records) Save(ctx context.Context, key string, value []byte, revision int64) (int64, bool, error) {
	now, err := r.Writer.Update(ctx, Txn{If: []Condition{{key, revision}}, Ops: []Op{Put(key, value)}})
	if errors.Is(err, ErrConflict) {
		return 0, false, nil
	}
	return now, err == nil, err
}
