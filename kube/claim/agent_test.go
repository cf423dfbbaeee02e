package claim

import (
	"context"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"polder.dev/polder/agent"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
	polder "polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
)

// lessor is a runtime for pods without any machine.
type lessor struct{ *fake.Runtime }

// Name is that of the runtime it stands for.
func (lessor) Name() string { return pool.KubeRuntime }

// startAgent runs an agent of node n1 that holds leases of pods: one core and one GiB. It ends with the test, or when it is stopped.
func startAgent(t *testing.T, client *pool.Client, server string) (stop func()) {
	res, err := client.Access.CreateToken(t.Context(), connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "join", Name: "n1"}))
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Config{Node: "n1", Dir: t.TempDir(), Server: server, Token: res.Msg.Secret, Version: "test",
		Capacity: polder.Resources{"cpu": 1000, "memory": 1 << 30, "disk": 1 << 30}, Runtimes: []runtime.Runtime{lessor{fake.New(nil)}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
