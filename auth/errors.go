package auth

import (
	"errors"
	"fmt"
)

// ErrUnauthenticated is the root of every error that means "who are you?": test with errors.Is, answer 401.
var ErrUnauthenticated = errors.New("not authenticated")

// The ways authentication fails; each is an [ErrUnauthenticated].
var (
	ErrNoCredentials      = fmt.Errorf("%w: no token and no client certificate", ErrUnauthenticated)
	ErrMalformedToken     = fmt.Errorf("%w: malformed token", ErrUnauthenticated)
	ErrUnknownToken       = fmt.Errorf("%w: unknown token", ErrUnauthenticated)
	ErrExpired            = fmt.Errorf("%w: expired", ErrUnauthenticated)
	ErrRevoked            = fmt.Errorf("%w: revoked", ErrUnauthenticated)
	ErrUsedUp             = fmt.Errorf("%w: join token used up", ErrUnauthenticated)
	ErrForeignCertificate = fmt.Errorf("%w: certificate not issued by this cluster", ErrUnauthenticated)
)

// What else can go wrong with the book of tokens and rules.
var (
	ErrDenied   = errors.New("permission denied") // the identity is known, the rule is missing: answer 403
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("changed by somebody else") // read again, then retry
	ErrInvalid  = errors.New("invalid")
)
