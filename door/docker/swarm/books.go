package swarm

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

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

// write writes the records among effects, as few transactions as the store takes.
func (b *books) write(ctx context.Context, effects []orchestrator.Effect) error {
	var ops []store.Op
	size := 0
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := b.writer.Update(ctx, store.Txn{Ops: ops})
		ops, size = nil, 0
		return err
	}
	for _, f := range effects {
		op, ok, err := record(f)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if len(ops) == store.MaxOps/2 || size+len(op.Value) > store.MaxBytes/2 {
			if err := flush(); err != nil {
				return err
			}
		}
		ops, size = append(ops, op), size+len(op.Value)
	}
	return flush()
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
