package failover

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.etcd.io/etcd/server/v3/embed"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/e2e/stage"
)

// etcdIn names to a child process of the test the directory of the etcd that it is to be.
const etcdIn = "POLDER_TEST_ETCD_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(etcdIn); dir != "" {
		if err := serveEtcd(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// serveEtcd is an etcd that lets nobody in without a certificate. It writes where it listens to a file and ends when it is
// killed.
func serveEtcd(dir string) error {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = filepath.Join(dir, "data"), "error"
	tls := &cfg.ClientTLSInfo
	tls.CertFile, tls.KeyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	tls.TrustedCAFile, tls.ClientCertAuth = filepath.Join(dir, "client.pem"), true
	cfg.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	cfg.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	<-e.Server.ReadyNotify()
	text := "https://" + e.Clients[0].Addr().String()
	if err := os.WriteFile(filepath.Join(dir, "address.new"), []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "address.new"), filepath.Join(dir, "address")); err != nil {
		return err
	}
	return <-e.Err()
}

// startEtcd makes the certificates, starts the child and returns the flags for a server.
func startEtcd(t *testing.T, dir string) []string {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server", "client"} {
		if err := selfSigned(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), etcdIn+"="+dir)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var address []byte
	err := stage.Retry(ctx, func(context.Context) (err error) {
		address, err = os.ReadFile(filepath.Join(dir, "address"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--store", "etcd", "--etcd-endpoints", string(address), "--etcd-ca", filepath.Join(dir, "server.pem"),
		"--etcd-cert", filepath.Join(dir, "client.pem"), "--etcd-key", filepath.Join(dir, "client.key")}
}

// selfSigned makes name.pem and name.key, for both sides of a connection on loopback.
func selfSigned(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: filepath.Base(name)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

const plan = `roles:
  a: {guarantee: {cpu: 2, memory: 1Gi}}
`

// TestFailover kills the leading server with -9, twice. Each time the other one takes over; every task goes on, none is started
// again, none is lost; what was asked for meanwhile is started; and asks are served by the new leader.
func TestFailover(t *testing.T) {
	dir, remove, err := stage.TempDir("failover")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { remove(t.Failed()) }()
	programs, err := stage.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := stage.Open(t.Context(), stage.Options{
		Dir: dir, Programs: programs, Agents: 2, Capacity: "cpu=2,memory=1Gi", Runtime: "process", Plan: plan,
		Standby: true, ServerFlags: startEtcd(t, filepath.Join(dir, "etcd")),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, pool: p, begun: filepath.Join(dir, "begun")}
	defer s.end()
	s.submit("first", 6)
	before := s.running(6)
	for round := range 2 {
		killed := time.Now()
		s.must(p.Failover(s.ctx()))
		s.must(p.AwaitNodes(s.ctx()))
		if out, err := p.Polder(s.ctx(), "node", "list"); err != nil || !strings.Contains(out, p.Nodes[0]) {
			t.Errorf("round %d: the command line, told both servers, says %q, %v", round, out, err)
		}
		t.Logf("round %d: the other server leads and both nodes are back after %v", round, time.Since(killed).Round(100*time.Millisecond))
		s.submit(fmt.Sprintf("more-%d", round), 1)
		after := s.running(7 + round)
		for id, node := range before {
			if after[id] != node {
				t.Errorf("round %d: task %s was on %s and is on %q", round, id, node, after[id])
			}
		}
		before = after
	}
	s.startedOnce(8)
}

type story struct {
	t     *testing.T
	pool  *stage.Pool
	begun string // a file with a line for every start
	asks  []string
}

// ctx bounds one step. A leader is deposed ten seconds after it is gone.
func (s *story) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) submit(name string, count uint32) {
	s.t.Helper()
	id, err := s.pool.API.Submit(s.ctx(), name, &polderv1.AskSpec{Name: name, Role: "a", Count: count, Task: &polderv1.TaskSpec{
		Command:   []string{"/bin/sh", "-c", "echo $POLDER_TASK >>" + s.begun + "; exec sleep 1000"},
		Resources: map[string]string{"cpu": "0.25", "memory": "32Mi"},
	}})
	s.must(err)
	s.asks = append(s.asks, id)
}

// running waits until so many tasks run and returns where; there may be no other task, also none that has ended.
func (s *story) running(want int) map[string]string {
	s.t.Helper()
	at := map[string]string{}
	s.must(stage.Retry(s.ctx(), func(ctx context.Context) error {
		clear(at)
		res, err := s.pool.API.Tasks.List(ctx, connect.NewRequest(&polderv1.TaskServiceListRequest{All: true}))
		if err != nil {
			return err
		}
		for _, task := range res.Msg.Tasks {
			if task.State == polderv1.TaskState_TASK_STATE_RUNNING {
				at[task.Id] = task.Node
			} else if task.State > polderv1.TaskState_TASK_STATE_UNREACHABLE {
				s.t.Errorf("task %s is %v: %s", task.Id, task.State, task.Reason.GetMessage())
			}
		}
		if len(at) != want {
			return fmt.Errorf("%d tasks run, want %d", len(at), want)
		}
		return nil
	}))
	return at
}

// startedOnce reads what the tasks themselves say. A task that runs may not have come to its first line yet, so it waits for
// as many starts as there should be.
func (s *story) startedOnce(want int) {
	s.t.Helper()
	var lines []string
	s.must(stage.Retry(s.ctx(), func(context.Context) error {
		data, err := os.ReadFile(s.begun)
		if lines = strings.Fields(string(data)); err == nil && len(lines) < want {
			err = fmt.Errorf("%d starts, want %d: %v", len(lines), want, lines)
		}
		return err
	}))
	slices.Sort(lines)
	if tasks := len(slices.Compact(slices.Clone(lines))); len(lines) != want || tasks != want {
		s.t.Errorf("%d starts of %d tasks, want %d: %v", len(lines), tasks, want, lines)
	}
}

// end stops the tasks, then the pool.
func (s *story) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := s.pool.API.Cancel(ctx, s.asks...)
	for err == nil {
		open, listErr := s.pool.API.OpenAsks(ctx)
		if err = listErr; err == nil && len(open) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err != nil {
		s.t.Errorf("ending the tasks: %v", err)
	}
	if err := s.pool.Close(); err != nil {
		s.t.Error(err)
	}
}
