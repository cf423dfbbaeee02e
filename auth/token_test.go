package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func FuzzParseUserToken(f *testing.F) {
	f.Add(UserToken{newID(), newSecret()}.Reveal())
	f.Add("polder--")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseUserToken(s)
		checkParsed(t, s, token.Reveal, token.Secret, err)
	})
}

func FuzzParseJoinToken(f *testing.F) {
	f.Add(JoinToken{newSecret().Reveal(), newID(), newSecret()}.Reveal())
	f.Add("polder-join---")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseJoinToken(s)
		checkParsed(t, s, token.Reveal, token.Secret, err)
	})
}

// checkParsed wants either a token that reads back the same, or an error that does not hold the text.
func checkParsed(t *testing.T, s string, reveal func() string, secret Secret, err error) {
	if err == nil {
		if reveal() != s || len(secret.Reveal()) != secretLen {
			t.Fatalf("%q reads back as %q", s, reveal())
		}
		return
	}
	if !errors.Is(err, ErrMalformedToken) || len(s) >= secretLen && strings.Contains(err.Error(), s) {
		t.Fatalf("%q: bad error %v", s, err)
	}
}

func TestParseToken(t *testing.T) {
	user, join := UserToken{newID(), newSecret()}.Reveal(), JoinToken{newSecret().Reveal(), newID(), newSecret()}.Reveal()
	if _, err := ParseUserToken(join); err == nil || !strings.Contains(err.Error(), "for agents") {
		t.Errorf("a join token given by a person: %v", err)
	}
	for _, bad := range []string{user[:len(user)-1], user + "a", " " + user, strings.ToUpper(user), strings.Replace(user, "polder", "dike", 1), user[:len(user)-1] + "1"} {
		if _, err := ParseUserToken(bad); !errors.Is(err, ErrMalformedToken) {
			t.Errorf("%d characters: %v, want ErrMalformedToken", len(bad), err)
		}
	}
	if _, err := ParseJoinToken(user); !errors.Is(err, ErrMalformedToken) {
		t.Errorf("a user token given to join: %v", err)
	}
}

func TestSecretIsNotShown(t *testing.T) {
	const text = "open-sesame"
	type outer struct {
		hidden Secret
		Shown  Secret
	}
	o := outer{NewSecret(text), NewSecret(text)}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, format, o.Shown)
		fmt.Fprintf(&out, format, &o.Shown)
		fmt.Fprintf(&out, format, o)
		fmt.Fprintf(&out, format, []Secret{o.hidden})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "secret", o.Shown, "outer", o)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "secret", o.Shown, "outer", o)
	if err := json.NewEncoder(&out).Encode(o); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), text) || strings.Contains(out.String(), fmt.Sprintf("%x", text)) {
		t.Errorf("the secret shows in %s", out.String())
	}
	if o.Shown.String() != redacted || o.hidden.Reveal() != text || !(Secret{}).IsZero() {
		t.Error("a secret does not behave")
	}
}
