package auth

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a Records in a map. hook, when set, runs before each save, as another writer would.
type memory struct {
	mu       sync.Mutex
	revision int64
	rows     map[string]row[[]byte]
	hook     func()
}

func newMemory() *memory { return &memory{rows: map[string]row[[]byte]{}} }

func (m *memory) Load(_ context.Context, prefix string, each func(string, []byte, int64) error) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, r := range m.rows {
		if strings.HasPrefix(key, prefix) {
			if err := each(key, r.value, r.revision); err != nil {
				return 0, err
			}
		}
	}
	return m.revision, nil
}

func (m *memory) Save(_ context.Context, key string, value []byte, revision int64) (int64, bool, error) {
	if hook := m.hook; hook != nil {
		m.hook = nil
		hook()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[key].revision != revision {
		return 0, false, nil
	}
	m.revision++
	m.rows[key] = row[[]byte]{slices.Clone(value), m.revision}
	return m.revision, true, nil
}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// house is a book, an authority and an authenticator on one clock.
type house struct {
	*clock
	records *memory
	book    *Book
	ca      *CA
	auth    *Authenticator
}

func newHouse(t *testing.T) *house {
	t.Helper()
	c, m := newClock(), newMemory()
	book, err := Open(t.Context(), m, c.now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := OpenCA(t.TempDir(), c.now())
	if err != nil {
		t.Fatal(err)
	}
	return &house{c, m, book, ca, &Authenticator{Book: book, Root: ca.Root()}}
}

func (h *house) token(t *testing.T, spec TokenSpec) (Token, Secret) {
	t.Helper()
	token, secret, err := h.book.CreateToken(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return token, secret
}

func (h *house) joinToken(t *testing.T, spec JoinSpec) (Join, Secret) {
	t.Helper()
	join, secret, err := h.book.CreateJoin(t.Context(), h.ca, spec)
	if err != nil {
		t.Fatal(err)
	}
	return join, secret
}

// agent makes credentials for a node in a directory of its own, joined.
func (h *house) agent(t *testing.T, node string) *Credentials {
	t.Helper()
	_, secret := h.joinToken(t, JoinSpec{TTL: time.Hour})
	c := newCredentials(t, Identity{Kind: Agent, Name: node})
	if err := h.join(t, secret, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func newCredentials(t *testing.T, id Identity) *Credentials {
	t.Helper()
	c, err := OpenCredentials(t.TempDir(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *house) join(t *testing.T, secret Secret, c *Credentials) error {
	t.Helper()
	_, chain, err := h.book.Join(t.Context(), h.ca, secret, request(t, c))
	if err != nil {
		return err
	}
	return c.Accept(chain, Digest(h.ca.Root()))
}

func request(t *testing.T, c *Credentials) []byte {
	t.Helper()
	csr, err := c.Request()
	if err != nil {
		t.Fatal(err)
	}
	return csr
}
