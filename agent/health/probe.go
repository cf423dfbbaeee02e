package health

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// maxBody is how much of an answer is read before the connection is given up.
const maxBody = 64 << 10

// client follows no redirect: a task must not send the agent anywhere else.
var client = &http.Client{
	Transport: &http.Transport{
		Proxy:             nil,
		DialContext:       dialLocal,
		DisableKeepAlives: true,
		MaxIdleConns:      -1,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// HTTP returns a probe that wants a 2xx or 3xx answer to a GET of the URL, whose host must be this machine.
func HTTP(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			return fmt.Errorf("%q is not an http URL", address)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "polder-health")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, maxBody)
		if resp.StatusCode < 200 || resp.StatusCode > 399 {
			return fmt.Errorf("%s answered %s", address, resp.Status)
		}
		return nil
	}
}

// TCP returns a probe that wants a connection to host:port on this machine.
func TCP(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := dialLocal(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// dialLocal connects to this machine and nowhere else, whatever a name resolves to.
func dialLocal(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "localhost"
	}
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: time.Minute}
	err = fmt.Errorf("%s is not this machine; a health check may only ask its own machine", host)
	for _, ip := range ips {
		if !isLocal(ip) {
			continue
		}
		var conn net.Conn
		if conn, err = d.DialContext(ctx, network, net.JoinHostPort(ip.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func isLocal(ip net.IP) bool {
	if ip.IsLoopback() {
		return true
	}
	addresses, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}
