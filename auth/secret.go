package auth

import "fmt"

const redacted = "[redacted]"

// Secret is text that must not be printed, logged or encoded by accident: every formatting verb, JSON, YAML and slog show
// "[redacted]". [Secret.Reveal] is the only way to the text. The text sits behind a function, because fmt prints the
// unexported fields of an outer struct without asking their methods.
type Secret struct{ reveal func() string }

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{func() string { return s }} }

// Reveal returns the text; "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// Format implements [fmt.Formatter] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText implements [encoding.TextMarshaler]; encoding/json and slog use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
