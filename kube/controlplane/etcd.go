package controlplane

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"polder.dev/polder/kube/port"
)

// mostSocket is how long the path of a socket may be, less something.
const mostSocket = 100

// etcdListens says where etcd is to listen: at a socket that this user alone can open, or on loopback, where clients need a certificate.
func (f *files) etcdListens() (url.URL, error) {
	if socket := filepath.Join(f.Dir, pkiDir, "etcd.sock"); !f.Wire && filepath.IsAbs(socket) && len(socket) < mostSocket {
		return url.URL{Scheme: "unix", Path: socket}, nil
	}
	free, err := port.Free()
	return url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", free)}, err
}

// startEtcd runs etcd, its only member. It returns where it listens.
func startEtcd(ctx context.Context, f *files) (server *embed.Etcd, at string, err error) {
	client, err := f.etcdListens()
	if err != nil {
		return nil, "", err
	}
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:1"} // a member needs an address in its cluster's list; nobody listens there
	c := embed.NewConfig()
	c.Name, c.Dir = "polder-kube", filepath.Join(f.Dir, etcdDir)
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{nowhere}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	if client.Scheme != "unix" {
		c.ClientTLSInfo = transport.TLSInfo{CertFile: f.etcd[0], KeyFile: f.etcd[1], TrustedCAFile: f.etcdCA.file, ClientCertAuth: true}
	}
	c.InitialCluster = c.Name + "=" + nowhere.String()
	c.TickMs, c.ElectionMs = 50, 250 // an only member need not wait long for others
	c.LogLevel, c.LogOutputs = "error", []string{"stderr"}
	c.UnsafeNoFsync = f.UnsafeNoSync
	if server, err = embed.StartEtcd(c); err != nil {
		return nil, "", fmt.Errorf("etcd in %s: %w", c.Dir, err)
	}
	select {
	case <-server.Server.ReadyNotify():
		return server, client.String(), nil
	case err = <-server.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	server.Close()
	return nil, "", fmt.Errorf("etcd in %s: %w", c.Dir, err)
}
