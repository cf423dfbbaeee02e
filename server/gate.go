package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"polder.dev/polder/auth"
)

// isGate reports whether a request is one that a node's agent passes on for a task.
func isGate(path string) bool { return strings.HasPrefix(path, auth.GatePath+"/") }

// passGate hands a task's request to the door that serves tasks. The node is vouched for by its agent's certificate; who the task is
// the door decides by what the task itself sent. A stream ends with the agent's membership and with this leadership.
func (l *leader) passGate(w http.ResponseWriter, r *http.Request) {
	c := newCaller(r)
	c.control = http.NewResponseController(w)
	var err error
	if c.id, err = l.authenticator().Authenticate(r); err == nil && c.id.Kind != auth.Agent {
		err = fmt.Errorf("%w: only the agent of a node passes on what tasks ask", auth.ErrDenied)
	}
	if err != nil {
		l.deny(r.Context(), c, route{}, auth.GatePath, "", err)
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	gate := l.cfg.Doors.Gate()
	if gate == nil {
		http.Error(w, "no door of this server serves tasks", http.StatusNotFound)
		return
	}
	ctx, stop := guard{l}.lasting(r.Context(), c)
	defer stop()
	in := r.Clone(ctx)
	in.URL.Path, in.URL.RawPath, in.TLS = strings.TrimPrefix(r.URL.Path, auth.GatePath), "", nil
	in.Header.Del("Authorization")
	if own := r.Header.Get(auth.GateAuthorization); own != "" {
		in.Header.Del(auth.GateAuthorization)
		in.Header.Set("Authorization", own)
	}
	gate(c.id.Name, w, in)
}

func statusOf(err error) int {
	if errors.Is(err, auth.ErrDenied) {
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}
