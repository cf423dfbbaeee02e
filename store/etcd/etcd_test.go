package etcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"polder.dev/polder/store"
	"polder.dev/polder/store/storetest"
)

// openIn names a directory to a child process of a test: see [child].
const openIn = "POLDER_TEST_OPEN_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(openIn); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// child opens the store in dir, leads, writes a key and waits to be killed; or prints the error and ends.
func child(dir string) {
	ctx := context.Background()
	s, err := OpenEmbedded(ctx, Embedded{Dir: dir, Logger: slog.DiscardHandler})
	if err != nil {
		fmt.Println(errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrInUse), err)
		return
	}
	lead, err := s.Campaign(ctx, "server")
	if err == nil {
		_, err = lead.Update(ctx, store.Txn{Ops: []store.Op{store.Put("/k/1", []byte("v"))}})
	}
	fmt.Println("ready", err)
	select {}
}

// startChild runs [child] until its first line of output, which it returns.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), openIn+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("child printed %q: %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenEmbedded(t.Context(), Embedded{Dir: dir, Logger: slog.DiscardHandler})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

func harness(s, other *Store) storetest.Harness {
	return storetest.Harness{
		Store: s, Other: other,
		Depose: func(t *testing.T, election string) {
			if _, err := other.client.Delete(t.Context(), s.electionKey(election), clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
		},
		Compact: func(t *testing.T, revision int64) {
			if _, err := other.client.Compact(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestEmbedded(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		s := open(t, t.TempDir())
		return harness(s, s)
	})
}

// TestExternal runs the suite on two clients of one etcd, as two servers that stand by for each other.
func TestExternal(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		endpoint := serveEtcd(t)
		connect := func() *Store {
			s, err := OpenExternal(t.Context(), External{Endpoints: []string{endpoint}, Logger: slog.DiscardHandler})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		}
		return harness(connect(), connect())
	})
}

// serveEtcd runs an etcd on a unix socket, with the limits an external one should have.
func serveEtcd(t *testing.T) string {
	dir, err := os.MkdirTemp("", "etcd") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{dir: dir, life: t.Context(), fail: func(err error) { t.Errorf("etcd: %v", err) }}
	config := g.config(slog.DiscardHandler)
	socket := url.URL{Scheme: "unix", Path: filepath.Join(dir, "etcd.sock")}
	config.ListenClientUrls = []url.URL{socket}
	server, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); os.RemoveAll(dir) })
	<-server.Server.ReadyNotify()
	return socket.String()
}

func TestExternalRefusesBadEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"":                      "no endpoints",
		"http://etcd.corp:2379": "without TLS",
		"etcd.corp:2379":        "without TLS",
		"etcd":                  "not a URL",
	} {
		cfg := External{Logger: slog.DiscardHandler}
		if endpoint != "" {
			cfg.Endpoints = []string{endpoint}
		}
		if _, err := OpenExternal(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: err = %v, want %q", endpoint, err, want)
		}
	}
}

func TestRestartKeepsData(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	if _, err := first.Campaign(t.Context(), "server"); err != nil {
		t.Fatal(err)
	}
	revision, err := first.Update(t.Context(), store.Txn{Ops: []store.Op{store.Put("/k/1", []byte("v"))}})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir)
	snap, err := second.View(t.Context(), "")
	if err != nil || len(snap.Entries) != 1 || string(snap.Entries[0].Value) != "v" || snap.Entries[0].Revision != revision {
		t.Errorf("after a restart: %+v, %v", snap, err)
	}
}

// TestKill kills a leader with -9: what it wrote is there, and its lease does not delay the next start.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	cmd, line := startChild(t, dir)
	if line != "ready <nil>" {
		t.Fatal(line)
	}
	if _, err := OpenEmbedded(t.Context(), Embedded{Dir: dir, Logger: slog.DiscardHandler}); !errors.Is(err, store.ErrInUse) ||
		!strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", cmd.Process.Pid)) {
		t.Errorf("err = %v, want ErrInUse that names %s and process %d", err, dir, cmd.Process.Pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	s := open(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), leaseSeconds*time.Second/2)
	defer cancel()
	if _, err := s.Campaign(ctx, "server"); err != nil {
		t.Errorf("campaign after the leader died: %v", err)
	}
	if snap, err := s.View(t.Context(), "/k/"); err != nil || len(snap.Entries) != 1 {
		t.Errorf("after kill -9: %+v, %v", snap, err)
	}
}

// TestCorruptDirectory is about a child, because an etcd that cannot start leaves goroutines behind.
func TestCorruptDirectory(t *testing.T) {
	for _, part := range []string{"wal", "snap"} {
		t.Run(part, func(t *testing.T) {
			dir := t.TempDir()
			if err := open(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			scribble(t, filepath.Join(dir, "etcd", "member", part))
			_, line := startChild(t, dir)
			if !strings.HasPrefix(line, "true false") || !strings.Contains(line, dir) {
				t.Errorf("child says %q, want ErrCorrupt that names the directory", line)
			}
			t.Log(line)
		})
	}
}

// scribble overwrites the start of every file in dir.
func scribble(t *testing.T, dir string) {
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing in %s: %v", dir, err)
	}
	for _, f := range files {
		w, err := os.OpenFile(filepath.Join(dir, f.Name()), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(strings.Repeat("scribble", 2000))); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
}

func TestNotADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenEmbedded(t.Context(), Embedded{Dir: file, Logger: slog.DiscardHandler}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("err = %v, want one that names %s", err, file)
	}
}

// TestFailureUnderneath lets etcd give up, as on a full disk: the leader learns, calls fail with the cause, Close returns.
func TestFailureUnderneath(t *testing.T) {
	s := open(t, t.TempDir())
	lead, err := s.Campaign(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	s.cancel(store.ErrFull)
	<-lead.Done()
	if _, err := lead.Update(t.Context(), store.Txn{}); !errors.Is(err, store.ErrClosed) || !errors.Is(err, store.ErrFull) {
		t.Errorf("err = %v, want ErrClosed because of ErrFull", err)
	}
	if err := s.Close(); !errors.Is(err, store.ErrFull) {
		t.Errorf("close: %v, want the cause", err)
	}
}

func TestLogBridge(t *testing.T) {
	var out strings.Builder
	var ended []string
	end := func(message string, _ []zapcore.Field) { ended = append(ended, message); runtime.Goexit() }
	log := newLogger(slog.NewTextHandler(&out, nil), end, end)
	log.Info("dropped")
	log.Warn(harmless[0])
	log.With(zap.String("member", "polder")).Warn("kept", zap.Int("n", 3))
	for _, write := range []func(string, ...zap.Field){log.Fatal, log.Panic} {
		done := make(chan struct{})
		go func() { defer close(done); write("the end") }()
		<-done
	}
	if got := out.String(); strings.Contains(got, "dropped") || strings.Contains(got, "single port") || !strings.Contains(got, `level=WARN msg="etcd: kept" member=polder n=3`) {
		t.Errorf("log = %q", got)
	}
	if len(ended) != 2 {
		t.Errorf("ended = %v, want both", ended)
	}
}
