package start

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

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
	l, err := listenDoor(g.log, "mesos", o.Mesos, cli.DefaultMesos)
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	d, err := mesos.New(mesos.Config{API: door.Open(g.server, "mesos"), Addr: addr, Store: g.store, Logger: g.log})
	if err == nil {
		err = os.WriteFile(filepath.Join(g.dir, cli.MesosAddressFile), []byte(addr+"\n"), 0o644)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	g.doors.Offers(d.Frameworks)
	g.doors.Opens(d.Gate)
	h := g.counted("mesos", addr, d.Handler())
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.Run(ctx) })
	all.Go(func() error { return serveHTTP(ctx, l, h, nil, certified(l, &g)) })
	return all.Wait()
}

// certified is g where a listener needs TLS, nil on loopback.
func certified(l net.Listener, g *ground) *ground {
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return nil
	}
	return g
}
