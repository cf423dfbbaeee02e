package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// connection is where the server is and who we are: flags before environment before context file, value by value.
type connection struct {
	server, tokenFile, ca string
	requestTimeout        time.Duration
	// resolved is the address in use, for messages.
	resolved string
}

func (c *connection) register(f *pflag.FlagSet) {
	f.StringVar(&c.server, "server", "", "`address` of the server, host:port; several of one cluster with commas between (default $POLDER_ADDR, then the context file)")
	f.StringVar(&c.tokenFile, "token-file", "", "`file` with your token (default $POLDER_TOKEN, $POLDER_TOKEN_FILE, then the context file)")
	f.StringVar(&c.ca, "ca", "", "`file` with the cluster's CA in PEM (default $POLDER_CA, then the context file)")
	f.DurationVar(&c.requestTimeout, "request-timeout", 30*time.Second, "longest one request may take")
}

// target is a resolved connection.
type target struct {
	url   string   // of the first server
	hosts []string // all of them, host:port
	token string
	roots *x509.CertPool // nil means the system's
}

// resolve reads flags, environment and context file.
func (a *app) resolve() (target, error) {
	file, err := a.findContext()
	if err != nil {
		return target{}, err
	}
	var t target
	if t.hosts, err = servers(first(a.conn.server, a.Getenv("POLDER_ADDR"), file.Server)); err != nil {
		return target{}, err
	}
	t.url, a.conn.resolved = "https://"+t.hosts[0], strings.Join(t.hosts, ",")
	if t.token, err = a.token(file); err != nil {
		return target{}, err
	}
	t.roots, err = roots(first(a.conn.ca, a.Getenv("POLDER_CA"), file.CA))
	return t, err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// servers turns addresses, with commas between, into host:port each. There is no way to speak without TLS.
func servers(list string) ([]string, error) {
	if list == "" {
		return nil, fail(exitUsage, "Start one with \"polder up\", or set POLDER_ADDR or POLDER_CONTEXT.", "which server? No --server, no POLDER_ADDR and no context file")
	}
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		host, err := serverHost(strings.TrimSpace(s))
		if err != nil {
			return nil, err
		}
		out = append(out, host)
	}
	return out, nil
}

// serverHost reads host, host:port or an https URL of nothing else.
func serverHost(s string) (string, error) {
	const next = "Write host:port, as in POLDER_ADDR=10.0.0.1:7070."
	if strings.HasPrefix(s, "http://") {
		return "", fail(exitUsage, next, "server %q: Polder speaks only TLS", s)
	}
	u, err := url.Parse("https://" + strings.TrimSuffix(strings.TrimPrefix(s, "https://"), "/"))
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fail(exitUsage, next, "server %q is not an address", s)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "7070")
	}
	return u.Host, nil
}

// token finds the caller's token; none is allowed, the server then says what it thinks of that.
func (a *app) token(file Context) (string, error) {
	if a.conn.tokenFile == "" {
		if t := a.Getenv("POLDER_TOKEN"); t != "" {
			return strings.TrimSpace(t), nil
		}
	}
	path := first(a.conn.tokenFile, a.Getenv("POLDER_TOKEN_FILE"), file.TokenFile)
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fail(exitError, "Give another one with --token-file or POLDER_TOKEN.", "token file: %v", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// roots reads PEM certificates, given as text or as the name of a file. Empty means the system's own roots.
func roots(ca string) (*x509.CertPool, error) {
	if ca == "" {
		return nil, nil
	}
	from, data := "the inline CA", []byte(ca)
	if !strings.Contains(ca, "-----BEGIN") {
		var err error
		if data, err = os.ReadFile(ca); err != nil {
			return nil, fail(exitError, "Give the cluster's CA with --ca or POLDER_CA.", "CA file: %v", err)
		}
		from = ca
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fail(exitError, "Give the cluster's CA with --ca or POLDER_CA.", "%s holds no PEM certificate", from)
	}
	return pool, nil
}

// findContext reads the first context file there is. One named by POLDER_CONTEXT must exist.
func (a *app) findContext() (Context, error) {
	if path := a.Getenv("POLDER_CONTEXT"); path != "" {
		return ReadContext(path)
	}
	local := filepath.Join(".polder", "context.yaml")
	if err := trusted(local); err == nil {
		return ReadContext(local)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Context{}, err
	}
	config := a.Getenv("XDG_CONFIG_HOME")
	if config == "" && a.Getenv("HOME") != "" {
		config = filepath.Join(a.Getenv("HOME"), ".config")
	}
	if config == "" {
		return Context{}, nil
	}
	c, err := ReadContext(filepath.Join(config, "polder", "context.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return Context{}, nil
	}
	return c, err
}

// trusted refuses a context file that was merely found in the working directory unless it is the caller's own and
// nobody else can touch it: it decides where the caller's token is sent.
func trusted(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("context file: %w", err)
	}
	if !ownedByCaller(info) || info.Mode().Perm()&0o077 != 0 {
		return fail(exitDenied, "If you trust it, set POLDER_CONTEXT="+path+", or make it yours with chmod 600.",
			"%s is in the working directory and not private to you, and it would decide where your token goes", path)
	}
	return nil
}
