package start

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"polder.dev/polder/auth"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/door"
	"polder.dev/polder/door/docker"
)

// dockerSocket is the file below a server's directory where its owner reaches the Docker door.
const dockerSocket = "docker.sock"

// dockerFront serves the Engine API: on a socket in the server's directory for whoever owns that, and on a network address,
// with TLS, if the options name one.
func dockerFront(o cli.ServerOptions, g ground) []front {
	if o.Docker == "" && !o.DockerSocket {
		return nil
	}
	return []front{{"docker", func(ctx context.Context) error {
		key, err := g.ca.Secret("docker secrets")
		if err != nil {
			return err
		}
		h := docker.New(door.Open(g.server, "docker"), docker.Options{Version: Version, Logger: g.log, Store: g.store, Key: [32]byte(key)})
		return serveDocker(ctx, o, g, h)
	}}}
}

func serveDocker(ctx context.Context, o cli.ServerOptions, g ground, d *docker.Door) error {
	address := filepath.Join(g.dir, dockerSocket)
	if g.docker != nil {
		address = g.docker.Addr().String()
	}
	h := g.counted("docker", address, d)
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.Run(ctx) })
	if o.DockerSocket {
		l, err := ownSocket(filepath.Join(g.dir, dockerSocket))
		if err != nil {
			return err
		}
		defer os.Remove(filepath.Join(g.dir, dockerSocket))
		owner := auth.Identity{Kind: auth.User, Name: "admin", Groups: []string{auth.AdminGroup}}
		all.Go(func() error {
			return serveHTTP(ctx, l, h, func(c context.Context) context.Context { return docker.Local(c, owner) }, nil)
		})
	}
	if g.docker != nil {
		all.Go(func() error { return serveHTTP(ctx, g.docker, h, nil, &g) })
	}
	return all.Wait()
}

// listenDoor takes a door's address, or on loopback, where it was only the usual one, another port when it is taken.
func listenDoor(log *slog.Logger, name, address, usual string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	if address == usual {
		if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
			log.Warn("the usual port of a door is taken; it has another one", "door", name, "usual", usual, "address", l.Addr())
			return l, nil
		}
	}
	return nil, fmt.Errorf("listening on %s: %w; choose another address with --%s", address, err, name)
}

// ownSocket listens on a socket that only its owner can open, at no moment anybody else: it is made in a private directory.
func ownSocket(path string) (net.Listener, error) {
	private, err := os.MkdirTemp(filepath.Dir(path), "s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	first := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("%w; the path of a socket has 107 characters at most", err)
	}
	l.SetUnlinkOnClose(false) // it has another name then
	if err := errors.Join(os.Chmod(first, 0o600), os.Rename(first, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// serveHTTP serves until ctx ends, then hangs up on whoever is still there: streams may be open for ever.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, with func(context.Context) context.Context, g *ground) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: log.New(io.Discard, "", 0)}
	if with != nil {
		s.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return with(ctx) }
	}
	serve := s.Serve
	if g != nil {
		config, err := g.ca.ServerTLS(g.hosts, time.Now)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		config.NextProtos = []string{"http/1.1"} // streams are taken over from the connection, which HTTP/2 does not allow
		s.TLSConfig = config
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
