package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"
)

// Bridge is the link that all pods of a machine hang on.
const Bridge = "polder0"

// RelayPort is where pods reach the API server at the bridge's address.
const RelayPort = 6444

// lockName is a socket that only one process of a network namespace can have, and loses when it ends.
const lockName = "@polder-kube-network"

const (
	lockEvery  = 250 * time.Millisecond // between two tries to be the one that serves
	retryAfter = time.Second            // a failure
)

// Options say what to serve, and for whom.
type Options struct {
	Node       string // whose name kube-proxy goes by
	Kubeconfig string // of the node; it may still be missing at the start
	PodCIDR    string // range of the pods' addresses on this machine
	Own        bool   // the bridge is ours: serve names and the way to the API there
	Logger     *slog.Logger
}

// Gateway is the bridge's address: the first one of the pods' range.
func Gateway(podCIDR string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(podCIDR)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("range of pods: %w", err)
	}
	return netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits()), nil
}

// Run serves until ctx is done, whenever no other node of the machine does. Failures are logged, and it tries again.
func Run(ctx context.Context, o Options) error {
	gateway, err := Gateway(o.PodCIDR)
	if err != nil {
		return err
	}
	s := &server{o, gateway}
	if err := awaitFile(ctx, o.Kubeconfig); err != nil && ctx.Err() == nil { // who cannot serve does not keep others from it
		return err
	}
	for ctx.Err() == nil {
		lock, err := net.Listen("unix", lockName)
		if err != nil { // another one serves
			pause(ctx, lockEvery)
			continue
		}
		err = s.serve(ctx)
		err = errors.Join(err, lock.Close())
		if ctx.Err() == nil {
			o.Logger.Warn("the network of pods is not served; trying again", "error", err)
			pause(ctx, retryAfter)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

type server struct {
	Options
	gateway netip.Prefix
}

// serve returns when ctx is done or a part fails.
func (s *server) serve(ctx context.Context) error {
	if s.Own {
		if err := s.makeBridge(); err != nil {
			return err
		}
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return s.proxy(ctx) })
	if s.Own {
		all.Go(func() error { return s.names(ctx) })
		all.Go(func() error { return s.relay(ctx) })
	}
	s.Logger.Info("serving the machine's network of pods", "node", s.Node)
	return all.Wait()
}

// awaitFile waits for a file: the kubelet writes its kubeconfig when it has joined.
func awaitFile(ctx context.Context, name string) error {
	for {
		_, err := os.Stat(name)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if pause(ctx, lockEvery); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// relay carries connections of pods to the API server.
func (s *server) relay(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return err
	}
	to, err := hostPort(config.Host)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(s.gateway.Addr(), RelayPort).String())
	if err != nil {
		return err
	}
	return relay(ctx, l, to)
}

// Clean takes the rules of kube-proxy and the bridge away, if no pod of the machine is left and nobody serves.
func Clean(ctx context.Context) error {
	lock, err := net.Listen("unix", lockName)
	if err != nil {
		return nil // somebody serves, and will do it
	}
	defer lock.Close()
	if left, err := podsOnBridge(); err != nil || left {
		return err
	}
	return errors.Join(cleanProxy(ctx), removeBridge())
}
