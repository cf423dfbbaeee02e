package auth

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTokensSurviveReopening(t *testing.T) {
	h := newHouse(t)
	token, secret := h.token(t, TokenSpec{Name: "alice", Groups: []string{"search"}, TTL: time.Hour, By: "user:root"})
	if err := h.book.SetRules(t.Context(), []Rule{{"group:search", []Verb{Run}, "corp/search/**"}}, 0); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), h.records, h.now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := again.VerifyToken(secret)
	if err != nil || again.Policy().Check(id, Run, "corp/search/rank") != nil || again.Policy().Check(id, Run, "corp") == nil {
		t.Errorf("after reopening: %v %v", id, err)
	}
	if got, ok := again.Token(token.ID); !ok || got.By != "user:root" || len(again.Tokens()) != 1 {
		t.Errorf("token = %+v", got)
	}
	for key, r := range h.records.rows {
		if strings.Contains(string(r.value), secret.Reveal()[18:]) {
			t.Errorf("record %s holds the secret", key)
		}
	}
}

func TestVerifyToken(t *testing.T) {
	h := newHouse(t)
	token, secret := h.token(t, TokenSpec{Name: "alice", TTL: time.Hour})
	other, otherSecret := h.token(t, TokenSpec{Name: "bob"})
	mixed := strings.Replace(secret.Reveal(), token.ID, other.ID, 1)
	unknown := UserToken{newID(), newSecret()}.Reveal()
	for text, want := range map[string]error{
		secret.Reveal(): nil, otherSecret.Reveal(): nil, mixed: ErrUnknownToken, unknown: ErrUnknownToken, "": ErrMalformedToken,
	} {
		if _, err := h.book.VerifyToken(NewSecret(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	h.advance(time.Hour - time.Nanosecond)
	if _, err := h.book.VerifyToken(secret); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	h.advance(time.Nanosecond)
	if _, err := h.book.VerifyToken(secret); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v, want ErrExpired", err)
	}
	for range 2 {
		if err := h.book.RevokeToken(t.Context(), other.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.book.VerifyToken(otherSecret); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked: %v, want ErrRevoked", err)
	}
	if _, err := h.book.VerifyToken(NewSecret(mixed)); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("a wrong secret learns that the token was revoked: %v", err)
	}
	if err := h.book.RevokeToken(t.Context(), "nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoking nothing: %v", err)
	}
}

func TestBadSpecs(t *testing.T) {
	h := newHouse(t)
	for _, spec := range []TokenSpec{{}, {Name: "a b"}, {Name: "-a"}, {Name: "a", Groups: []string{"x", ""}}, {Name: "a", TTL: -1}, {Name: strings.Repeat("a", 129)}} {
		if _, _, err := h.book.CreateToken(t.Context(), spec); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", spec, err)
		}
	}
	for _, spec := range []JoinSpec{{}, {TTL: -1}, {TTL: 1, Uses: -1}, {TTL: 1, Uses: maxUses + 1}} {
		if _, _, err := h.book.CreateJoin(t.Context(), h.ca, spec); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", spec, err)
		}
	}
	if len(h.records.rows) != 0 {
		t.Errorf("records: %v", h.records.rows)
	}
}

