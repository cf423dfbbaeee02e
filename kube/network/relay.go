package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
)

// hostPort is where a URL leads.
func hostPort(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	switch {
	case u.Host == "":
		return "", fmt.Errorf("%q is not the URL of an API server", text)
	case u.Port() == "":
		return net.JoinHostPort(u.Hostname(), "443"), nil
	}
	return u.Host, nil
}

// relay carries every connection of l to an address, until ctx is done; l is closed then, and so are all connections.
func relay(ctx context.Context, l net.Listener, to string) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		from, err := l.Accept()
		if err != nil {
			return errors.Join(err, l.Close())
		}
		all.Go(func() { carry(ctx, from, to) })
	}
}

// carry joins two connections until one of them has ended both ways, or ctx is done.
func carry(ctx context.Context, from net.Conn, to string) {
	defer from.Close()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return // the pod sees its connection end, as it does when the API server is away
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _, _ = from.Close(), conn.Close() })()
	var both sync.WaitGroup
	both.Go(func() { pass(conn, from) })
	both.Go(func() { pass(from, conn) })
	both.Wait()
}

// pass copies one way and says when that way has ended.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if c, ok := to.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}
