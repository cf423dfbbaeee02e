package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"
)

func TestGatewayIsTheFirstAddress(t *testing.T) {
	for cidr, want := range map[string]string{"10.89.0.0/16": "10.89.0.1/16", "10.89.3.7/24": "10.89.3.1/24"} {
		if got, err := Gateway(cidr); err != nil || got.String() != want {
			t.Errorf("of %s: %v, %v", cidr, got, err)
		}
	}
	if _, err := Gateway("10.89.0.0"); err == nil {
		t.Error("an address is no range")
	}
}

// TestNamesOutsideAreForwarded where the machine knows whom to ask, and only there.
func TestNamesOutsideAreForwarded(t *testing.T) {
	for upstream, want := range map[string]bool{"# none\nsearch a\n": false, "search a\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n": true} {
		text := corefile(netip.MustParseAddr("10.89.0.1"), "/a b/kubelet.kubeconfig", upstream)
		blocks, err := caddyfile.Parse("names", strings.NewReader(text), nil)
		if err != nil || len(blocks) != 1 {
			t.Fatalf("%v\n%s", err, text)
		}
		if _, forwarded := blocks[0].Tokens["forward"]; forwarded != want {
			t.Errorf("with %q forwarded is %v:\n%s", upstream, forwarded, text)
		}
	}
}

func TestHostPort(t *testing.T) {
	for url, want := range map[string]string{"https://127.0.0.1:6443": "127.0.0.1:6443", "https://kube.example.org": "kube.example.org:443", "https://[::1]:1": "[::1]:1"} {
		if got, err := hostPort(url); err != nil || got != want {
			t.Errorf("of %s: %q, %v", url, got, err)
		}
	}
	if _, err := hostPort("nowhere"); err == nil {
		t.Error("a word is no URL")
	}
}

// TestRelayCarriesBothWays and each way's end, and ends with all of its connections.
func TestRelayCarriesBothWays(t *testing.T) {
	server := listen(t)
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }() // until the other side has said everything
		}
	}()
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- relay(ctx, l, server.Addr().String()) }()

	c := dial(t, l)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}

	open := dial(t, l)
	cancel()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the relay ends with %v", err)
	}
	if n, err := open.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection outlives the relay: %d bytes", n)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
