package auth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Records is where the book is durable: JSON values under keys that start with "/auth/". store.Records implements it over
// any store; the two packages do not know each other.
type Records interface {
	// Load calls each for every key with the prefix and returns the revision of the whole view.
	Load(ctx context.Context, prefix string, each func(key string, value []byte, revision int64) error) (int64, error)
	// Save writes key if its revision is still the given one (0: it does not exist) and returns the new one. It is
	// false, with no error, when somebody else was first.
	Save(ctx context.Context, key string, value []byte, revision int64) (int64, bool, error)
}

// decodeStrict decodes one JSON value; unknown fields and trailing data are errors.
func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the value")
	}
	return nil
}

// shelf is a written-through copy of the records under one prefix. Rows are never deleted, only marked: then a row with
// a higher revision is always the newer truth, whatever order loads and saves finish in.
type shelf[T any] struct {
	records Records
	prefix  string
	mu      sync.RWMutex // guards rows; not held across I/O
	rows    map[string]row[T]
}

type row[T any] struct {
	value    T
	revision int64
}

func newShelf[T any](r Records, prefix string) *shelf[T] {
	return &shelf[T]{records: r, prefix: prefix, rows: map[string]row[T]{}}
}

// load reads everything under the prefix.
func (s *shelf[T]) load(ctx context.Context) error {
	_, err := s.records.Load(ctx, s.prefix, func(key string, value []byte, revision int64) error {
		var v T
		if err := decodeStrict(value, &v); err != nil {
			return fmt.Errorf("record %s: %w; written by a newer version, or by hand?", key, err)
		}
		s.keep(strings.TrimPrefix(key, s.prefix), row[T]{v, revision})
		return nil
	})
	return err
}

func (s *shelf[T]) keep(name string, r row[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.revision > s.rows[name].revision {
		s.rows[name] = r
	}
}

func (s *shelf[T]) get(name string) (row[T], bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.rows[name]
	return r, ok
}

// all returns the values in the order of their names.
func (s *shelf[T]) all() []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	values := make([]T, 0, len(s.rows))
	for _, name := range slices.SortedFunc(maps.Keys(s.rows), cmp.Compare[string]) {
		values = append(values, s.rows[name].value)
	}
	return values
}

// save writes one value over the given revision.
func (s *shelf[T]) save(ctx context.Context, name string, v T, revision int64) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %s%s: %w", s.prefix, name, err)
	}
	now, ok, err := s.records.Save(ctx, s.prefix+name, data, revision)
	if err != nil {
		return fmt.Errorf("record %s%s: %w", s.prefix, name, err)
	}
	if !ok {
		return fmt.Errorf("record %s%s: %w; read it again and retry", s.prefix, name, ErrConflict)
	}
	s.keep(name, row[T]{v, now})
	return nil
}

// update applies change to the current value (the zero value if there is none) and saves it, again if somebody else
// was first. change must not modify what its argument points to.
func (s *shelf[T]) update(ctx context.Context, name string, change func(T) (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		old, _ := s.get(name)
		v, err := change(old.value)
		if err != nil {
			return v, err
		}
		err = s.save(ctx, name, v, old.revision)
		if err == nil || !errors.Is(err, ErrConflict) || attempt == 3 {
			return v, err
		}
		if err := s.load(ctx); err != nil {
			return v, err
		}
	}
}
