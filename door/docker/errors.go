package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"polder.dev/polder/door/docker/fields"
	"polder.dev/polder/door/docker/swarm"
)

// failure is an answer other than success, in the Engine API's words.
type failure struct {
	status  int
	message string
}

func (f *failure) Error() string { return f.message }

func fail(status int, format string, args ...any) *failure {
	return &failure{status, fmt.Sprintf(format, args...)}
}

func noContainer(ref string) *failure {
	return fail(http.StatusNotFound, "No such container: %s", clip(ref))
}

// clip keeps what a client sent from filling an answer.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// statusOf is the one table from the native API's codes to HTTP. What is not in it is an internal error.
var statusOf = map[connect.Code]int{
	connect.CodeInvalidArgument: http.StatusBadRequest, connect.CodeUnauthenticated: http.StatusUnauthorized,
	connect.CodePermissionDenied: http.StatusForbidden, connect.CodeNotFound: http.StatusNotFound,
	connect.CodeAlreadyExists: http.StatusConflict, connect.CodeFailedPrecondition: http.StatusConflict, connect.CodeAborted: http.StatusConflict,
	connect.CodeResourceExhausted: http.StatusServiceUnavailable, connect.CodeUnavailable: http.StatusServiceUnavailable,
	connect.CodeDeadlineExceeded: http.StatusGatewayTimeout, connect.CodeUnimplemented: http.StatusNotImplemented,
}

// failureOf is any error as an answer.
func failureOf(err error) *failure {
	var f *failure
	var field *fields.Error
	var call *connect.Error
	var of *swarm.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &of):
		return &failure{of.Status, of.Message}
	case errors.As(err, &field):
		return fail(http.StatusBadRequest, "%s", field)
	case errors.As(err, &call):
		status, ok := statusOf[call.Code()]
		if !ok {
			status = http.StatusInternalServerError
		}
		return fail(status, "%s", call.Message())
	}
	return fail(http.StatusInternalServerError, "%s", err)
}

// refuse answers a request with an error. After the head was sent there is nothing left to say.
func refuse(w http.ResponseWriter, err error) {
	f := failureOf(err)
	reply(w, f.status, map[string]string{"message": f.message})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}
