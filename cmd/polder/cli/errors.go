package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// The exit codes; the package comment lists them.
const (
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitTimeout     = 6
	exitInterrupted = 130
)

// failure is an error as it is shown: why, what to do next, and the exit code.
type failure struct {
	why  string
	next string
	code int
}

func (f *failure) Error() string { return f.why }

// exitStatus ends the command with a task's own exit code, without a word.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func fail(code int, next, format string, args ...any) error {
	return &failure{why: fmt.Sprintf(format, args...), next: next, code: code}
}

func usageError(cmd *cobra.Command, err error) error {
	return fail(exitUsage, fmt.Sprintf("%q shows how to use it.", cmd.CommandPath()+" --help"), "%s", err)
}

// refusal is the failure for a reason the server gave instead of an ask.
func refusal(what string, r *polderv1.Reason) error {
	next := "Change the request, or ask \"polder role tree\" what the role has."
	if r.GetUnblockedBy() != "" {
		next = sentence(r.GetUnblockedBy())
	}
	return fail(refusalExit(r.GetCode()), next, "%s was refused (%s): %s", what, r.GetCode(), r.GetMessage())
}

// refusalExit is the exit code for the code of a refusal.
func refusalExit(code string) int {
	switch code {
	case "InvalidArgument":
		return exitUsage
	case "NotFound":
		return exitNotFound
	case "PermissionDenied", "Denied":
		return exitDenied
	case "Recovering", "Internal":
		return exitError
	}
	return exitConflict // the plan or the pool is not so that it can be had
}

// report prints err and returns the exit code for it.
func (a *app) report(cmd *cobra.Command, err error) int {
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	f := a.explain(cmd, err)
	lines := strings.Split(strings.TrimSpace(f.why), "\n") // an error about a file has one for each thing to correct
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	fmt.Fprintf(a.Err, "%s: %s\n", cmd.CommandPath(), strings.Join(lines, "\n    "))
	if f.next != "" {
		fmt.Fprintf(a.Err, "  next: %s\n", clean(f.next))
	}
	return f.code
}

// explain finds the why, the next step and the exit code of any error.
func (a *app) explain(cmd *cobra.Command, err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if f := a.explainNetwork(err); f != nil {
		return f
	}
	var ce *connect.Error
	if errors.As(err, &ce) {
		return explainCode(cmd, ce)
	}
	var pe *fs.PathError
	switch {
	case errors.Is(err, context.Canceled):
		return &failure{"interrupted", "", exitInterrupted}
	case errors.Is(err, context.DeadlineExceeded) && err != context.DeadlineExceeded: // it says what was waited for
		return &failure{err.Error(), "Look after what it waited for, and try again.", exitTimeout}
	case err == context.DeadlineExceeded:
		return &failure{"time is up", "Allow more with a longer timeout.", exitTimeout}
	case errors.As(err, &pe):
		return &failure{err.Error(), "Check the path and its permissions.", exitError}
	}
	return &failure{err.Error(), fmt.Sprintf("%q shows how to use it.", cmd.CommandPath()+" --help"), exitError}
}

// explainNetwork recognises what keeps us from talking to the server at all; nil for everything else.
func (a *app) explainNetwork(err error) *failure {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
		network   net.Error
	)
	at := a.conn.resolved
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{"nothing listens at " + at, "Is the server running? Start it with \"polder up\", or set POLDER_ADDR.", exitError}
	case errors.As(err, &authority):
		return &failure{"the certificate of " + at + " is not from the cluster's CA", "Give the right CA with --ca or POLDER_CA; a cluster that was set up anew has a new one.", exitError}
	case errors.As(err, &host), errors.As(err, &invalid):
		return &failure{"the certificate of " + at + " is not good: " + err.Error(), "Use an address the server advertises, and check both clocks.", exitError}
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return &failure{at + " does not speak TLS", "That is another program; check the port and POLDER_ADDR.", exitError}
	case errors.As(err, &dns):
		return &failure{"no address for " + dns.Name, "Check the name in --server or POLDER_ADDR.", exitError}
	case at != "" && errors.As(err, &network) && network.Timeout():
		return &failure{"no answer from " + at + " in time", "Check the address; try again, or allow more with --request-timeout.", exitTimeout}
	}
	return nil
}

// codes says for each answer of the server how to exit and what to do next.
var codes = map[connect.Code]struct {
	exit int
	next string
}{
	connect.CodeInvalidArgument:    {exitUsage, "Correct what it names and try again."},
	connect.CodeOutOfRange:         {exitUsage, "Correct what it names and try again."},
	connect.CodePermissionDenied:   {exitDenied, "\"polder access whoami\" shows who you are, \"polder access can-i\" what you may do."},
	connect.CodeUnauthenticated:    {exitDenied, "Set POLDER_TOKEN or --token-file to a valid token; \"polder token create\" makes one."},
	connect.CodeAborted:            {exitConflict, "Read it again, then repeat your change."},
	connect.CodeAlreadyExists:      {exitConflict, "Choose another name, or look at the one there is."},
	connect.CodeFailedPrecondition: {exitConflict, "Change what it names first, then try again."},
	connect.CodeDeadlineExceeded:   {exitTimeout, "Try again; allow more with --request-timeout."},
	connect.CodeCanceled:           {exitInterrupted, ""},
	connect.CodeResourceExhausted:  {exitError, "The server is busy; try again in a moment."},
	connect.CodeUnavailable:        {exitError, "Try again in a moment; if it stays, look at the server's log."},
	connect.CodeUnimplemented:      {exitError, "The server is of another version; compare with \"polder version\" and \"polder access whoami\"."},
}

func explainCode(cmd *cobra.Command, ce *connect.Error) *failure {
	why := ce.Message()
	if why == "" {
		why = ce.Code().String()
	}
	if ce.Code() == connect.CodeNotFound {
		return &failure{why, fmt.Sprintf("%q shows what there is.", listingFor(cmd)), exitNotFound}
	}
	if c, ok := codes[ce.Code()]; ok {
		return &failure{why, c.next, c.exit}
	}
	return &failure{"the server failed: " + why, "Look at the server's log.", exitError}
}

// listingFor names the command that lists what cmd is about.
func listingFor(cmd *cobra.Command) string {
	path := strings.Fields(cmd.CommandPath())
	if len(path) < 2 {
		return "polder --help"
	}
	switch path[1] {
	case "node", "ask", "token", "notice", "volume", "reservation":
		return "polder " + path[1] + " list"
	case "role":
		return "polder role tree"
	case "plan":
		return "polder plan history"
	}
	return "polder ps --all"
}

// notFound reports whether err says that something does not exist.
func notFound(err error) bool { return connect.CodeOf(err) == connect.CodeNotFound }

// sentence makes s start with a capital and end with a stop.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	if word, _, _ := strings.Cut(s, " "); !strings.ContainsAny(word, "-./=") { // an id or a path stays as it is
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

// conflict reports whether err says that what was read has changed meanwhile.
func conflict(err error) bool { return err != nil && connect.CodeOf(err) == connect.CodeAborted }

func denied(err error) bool { return connect.CodeOf(err) == connect.CodePermissionDenied }