func TestBootstrap(t *testing.T) {
	h := newHouse(t)
	secret, made, err := h.book.Bootstrap(t.Context())
	if err != nil || !made {
		t.Fatalf("first: %v %v", made, err)
	}
	id, err := h.book.VerifyToken(secret)
	if err != nil || h.book.Policy().Check(id, Admin, "") != nil {
		t.Errorf("the first token is of %v, %v", id, err)
	}
	if _, made, err := h.book.Bootstrap(t.Context()); made || err != nil {
		t.Errorf("second: %v %v, want none", made, err)
	}
	if err := h.book.RevokeToken(t.Context(), h.book.Tokens()[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, made, err := h.book.Bootstrap(t.Context()); !made || err != nil {
		t.Errorf("after revoking: %v %v, want another: nobody could get in", made, err)
	}
}

func TestSetRules(t *testing.T) {
	h := newHouse(t)
	alice := Identity{Kind: User, Name: "alice"}
	rules := []Rule{{"user:alice", []Verb{View}, "**"}}
	if err := h.book.SetRules(t.Context(), rules, 0); err != nil {
		t.Fatal(err)
	}
	got, revision := h.book.Rules()
	if len(got) != 1 || revision == 0 || h.book.Policy().Check(alice, View, "x") != nil {
		t.Errorf("rules %v at %d", got, revision)
	}
	if err := h.book.SetRules(t.Context(), nil, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("over an old revision: %v, want ErrConflict", err)
	}
	if err := h.book.SetRules(t.Context(), []Rule{{"x", nil, ""}}, revision); !errors.Is(err, ErrInvalid) {
		t.Errorf("bad rules: %v, want ErrInvalid", err)
	}
	if err := h.book.SetRules(t.Context(), nil, revision); err != nil || h.book.Policy().Check(alice, View, "x") == nil {
		t.Errorf("taking the rule away: %v", err)
	}
}

func TestOpenIsStrict(t *testing.T) {
	for key, value := range map[string]string{
		"/auth/token/abc":    `{"id":"abc","name":"a","by":"b","created":"2026-01-01T00:00:00Z","hash":"","scope":"all"}`,
		"/auth/join/abc":     `{} {}`,
		"/auth/member/a/b":   `{"kind":`,
		"/auth/table/policy": `{"rules":[{"subject":"user:a","verbs":["everything"],"role":"**"}]}`,
	} {
		m := newMemory()
		m.rows[key] = row[[]byte]{[]byte(value), 1}
		if _, err := Open(t.Context(), m, time.Now); err == nil {
			t.Errorf("%s = %s was read", key, value)
		}
	}
}

func TestJoin(t *testing.T) {
	h := newHouse(t)
	join, secret := h.joinToken(t, JoinSpec{TTL: time.Hour, Uses: 2})
	one, two, three := newAgent(t, "node-1"), newAgent(t, "node-2"), newAgent(t, "node-3")
	for range 3 { // the answer was lost, twice
		if err := h.join(t, secret, one); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.join(t, secret, two); err != nil {
		t.Fatal(err)
	}
	if err := h.join(t, secret, three); !errors.Is(err, ErrUsedUp) {
		t.Errorf("third node with a token for two: %v, want ErrUsedUp", err)
	}
	_, open := h.joinToken(t, JoinSpec{TTL: time.Hour})
	if err := h.join(t, open, newAgent(t, "node-1")); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "forget") {
		t.Errorf("another machine under the name of node-1: %v, want a denial that says how", err)
	}
	if err := h.join(t, open, newCredentials(t, Identity{Kind: Door, Name: "kube"})); !errors.Is(err, ErrDenied) {
		t.Errorf("a door with an agent's token: %v, want ErrDenied", err)
	}
	if err := h.book.RevokeJoin(t.Context(), join.ID); err != nil {
		t.Fatal(err)
	}
	if err := h.join(t, secret, one); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked join token: %v", err)
	}
	h.advance(time.Hour)
	if err := h.join(t, open, three); !errors.Is(err, ErrExpired) {
		t.Errorf("expired join token: %v", err)
	}
	wrong := NewSecret(JoinToken{Digest(h.ca.Root()), join.ID, newSecret()}.Reveal())
	if err := h.join(t, wrong, three); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("wrong secret: %v", err)
	}
	if err := h.book.RevokeJoin(t.Context(), "nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoking nothing: %v", err)
	}
	if n := len(h.book.Members()); n != 2 {
		t.Errorf("%d members, want 2", n)
	}
	if j := h.book.Joins(); len(j) != 2 {
		t.Errorf("joins %v", j)
	}
}

func newAgent(t *testing.T, node string) *Credentials {
	t.Helper()
	return newCredentials(t, Identity{Kind: Agent, Name: node})
}

