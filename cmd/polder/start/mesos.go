package start

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	agents, err := listenAgents(g.log, l.Addr())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	config := mesos.Config{API: door.Open(g.server, "mesos"), Addr: addr, AgentAddr: agents.Addr().String(), Store: g.store, Logger: g.log}
	if o.OneMachine {
		config.Hostname, _, _ = net.SplitHostPort(addr) // a listener's address has both
	}
	d, err := mesos.New(config)
	if err == nil {
		err = os.WriteFile(filepath.Join(g.dir, cli.MesosAddressFile), []byte(addr+"\n"), 0o644)
	}
	if err != nil {
		return errors.Join(err, l.Close(), agents.Close())
	}
	g.doors.Offers(d.Frameworks)
	g.doors.Opens(d.Gate)
	h := g.counted("mesos", addr, d.Handler())
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return d.Run(ctx) })
	all.Go(func() error { return serveHTTP(ctx, l, h, nil, certified(l, &g)) })
	all.Go(func() error { return serveHTTP(ctx, agents, d.AgentHandler(), nil, certified(agents, &g)) })
	return all.Wait()
}

// listenAgents listens for what tools ask of agents: at the port after the master's, since some tools know no other than 5051, or at any
// when that is taken. Offers and documents say which.
func listenAgents(log *slog.Logger, master net.Addr) (net.Listener, error) {
	at, ok := master.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("the mesos door listens on %s, which is no TCP address", master)
	}
	next := *at
	next.Port++
	l, err := net.ListenTCP("tcp", &next)
	if err == nil {
		return l, nil
	}
	next.Port = 0
	if l, err = net.ListenTCP("tcp", &next); err == nil {
		log.Warn("the port for what tools ask of mesos agents is taken; it has another one", "usual", at.Port+1, "address", l.Addr())
	}
	return l, err
}

// certified is g where a listener needs TLS, nil on loopback.
func certified(l net.Listener, g *ground) *ground {
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return nil
	}
	return g
}
