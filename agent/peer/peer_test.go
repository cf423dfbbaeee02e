package peer

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain is the client of the tests, too: with DIAL in its environment it connects there and waits.
func TestMain(m *testing.M) {
	if addr := os.Getenv("PEER_TEST_DIAL"); addr != "" {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			os.Exit(1)
		}
		_, _ = io.WriteString(conn, "here\n")
		_, _ = io.Copy(io.Discard, conn)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// connect accepts a connection of another process with an environment, and returns our end of it.
func connect(t *testing.T, listen string, env ...string) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(env, "PEER_TEST_DIAL="+l.Addr().String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || strings.TrimSpace(line) != "here" {
		t.Fatalf("the client says %q, %v", line, err)
	}
	return conn
}

// TestVariable: the other process' environment is read, not ours, and only over loopback.
func TestVariable(t *testing.T) {
	t.Setenv("PEER_TEST_SECRET", "ours")
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		with := connect(t, listen, "OTHER=x", "PEER_TEST_SECRET=theirs", "EMPTY=")
		local, remote := with.LocalAddr().String(), with.RemoteAddr().String()
		for name, want := range map[string]string{"PEER_TEST_SECRET": "theirs", "OTHER": "x", "EMPTY": "", "SECRET": "", "NOTHING": ""} {
			if got := Variable(local, remote, name); got != want {
				t.Errorf("%s: %s is %q, want %q", listen, name, got, want)
			}
		}
		without := connect(t, listen)
		if got := Variable(without.LocalAddr().String(), without.RemoteAddr().String(), "PEER_TEST_SECRET"); got != "" {
			t.Errorf("%s: a process without the secret has %q", listen, got)
		}
	}
	for _, ends := range [][2]string{{"127.0.0.1:1", "127.0.0.1:2"}, {"10.0.0.1:1", "10.0.0.2:2"}, {"", ""}, {"x", "127.0.0.1:1"}} {
		if got := Variable(ends[0], ends[1], "PATH"); got != "" {
			t.Errorf("%v has %q", ends, got)
		}
	}
}