func TestUseLimitUnderRace(t *testing.T) {
	h := newHouse(t)
	_, secret := h.joinToken(t, JoinSpec{TTL: time.Hour, Uses: 1})
	requests := map[string][]byte{}
	for _, node := range []string{"a", "b", "c"} {
		requests[node] = request(t, newAgent(t, node))
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	in := 0
	for _, csr := range requests {
		wg.Go(func() {
			_, _, err := h.book.Join(t.Context(), h.ca, secret, csr)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				in++
			} else if !errors.Is(err, ErrUsedUp) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in != 1 {
		t.Errorf("%d nodes came in with a token for one", in)
	}
}

// TestStaleWriter is about a deposed leader's book: what it does not know it does not overwrite.
func TestStaleWriter(t *testing.T) {
	h := newHouse(t)
	stale, err := Open(t.Context(), h.records, h.now)
	if err != nil {
		t.Fatal(err)
	}
	token, secret := h.token(t, TokenSpec{Name: "alice"})
	if err := stale.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.records.hook = func() {
		if err := h.book.RevokeToken(t.Context(), token.ID); err != nil {
			t.Error(err)
		}
	}
	h.advance(time.Minute)
	if err := stale.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	first, _ := h.book.Token(token.ID)
	if err := h.book.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second, _ := h.book.Token(token.ID); !second.Revoked.Equal(first.Revoked) {
		t.Errorf("revoked at %v, overwritten with %v", first.Revoked, second.Revoked)
	}
	if _, err := stale.VerifyToken(secret); !errors.Is(err, ErrRevoked) {
		t.Errorf("stale book: %v", err)
	}
}

func TestRenewAndForget(t *testing.T) {
	h := newHouse(t)
	c, id := h.agent(t, "node-1"), Identity{Kind: Agent, Name: "node-1"}
	before := c.RenewAt()
	h.advance(61 * 24 * time.Hour)
	if !before.Before(h.now()) {
		t.Errorf("after 61 of 90 days: renew at %v", before)
	}
	chain, err := h.book.Renew(t.Context(), h.ca, id, request(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(chain, ""); err != nil || !c.RenewAt().After(before) {
		t.Errorf("renewed until %v, %v", c.RenewAt(), err)
	}
	if _, err := h.book.Renew(t.Context(), h.ca, id, request(t, newAgent(t, "node-1"))); !errors.Is(err, ErrRevoked) {
		t.Errorf("renewing with another key: %v", err)
	}
	if _, err := h.book.Renew(t.Context(), h.ca, id, request(t, newAgent(t, "node-2"))); !errors.Is(err, ErrDenied) {
		t.Errorf("renewing as another node: %v", err)
	}
	if err := h.book.Forget(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := h.auth.byCertificate(c.pair.Leaf); !errors.Is(err, ErrRevoked) {
		t.Errorf("a forgotten agent's certificate: %v, want ErrRevoked", err)
	}
	next := h.agent(t, "node-1") // another machine may have the name now
	if got, err := h.auth.byCertificate(next.pair.Leaf); err != nil || got.Name != "node-1" {
		t.Errorf("its successor: %v %v", got, err)
	}
	if _, err := h.auth.byCertificate(c.pair.Leaf); !errors.Is(err, ErrRevoked) {
		t.Errorf("the old machine after that: %v, want ErrRevoked", err)
	}
	if err := h.book.Forget(t.Context(), Identity{Kind: Agent, Name: "nobody"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("forgetting nobody: %v", err)
	}
}

func TestIssueDoor(t *testing.T) {
	h := newHouse(t)
	c := newCredentials(t, Identity{Kind: Door, Name: "kube"})
	_, chain, err := h.book.IssueDoor(t.Context(), h.ca, request(t, c))
	if err != nil || c.Accept(chain, Digest(h.ca.Root())) != nil {
		t.Fatal(err)
	}
	if id, err := h.auth.byCertificate(c.pair.Leaf); err != nil || id.String() != "door:kube" {
		t.Errorf("%v %v", id, err)
	}
	if _, _, err := h.book.IssueDoor(t.Context(), h.ca, request(t, newAgent(t, "n"))); !errors.Is(err, ErrDenied) {
		t.Errorf("an agent as a door: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	h, foreign := newHouse(t), newHouse(t)
	dir, id := t.TempDir(), Identity{Kind: Agent, Name: "node-1"}
	open := func() (*Credentials, error) { return OpenCredentials(dir, id) }
	c, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TLS(); !errors.Is(err, ErrNoCredentials) || c.Joined() || !c.RenewAt().IsZero() {
		t.Errorf("before joining: %v", err)
	}
	again, err := open() // died before the answer came
	if err != nil || !again.key.Equal(c.key) {
		t.Fatalf("the key changed: %v", err)
	}
	_, secret := h.joinToken(t, JoinSpec{TTL: time.Hour})
	_, foreignSecret := foreign.joinToken(t, JoinSpec{TTL: time.Hour})
	if err := h.join(t, secret, again); err != nil {
		t.Fatal(err)
	}
	_, chain, err := foreign.book.Join(t.Context(), foreign.ca, foreignSecret, request(t, c))
	if err != nil || !errors.Is(again.Accept(chain, ""), ErrForeignCertificate) {
		t.Errorf("another cluster's certificate was taken: %v", err)
	}
	last, err := open()
	if err != nil || !last.Joined() {
		t.Errorf("after joining: %v", err)
	}
	path := filepath.Join(dir, "agent-node-1.pem")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.Truncate(path, 200); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := OpenCredentials(dir, Identity{Kind: Agent, Name: "../x"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a name that leaves the directory: %v", err)
	}
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add([]byte(`{"id":"a","name":"b","by":"c","created":"2026-01-01T00:00:00Z","hash":"d"}`))
	f.Add([]byte(`{"rules":[{"subject":"*","verbs":["view"],"role":"**"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var token tokenRecord
		var rules table
		if decodeStrict(data, &token) == nil {
			if _, err := json.Marshal(token); err != nil {
				t.Fatal(err)
			}
		}
		if decodeStrict(data, &rules) == nil {
			if p, err := NewPolicy(rules.Rules); err == nil && p.Check(Identity{}, View, "") == nil {
				t.Fatal("nobody may view")
			}
		}
	})
}
