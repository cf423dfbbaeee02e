package start

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"polder.dev/polder/auth"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/core/role"
	"polder.dev/polder/server"
	"polder.dev/polder/server/traffic"
	"polder.dev/polder/store"
	"polder.dev/polder/store/etcd"
	"polder.dev/polder/web"
)

// Version is this build's; the linker sets it.
var Version = "devel"

// Files of a server's directory.
const (
	adminTokenFile = "admin.token"
	contextFile    = "context.yaml"
)

// Server runs a server until ctx ends. Its directory gets the CA, the store, the audit trail, the first admin token, and a
// context file for the other commands.
func Server(ctx context.Context, s cli.Streams, o cli.ServerOptions) error {
	defer outliveReaders()()
	log := logger(s, slog.LevelInfo)
	return runServer(ctx, log, o, nil, func(addr string) {
		fmt.Fprintf(s.Out, "Serving on %s. Administrator's token: %s\n", addr, filepath.Join(o.Dir, adminTokenFile))
		fmt.Fprintf(s.Out, "Console: https://%s/ (log in with \"polder console\")\n", addr)
		fmt.Fprintf(s.Out, "Use it: export POLDER_CONTEXT=%s\n", filepath.Join(o.Dir, contextFile))
	})
}

// runServer runs a server and calls ready when it leads. What is beside it runs like a door.
func runServer(ctx context.Context, log *slog.Logger, o cli.ServerOptions, first *role.Plan, ready func(addr string), beside ...func(ground) front) (err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("server directory: %w", err)
	}
	ca, err := auth.OpenCA(filepath.Join(o.Dir, "ca"), time.Now())
	if err != nil {
		return err
	}
	audit, err := auth.OpenAudit(filepath.Join(o.Dir, "audit.jsonl"), auth.AuditOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, audit.Close()) }()
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; is another server running? Choose another address with --listen", o.Listen, err)
	}
	defer listener.Close()
	var docker net.Listener
	if o.Docker != "" {
		if docker, err = listenDoor(log, "docker", o.Docker, cli.DefaultDocker); err != nil {
			return err
		}
		defer docker.Close()
	}
	st, err := openStore(ctx, log, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	addr := listener.Addr().String()
	host, _, _ := net.SplitHostPort(addr)
	hosts := append([]string{host, "localhost", "127.0.0.1", "::1"}, o.Advertise...)
	key, err := ca.Secret("console")
	if err != nil {
		return err
	}
	book := &traffic.Book{}
	srv, err := server.New(server.Config{
		Doors: book,
		Front: func(api http.Handler) (http.Handler, error) { return web.New(web.Config{Server: api, Key: key}) },
		Store: st, CA: ca, Audit: audit, Logger: log, Version: Version, FirstPlan: first,
		Hosts: hosts, NodeLostAfter: o.NodeLostAfter,
		AdminToken: func(t auth.Secret) error { return writePrivate(filepath.Join(o.Dir, adminTokenFile), t.Reveal()+"\n") },
	})
	if err != nil {
		return err
	}
	on := ground{doors: book, dir: o.Dir, ca: ca, hosts: hosts, server: srv.Handler(), store: st, log: log, docker: docker}
	doors := fronts(o, on)
	for _, b := range beside {
		doors = append(doors, b(on))
	}
	return runFronts(ctx, srv, listener, doors, func() {
		if err := writeContext(o.Dir, addr, docker, ca); err != nil {
			log.Warn("context file not written", "error", err)
		}
		ready(addr)
	})
}

// openStore opens the store the options name.
func openStore(ctx context.Context, log *slog.Logger, o cli.ServerOptions) (store.Store, error) {
	switch o.Store {
	case "memory":
		log.Warn("nothing is kept: the store is in memory")
		return store.NewMemory(), nil
	case "etcd":
		config, err := etcdTLS(o.Etcd)
		if err != nil {
			return nil, err
		}
		return etcd.OpenExternal(ctx, etcd.External{Endpoints: o.Etcd.Endpoints, TLS: config, Logger: log.Handler()})
	}
	return etcd.OpenEmbedded(ctx, etcd.Embedded{Dir: filepath.Join(o.Dir, "etcd"), Logger: log.Handler()})
}

// etcdTLS reads the files that make a connection to an external etcd safe; nil without a CA.
func etcdTLS(o cli.EtcdOptions) (*tls.Config, error) {
	if o.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, fmt.Errorf("--etcd-ca: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--etcd-ca: %s holds no certificate in PEM", o.CA)
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("--etcd-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// writeContext writes the file by which the other commands find the server.
func writeContext(dir, addr string, docker net.Listener, ca *auth.CA) error {
	c := cli.Context{Server: addr, CA: string(ca.RootPEM()), TokenFile: adminTokenFile}
	if docker != nil {
		c.Docker = docker.Addr().String()
	}
	return c.Write(filepath.Join(dir, contextFile))
}

// writePrivate replaces a file that only its owner may read.
func writePrivate(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func logger(s cli.Streams, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: level}))
}
