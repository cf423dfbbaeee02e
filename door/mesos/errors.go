package mesos

import (
	"errors"
	"fmt"
	"net/http"
)

// refused is why something is not done, in a sentence for the one who asked.
type refused string

// Error implements error.
func (r refused) Error() string { return string(r) }

func refusal(format string, args ...any) error { return refused(fmt.Sprintf(format, args...)) }

// problem is an answer with a status that is not fine.
type problem struct {
	status int
	text   string
}

// Error implements error.
func (p *problem) Error() string { return p.text }

func answer(status int, format string, args ...any) error {
	return &problem{status, fmt.Sprintf(format, args...)}
}

// badCall is the answer to a call that is not valid; the words are Mesos'.
func badCall(kind, format string, args ...any) error {
	return answer(http.StatusBadRequest, "Failed to validate %s: %s", kind, fmt.Sprintf(format, args...))
}

// write answers with a problem.
func writeProblem(w http.ResponseWriter, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{http.StatusInternalServerError, err.Error()}
	}
	http.Error(w, p.text, p.status)
}
