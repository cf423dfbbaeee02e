package start

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"polder.dev/polder/auth"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/server"
	"polder.dev/polder/server/traffic"
	"polder.dev/polder/store"
)

// front is a door: it serves its protocol from when the server leads until ctx ends. One that ends by itself ends the server.
type front struct {
	name  string
	serve func(ctx context.Context) error
}

// ground is what a front stands on.
type ground struct {
	dir    string   // the server's
	ca     *auth.CA // signs the front's TLS certificate: ServerTLS with hosts
	hosts  []string
	server http.Handler // the native API, for door.Open
	store  store.Store  // for what a front must remember; its writes are fenced by a leadership of its own
	log    *slog.Logger
	docker net.Listener // nil: no Docker door on the network
	doors  *traffic.Book
}

// counted puts a door into the book and counts what comes through it.
func (g ground) counted(name, address string, h http.Handler) http.Handler {
	c := traffic.New(name, address, nil)
	g.doors.Add(c)
	return c.Before(h)
}

// fronts are the doors that the options open. Each has a file of its own beside this one.
func fronts(o cli.ServerOptions, g ground) []front {
	sayClosed(o, g.doors)
	return slices.Concat(tracesFront(g), mesosFront(o, g), dockerFront(o, g))
}

// sayClosed puts the doors into the book that the options do not open.
func sayClosed(o cli.ServerOptions, book *traffic.Book) {
	if o.Docker == "" && !o.DockerSocket {
		book.Closed("docker", "This server was started without an address for it. Start it with --docker "+cli.DefaultDocker+".")
	}
	if o.Mesos == "" {
		book.Closed("mesos", "This server was started without an address for it. Start it with --mesos "+cli.DefaultMesos+".")
	}
	book.Closed("kubernetes", "No control plane has reported itself. It is a program of its own: \"make kube\" builds it, \"polder up --kube\" lets agents run pods, "+
		"\"polder-kube up\" with the same --dir opens the door.")
}

// runFronts runs a server on its listener and, once it leads, everything in front of it, until ctx ends or one of them does.
// ready is called when the server leads.
func runFronts(ctx context.Context, srv *server.Server, listener net.Listener, doors []front, ready func()) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		if err := srv.Run(ctx, listener); err != nil {
			return err
		}
		return errEnded
	})
	all.Go(func() error {
		select {
		case <-srv.Leading():
			ready()
		case <-ctx.Done():
		}
		return nil
	})
	for _, d := range doors {
		all.Go(func() error {
			select {
			case <-srv.Leading():
			case <-ctx.Done():
				return nil
			}
			if err := d.serve(ctx); err != nil {
				return fmt.Errorf("door %s: %w", d.name, err)
			}
			return errEnded
		})
	}
	if err := all.Wait(); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// errEnded says that something ended because it was told to.
var errEnded = errors.New("ended")
