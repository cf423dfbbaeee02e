package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/core/dnsserver"     // the server, and in what order plugins come
	_ "github.com/coredns/coredns/plugin/bind"        // these are what the configuration below names
	_ "github.com/coredns/coredns/plugin/cache"       //
	_ "github.com/coredns/coredns/plugin/errors"      //
	_ "github.com/coredns/coredns/plugin/forward"     //
	_ "github.com/coredns/coredns/plugin/kubernetes"  //
	_ "github.com/coredns/coredns/plugin/loadbalance" //
)

// Domain is what the names of services end with.
const Domain = "cluster.local"

// resolvers is the machine's own list of name servers.
const resolvers = "/etc/resolv.conf"

// names runs CoreDNS at the bridge's address until ctx is done.
func (s *server) names(ctx context.Context) error {
	upstream, err := os.ReadFile(resolvers)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	caddy.Quiet = true
	i, err := caddy.Start(caddy.CaddyfileInput{
		Filepath: "names", ServerTypeName: "dns", Contents: []byte(corefile(s.gateway.Addr(), s.Kubeconfig, string(upstream))),
	})
	if err != nil {
		return fmt.Errorf("name server: %w", err)
	}
	<-ctx.Done()
	return errors.Join(ctx.Err(), i.Stop())
}

// corefile is CoreDNS' configuration. Names outside go to the machine's own name servers, if it has any.
func corefile(at netip.Addr, kubeconfig, upstream string) string {
	forward := ""
	for line := range strings.Lines(upstream) {
		if strings.HasPrefix(line, "nameserver") {
			forward = "\n    forward . " + resolvers
		}
	}
	return fmt.Sprintf(`.:53 {
    bind %s
    errors
    kubernetes %s in-addr.arpa ip6.arpa {
        kubeconfig %q
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }%s
    cache 30
    loadbalance
}
`, at, Domain, kubeconfig, forward)
}
