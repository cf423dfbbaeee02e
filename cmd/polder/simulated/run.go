package simulated

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
)

// runtimeName is what simulated nodes say they have, of the runtimes there are.
const runtimeName = "process"

// Run connects so many nodes to the server in this process and lets the teams of [Plan] ask for work, until ctx ends. ready
// is called when every node has joined.
func Run(ctx context.Context, server http.Handler, nodes int, ready func()) error {
	api := door.Open(server, "simulation")
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range nodes {
		running.Go(func() { newNode(i+1).run(ctx, api) })
	}
	ctx = door.As(ctx, door.Caller{Identity: auth.Identity{Kind: auth.User, Name: "simulation", Groups: []string{auth.AdminGroup}}})
	if err := await(ctx, api, nodes); err != nil {
		return err
	}
	ready()
	return newCrowd(api, nodes).run(ctx)
}

// await waits until every node is ready.
func await(ctx context.Context, api *door.API, nodes int) error {
	for {
		n, err := count(ctx, api)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && n >= nodes {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func count(ctx context.Context, api *door.API) (n int, err error) {
	for token := ""; ; {
		res, err := api.Nodes.List(ctx, connect.NewRequest(&polderv1.NodeServiceListRequest{State: "ready", PageSize: 1000, PageToken: token}))
		if err != nil {
			return 0, err
		}
		n += len(res.Msg.Nodes)
		if token = res.Msg.NextPageToken; token == "" {
			return n, nil
		}
	}
}
