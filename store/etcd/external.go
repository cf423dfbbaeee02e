package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"runtime"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap/zapcore"
)

// External says how to reach an etcd cluster. Start its members with --max-txn-ops and --max-request-bytes raised; a
// refused write says to how much.
type External struct {
	Endpoints []string     // "https://host:2379", several members of one cluster
	TLS       *tls.Config  // nil only for endpoints on this machine
	Root      string       // prefix of Polder's keys, "/polder" if empty
	Logger    slog.Handler // gets the client's warnings and errors
}

// OpenExternal connects and checks that the cluster answers.
func OpenExternal(ctx context.Context, cfg External) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	name := strings.Join(cfg.Endpoints, ",")
	life, cancel := context.WithCancelCause(context.Background())
	fatal := func(message string, _ []zapcore.Field) {
		cancel(fmt.Errorf("client of etcd at %s: %s", name, message))
		runtime.Goexit()
	}
	panics := func(message string, _ []zapcore.Field) { panic("etcd: " + message) }
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: cfg.TLS, DialTimeout: requestTimeout,
		DialKeepAliveTime: leaseSeconds * time.Second / 2, DialKeepAliveTimeout: leaseSeconds * time.Second / 2,
		MaxCallSendMsgSize: maxRequestBytes, Logger: newLogger(cfg.Logger, fatal, panics),
	})
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("etcd at %s: %w", name, err)
	}
	root := cfg.Root
	if root == "" {
		root = "/polder"
	}
	s := newStore(life, cancel, name, root, client, func() error { return nil })
	if err := s.ping(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := s.client.Get(ctx, s.root, clientv3.WithCountOnly()); err != nil {
		return s.explain("connecting", err)
	}
	return nil
}

// check refuses to send what the store holds over a network in the clear, to whoever answers.
func (cfg External) check() error {
	if len(cfg.Endpoints) == 0 {
		return errors.New("external etcd: no endpoints; give --etcd-endpoints https://host:2379,…")
	}
	for _, e := range cfg.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme == "" {
			return fmt.Errorf("external etcd: endpoint %q is not a URL such as https://host:2379", e)
		}
		local := u.Scheme == "unix" || net.ParseIP(u.Hostname()).IsLoopback()
		if !local && (cfg.TLS == nil || u.Scheme != "https") {
			return fmt.Errorf("external etcd: endpoint %s without TLS; use https and give --etcd-ca, --etcd-cert and --etcd-key", e)
		}
	}
	return nil
}
