package web

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
)

const (
	sessionLife = 12 * time.Hour
	ticketLife  = 5 * time.Minute
	mostTickets = 256
)

// sealer makes cookies nobody else can read or make.
type sealer struct {
	box    cipher.AEAD
	cookie string // its name, which tells clusters on one host apart: a browser's cookies know no ports
}

func newSealer(key []byte) (*sealer, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("console: the key has %d bytes, want 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	box, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(key)
	return &sealer{box, "__Host-polder-" + hex.EncodeToString(sum[:4])}, nil
}

// session is what a cookie holds.
type session struct {
	Token string    `json:"token"`
	Until time.Time `json:"until"`
}

func (s *sealer) seal(v session) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.box.Seal(nil, nil, plain, []byte(s.cookie))), nil
}

func (s *sealer) open(text string) (v session, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return v, err
	}
	plain, err := s.box.Open(nil, nil, sealed, []byte(s.cookie))
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(plain, &v)
}

// token is the one the browser logged in with. Whether it is still good is the server's to say.
func (c *console) token(r *http.Request) (string, error) {
	cookie, err := r.Cookie(c.seal.cookie)
	if err != nil {
		return "", errNoSession
	}
	s, err := c.seal.open(cookie.Value)
	if err != nil || !c.now().Before(s.Until) {
		return "", errNoSession
	}
	return s.Token, nil
}

// setCookie gives the browser a cookie; an age below zero takes it away.
func (c *console) setCookie(w http.ResponseWriter, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: c.seal.cookie, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// credential is what a browser logs in with: one of the two.
type credential struct {
	Token  string `json:"token"`
	Ticket string `json:"ticket"`
}

// login turns a token or a ticket into a cookie.
func (c *console) login(w http.ResponseWriter, r *http.Request) {
	var in credential
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLogin))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("send {\"token\": ...} or {\"ticket\": ...}: %w", err))
		return
	}
	token := strings.TrimSpace(in.Token)
	if in.Ticket != "" {
		var ok bool
		if token, ok = c.tickets.redeem(in.Ticket); !ok {
			refuse(w, http.StatusUnauthorized, errors.New("this link was used, or is too old; run \"polder console\" again"))
			return
		}
	}
	if err := c.check(r.Context(), token, r.RemoteAddr); err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	sealed, err := c.seal.seal(session{token, c.now().Add(sessionLife)})
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	c.setCookie(w, sealed, int(sessionLife.Seconds()))
	w.WriteHeader(http.StatusNoContent)
}

// check asks the server whether a token is good.
func (c *console) check(ctx context.Context, token, remote string) error {
	_, err := c.api.Access.WhoAmI(door.As(ctx, door.Bearer(token, remote)), connect.NewRequest(&polderv1.WhoAmIRequest{}))
	return err
}

func (c *console) logout(w http.ResponseWriter, _ *http.Request) {
	c.setCookie(w, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

// ticket gives the holder of a token a word to log in with, for a link.
func (c *console) ticket(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		refuse(w, http.StatusUnauthorized, errors.New("send the header \"Authorization: Bearer <token>\""))
		return
	}
	if err := c.check(r.Context(), token, r.RemoteAddr); err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(credential{Ticket: c.tickets.issue(token)}) // the caller is gone if this fails
}

// tickets are words for tokens, each good once and for a short time. With too many the oldest is forgotten.
type tickets struct {
	now   func() time.Time
	mu    sync.Mutex // guards the rest
	order []string
	known map[string]session
}

func newTickets(now func() time.Time) *tickets {
	return &tickets{now: now, known: map[string]session{}}
}

func (t *tickets) issue(token string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	word := rand.Text()
	t.order, t.known[word] = append(t.order, word), session{token, t.now().Add(ticketLife)}
	if len(t.order) > mostTickets {
		delete(t.known, t.order[0])
		t.order = t.order[1:]
	}
	return word
}

func (t *tickets) redeem(word string) (token string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.known[word]
	delete(t.known, word)
	return s.Token, ok && t.now().Before(s.Until)
}

// statusOf is the HTTP status for the server's refusal of a token.
func statusOf(err error) int {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	}
	return http.StatusServiceUnavailable
}

// refuse answers in the form of the API's errors.
func refuse(w http.ResponseWriter, status int, err error) {
	code := map[int]string{http.StatusUnauthorized: "unauthenticated", http.StatusForbidden: "permission_denied", http.StatusBadRequest: "invalid_argument"}[status]
	if code == "" {
		code = "unavailable"
	}
	message := reasonOf(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": message}) // the browser is gone if this fails
}
