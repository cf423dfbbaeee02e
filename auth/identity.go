package auth

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Kind says what sort of caller an identity is.
type Kind string

// The kinds of caller.
const (
	User  Kind = "user"
	Agent Kind = "agent"
	Door  Kind = "door"
)

// maxName is the longest name of a user, group, node or door, in bytes.
const maxName = 128

// Identity is an authenticated caller. The zero Identity is nobody and is denied everything.
type Identity struct {
	Kind   Kind     `json:"kind"`
	Name   string   `json:"name"`             // user, node or door name
	Groups []string `json:"groups,omitempty"` // users only
}

// String returns "user:alice", "agent:node-1", "door:kube", or "anonymous".
func (id Identity) String() string {
	if id.IsZero() {
		return "anonymous"
	}
	return string(id.Kind) + ":" + id.Name
}

// IsZero reports whether id is nobody.
func (id Identity) IsZero() bool { return id.Kind == "" || id.Name == "" }

// InGroup reports whether id is a member of group.
func (id Identity) InGroup(group string) bool { return slices.Contains(id.Groups, group) }

// uri is how the identity is written into a certificate.
func (id Identity) uri() *url.URL {
	return &url.URL{Scheme: "polder", Host: string(id.Kind), Path: "/" + id.Name}
}

// parseURI is the inverse of uri. Only agents and doors have certificates.
func parseURI(u *url.URL) (Identity, error) {
	id := Identity{Kind: Kind(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
	if id.Kind != Agent && id.Kind != Door {
		return Identity{}, fmt.Errorf("%w: %q names neither an agent nor a door", ErrInvalid, u)
	}
	if err := checkName(id.Name); err != nil {
		return Identity{}, err
	}
	if id.uri().String() != u.String() {
		return Identity{}, fmt.Errorf("%w: %q is not of the form polder://agent/<node>", ErrInvalid, u)
	}
	return id, nil
}

// checkName accepts names made of letters, digits and "._@-", starting with a letter or digit.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: name %.40q must have 1 to %d characters", ErrInvalid, name, maxName)
	}
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._@-", rune(c))) {
			return fmt.Errorf("%w: name %q: use letters, digits and . _ @ -, starting with a letter or digit", ErrInvalid, name)
		}
	}
	return nil
}
