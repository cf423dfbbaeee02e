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

// startEtcd runs etcd, its only member, on loopback; clients need a certificate. It returns where it listens.
func startEtcd(ctx context.Context, f *files) (server *embed.Etcd, at string, err error) {
	free, err := port.Free()
	if err != nil {
		return nil, "", err
	}
	client := url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", free)}
	nowhere := url.URL{Scheme: "http", Host: "127.0.0.1:1"} // a member needs an address in its cluster's list; nobody listens there
	c := embed.NewConfig()
	c.Name, c.Dir = "polder-kube", filepath.Join(f.Dir, etcdDir)
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{nowhere}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ClientTLSInfo = transport.TLSInfo{CertFile: f.etcd[0], KeyFile: f.etcd[1], TrustedCAFile: f.etcdCA.file, ClientCertAuth: true}
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
