package server

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"polder.dev/polder/auth"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/planfile"
	"polder.dev/polder/store"
)

// codeOf is the one table from a refusal's code to what clients of the API see. A code that is not here is
// FailedPrecondition: the request was understood, the state of the cluster does not allow it.
var codeOf = map[string]connect.Code{
	"AlreadyExists":   connect.CodeAlreadyExists,
	"Conflict":        connect.CodeAborted,
	"Stale":           connect.CodeAborted,
	"Impossible":      connect.CodeFailedPrecondition,
	"Invalid":         connect.CodeInvalidArgument,
	"InvalidArgument": connect.CodeInvalidArgument,
	"InvalidNode":     connect.CodeInvalidArgument,
	"InvalidPlan":     connect.CodeInvalidArgument,
	"NotFound":        connect.CodeNotFound,
	"NoSuchRole":      connect.CodeNotFound,
	"OverLimit":       connect.CodeFailedPrecondition,
	"RoleInUse":       connect.CodeFailedPrecondition,
	"UnknownEvent":    connect.CodeInternal,
	"UnknownRole":     connect.CodeNotFound,
}

// causes is the same for the errors of other packages, looked at in order.
var causes = []struct {
	err  error
	code connect.Code
}{
	{auth.ErrUnauthenticated, connect.CodeUnauthenticated},
	{auth.ErrDenied, connect.CodePermissionDenied},
	{auth.ErrNotFound, connect.CodeNotFound},
	{auth.ErrConflict, connect.CodeAborted},
	{auth.ErrInvalid, connect.CodeInvalidArgument},
	{errStopped, connect.CodeUnavailable},
	{errFull, connect.CodeResourceExhausted},
	{store.ErrNotLeader, connect.CodeUnavailable},
	{store.ErrClosed, connect.CodeUnavailable},
	{store.ErrFull, connect.CodeResourceExhausted},
	{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
	{context.Canceled, connect.CodeCanceled},
}

// Errors of the writer.
var (
	errStopped = errors.New("this server no longer leads; ask again, another one will")
	errFull    = errors.New("the server has more to do than it can take; wait a moment and ask again")
)

// refused is a refusal of the server's own.
func refused(code, next, format string, args ...any) *cluster.Refusal {
	return &cluster.Refusal{Reason: cluster.Reason{Code: code, Message: fmt.Sprintf(format, args...), UnblockedBy: next}}
}

// apiError turns any error into one for clients. An error that nothing here knows is Internal.
func apiError(err error) error {
	var done *connect.Error
	var refusal *cluster.Refusal
	var plan *planfile.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &done):
		return err
	case errors.As(err, &refusal):
		return refusalError(refusal)
	case errors.As(err, &plan):
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return connect.NewError(c.code, err)
		}
	}
	return connect.NewError(connect.CodeInternal, err)
}

func refusalError(r *cluster.Refusal) error {
	code, ok := codeOf[r.Reason.Code]
	if !ok {
		code = connect.CodeFailedPrecondition
	}
	text := r.Reason.Message
	if r.Reason.UnblockedBy != "" {
		text += "; " + r.Reason.UnblockedBy
	}
	e := connect.NewError(code, errors.New(text))
	if detail, err := connect.NewErrorDetail(reasonProto(r.Reason)); err == nil {
		e.AddDetail(detail)
	}
	return e
}
