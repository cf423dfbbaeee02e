package start

import (
	"context"
	"fmt"
	"log/slog"

	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/cmd/polder/simulated"
)

// upSimulated runs a server whose nodes exist only in this process, until ctx ends. Its store is in memory: nothing is kept but
// the authority and the token.
func upSimulated(ctx context.Context, s cli.Streams, o cli.UpOptions) error {
	plan, err := simulated.Plan(o.Simulate)
	if err != nil {
		return err
	}
	log := logger(s, slog.LevelError) // that the store is in memory is said here
	nodes := func(g ground) front {
		return front{"simulation", func(ctx context.Context) error {
			return simulated.Run(ctx, g.server, o.Simulate, func() { fmt.Fprintf(s.Out, "%d simulated nodes have joined.\n", o.Simulate) })
		}}
	}
	return runServer(ctx, log, cli.ServerOptions{Dir: o.Dir, Listen: o.Listen, Store: "memory"}, plan, func(addr string) {
		fmt.Fprintf(s.Out, "A simulated pool: the server on %s is real, its nodes and tasks are not, and nothing of it is kept.\n", addr)
		sayConsole(s, o.Dir, addr)
	}, nodes)
}
