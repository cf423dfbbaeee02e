package start

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos"
)

// mesosFront serves Mesos' API on an address, if the options name one: plainly on loopback, since most Mesos clients know
// nothing else, with TLS anywhere else. Both demand credentials.
func mesosFront(o cli.ServerOptions, g ground) []front {
	if o.Mesos == "" {
		return nil
	}
	return []front{{"mesos", func(ctx context.Context) error { return serveMesos(ctx, o, g) }}}
}

func serveMesos(ctx context.Context, o cli.ServerOptions, g ground) error {
	l, err := listenMesos(o, g)
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	d, err := mesos.New(mesos.Config{API: door.Open(g.server, "mesos"), Addr: addr, Logger: g.log})
	if err == nil {
		err = os.WriteFile(filepath.Join(g.dir, cli.MesosAddressFile), []byte(addr+"\n"), 0o644)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.Run(ctx) })
	all.Go(func() error { return serveMesosHTTP(ctx, l, d.Handler(), g) })
	return all.Wait()
}

// serveMesosHTTP serves until ctx ends, then hangs up on whoever is still there: streams may be open for ever.
func serveMesosHTTP(ctx context.Context, l net.Listener, h http.Handler, g ground) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // what strangers do wrong is no news
	}
	serve := s.Serve
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		config, err := g.ca.ServerTLS(g.hosts, time.Now)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		config.NextProtos = []string{"http/1.1"} // a stream must be chunked
		s.TLSConfig = config
		serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listenMesos takes the address, or on loopback, where it was only a default, another port when it is taken.
func listenMesos(o cli.ServerOptions, g ground) (net.Listener, error) {
	l, err := net.Listen("tcp", o.Mesos)
	if err == nil {
		return l, nil
	}
	if o.Mesos == cli.DefaultMesos {
		if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
			g.log.Warn("the usual port of Mesos is taken; the door has another one", "usual", o.Mesos, "address", l.Addr())
			return l, nil
		}
	}
	return nil, fmt.Errorf("listening on %s: %w; choose another address with --mesos", o.Mesos, err)
}
