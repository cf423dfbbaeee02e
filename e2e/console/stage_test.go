package console

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/web"
)

// patience is how long anything may take before a test gives up.
const patience = 30 * time.Second

// What all tests share, made by TestMain.
var (
	polder   string // the program, with the pages inside
	chromium string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "polder-console")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(dir)
	polder = filepath.Join(dir, "polder")
	for _, c := range [][]string{{"make", "--no-print-directory", "ui"}, {"go", "build", "-o", polder, "./cmd/polder"}} {
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			log.Printf("%s: %v\n%s", strings.Join(c, " "), err, out)
			return 1
		}
	}
	if chromium, err = findChromium(); err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("these tests need Chromium: apt-get install chromium")
}

// pool is a server with nodes, in a process of its own.
type pool struct {
	t       *testing.T
	dir     string
	addr    string
	args    []string
	process *exec.Cmd
}

// before serves the console before a server that is made up.
func before(t *testing.T, server http.Handler) *pool {
	t.Helper()
	h, err := web.New(web.Config{Server: server, Key: bytes.Repeat([]byte{1}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true // as the real one; a browser opens few connections without it
	s.StartTLS()
	t.Cleanup(s.Close)
	return &pool{t: t, addr: strings.TrimPrefix(s.URL, "https://")}
}

// up starts a pool and waits until it says word.
func up(t *testing.T, word string, args ...string) *pool {
	t.Helper()
	p := &pool{t: t, dir: filepath.Join(t.TempDir(), "pool"), args: args}
	p.start("127.0.0.1:0", word)
	t.Cleanup(p.stop)
	return p
}

func (p *pool) start(listen, word string) {
	p.t.Helper()
	p.process = exec.Command(polder, append([]string{"up", "--dir", p.dir, "--listen", listen}, p.args...)...)
	out, err := p.process.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.process.Stderr = os.Stderr
	if err := p.process.Start(); err != nil {
		p.t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), "console  https://"); ok {
				p.addr, _, _ = strings.Cut(rest, "/")
			}
			if strings.Contains(lines.Text(), word) {
				ready <- true
			}
		}
		close(ready)
	}()
	select {
	case ok := <-ready:
		if !ok {
			p.t.Fatal("the pool ended before it was up")
		}
	case <-time.After(2 * patience):
		p.t.Fatalf("the pool does not say %q", word)
	}
}

func (p *pool) stop() {
	_ = p.process.Process.Signal(os.Interrupt) // it may be over
	_ = p.process.Wait()                       // how it ended is not what is tested
}

// polder runs the command line as the administrator.
func (p *pool) polder(args ...string) string {
	p.t.Helper()
	cmd := exec.Command(polder, args...)
	cmd.Env = append(os.Environ(), "POLDER_CONTEXT="+filepath.Join(p.dir, "context.yaml"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("polder %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// access lets somebody do something on a role, and nobody anything else.
func (p *pool) access(subject, verb, role string) {
	p.t.Helper()
	rules := filepath.Join(p.t.TempDir(), "access.yaml")
	if err := os.WriteFile(rules, fmt.Appendf(nil, "permissions: [{subject: %q, verbs: [%s], role: %q}]", subject, verb, role), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.polder("access", "set", "-f", rules)
}

func (p *pool) url(path string) string { return fmt.Sprintf("https://%s%s", p.addr, path) }

// insecure reaches a pool whose authority nobody here knows.
func insecure() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true}
}

// packedSize is how many bytes of an address come over the wire.
func packedSize(t *testing.T, c *http.Client, address string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%s: %s, %v", address, res.Status, err)
	}
	return len(body)
}
