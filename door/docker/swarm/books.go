package swarm

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"polder.dev/polder/door/docker/swarm/orchestrator"
	"polder.dev/polder/store"
)

// Where things are in the store.
const (
	prefix    = "/docker/swarm/"
	servicesP = prefix + "services/"
	tasksP    = prefix + "tasks/"
)

// books write down what is wanted, fenced.
type books struct {
	reader store.Store
	writer store.Leadership
	key    *sealer

	mu    sync.Mutex          // guards later, and is held while something is written
	later map[string]store.Op // what may wait, by key
	some  chan struct{}       // there is something in later
}

func newBooks(reader store.Store, writer store.Leadership, key *sealer) *books {
	return &books{reader: reader, writer: writer, key: key, later: map[string]store.Op{}, some: make(chan struct{}, 1)}
}

// load reads everything.
func (b *books) load(ctx context.Context) (services []orchestrator.Service, tasks []orchestrator.Task, v vault, err error) {
	snap, err := b.reader.View(ctx, prefix)
	v = vault{}
	for _, e := range snap.Entries {
		if err != nil {
			break
		}
		switch {
		case strings.HasPrefix(e.Key, servicesP):
			services, err = appended(services, e.Value)
		case strings.HasPrefix(e.Key, tasksP):
			tasks, err = appended(tasks, e.Value)
		default:
			var x item
			if err = b.key.open(e.Key, e.Value, &x); err == nil {
				v[x.ID] = x
			}
		}
		if err != nil {
			err = fmt.Errorf("what is in the store under %s: %w", e.Key, err)
		}
	}
	return services, tasks, v, err
}

func appended[T any](list []T, data []byte) ([]T, error) {
	var x T
	err := json.Unmarshal(data, &x)
	return append(list, x), err
}

// write writes the records among effects, as few transactions as the store takes. What the pool says again to whoever starts anew may wait a
// little for company, and to be written over.
func (b *books) write(ctx context.Context, effects []orchestrator.Effect) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	ops, err := records(effects)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(effects, urgent):
		return b.now(ctx, ops)
	case len(ops) > 0:
		b.wait(ops)
	}
	return nil
}

// urgent reports whether an effect is about what only the books know, or is done after it is written down: all but how a task that is wanted gets on.
func urgent(f orchestrator.Effect) bool {
	save, ok := f.(orchestrator.SaveTask)
	t := save.Task
	return !ok || !t.Wanted || t.State != orchestrator.Starting && t.State != orchestrator.Running
}

// lateWithin is how long what is not urgent waits. A write costs much the same for one task as for many.
const lateWithin = time.Second

// late writes what waits until ctx ends. What is left then the pool says again.
func (b *books) late(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.some:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lateWithin):
		}
		b.mu.Lock()
		err := b.flush(ctx)
		b.mu.Unlock()
		if err != nil {
			return fmt.Errorf("%w: %w", errWriting, err)
		}
	}
}

// flush writes everything that waits. The caller holds mu.
func (b *books) flush(ctx context.Context) error {
	ops := slices.Collect(maps.Values(b.later))
	slices.SortFunc(ops, func(a, b store.Op) int { return cmp.Compare(a.Key, b.Key) })
	return b.now(ctx, ops)
}

// now writes operations; what waits of the same keys is then out of date. The caller holds mu.
func (b *books) now(ctx context.Context, all []store.Op) error {
	for _, ops := range store.Cut(all, store.MaxOps/2, store.MaxBytes/2) {
		if _, err := b.writer.Update(ctx, store.Txn{Ops: ops}); err != nil {
			return err
		}
	}
	for _, op := range all {
		delete(b.later, op.Key)
	}
	return nil
}

// wait has operations written with the next that wait. The caller holds mu.
func (b *books) wait(ops []store.Op) {
	for _, op := range ops {
		b.later[op.Key] = op
	}
	select {
	case b.some <- struct{}{}:
	default:
	}
}

// records are the operations that write the records among effects down.
func records(effects []orchestrator.Effect) (ops []store.Op, err error) {
	for _, f := range effects {
		op, ok, err := record(f)
		if err != nil {
			return nil, err
		}
		if ok {
			ops = append(ops, op)
		}
	}
	return ops, nil
}

// record is an effect as an operation of the store.
func record(f orchestrator.Effect) (op store.Op, ok bool, err error) {
	var data []byte
	switch f := f.(type) {
	case orchestrator.SaveService:
		data, err = json.Marshal(f.Service)
		return store.Put(servicesP+f.Service.ID, data), true, err
	case orchestrator.SaveTask:
		data, err = json.Marshal(f.Task)
		return store.Put(tasksP+f.Task.ID, data), true, err
	case orchestrator.DropService:
		return store.Delete(servicesP + f.ID), true, nil
	case orchestrator.DropTask:
		return store.Delete(tasksP + f.Task.ID), true, nil
	}
	return op, false, nil
}

// sealer keeps what is in the store from who can read the store.
type sealer struct{ aead cipher.AEAD }

func newSealer(key [32]byte) *sealer {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has a length that fits
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block has a size that fits
	}
	return &sealer{aead}
}

// seal makes a value that only opens under its key in the store.
func (s *sealer) seal(at string, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce) // never fails
	return s.aead.Seal(nonce, nonce, data, []byte(at)), nil
}

func (s *sealer) open(at string, data []byte, v any) error {
	n := s.aead.NonceSize()
	if len(data) < n {
		return fmt.Errorf("too short to be sealed")
	}
	plain, err := s.aead.Open(nil, data[:n], data[n:], []byte(at))
	if err != nil {
		return fmt.Errorf("it was sealed with another certificate authority's key: %w", err)
	}
	return json.Unmarshal(plain, v)
}
