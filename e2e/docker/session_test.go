//go:build engines || clients

package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"polder.dev/polder/e2e/stage"
)

// TestSession types what the pages say, word for word, while a pool of "polder up" runs on an engine: the sessions of
// docs/docker-session.md, the first lines of docs/docker.md, and the three things to try of the README.
func TestSession(t *testing.T) {
	s := newShell(t)
	for _, part := range sessions(t) {
		if part.title != "Compose" { // "make clients" builds what that needs
			t.Run(part.title, func(t *testing.T) { s.play(t, part.steps) })
		}
	}
	t.Run("docker.md", func(t *testing.T) { s.follow(t, "docs/docker.md", "# The Docker door", "docker rm -f web") })
	t.Run("README.md", func(t *testing.T) { s.follow(t, "README.md", "## Three things to try") })
}

// step is one command of a session and what comes of it; "…" in that is anything.
type step struct{ typed, want string }

// section is a part of a page with its session.
type section struct {
	title string
	steps []step
}

// sessions reads the sessions of the page, by section.
func sessions(t *testing.T) (out []section) {
	inside := false
	for line := range strings.Lines(page(t, "docs/docker-session.md")) {
		line = strings.TrimSuffix(line, "\n")
		title, heading := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		switch typed, command := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside && heading && strings.HasPrefix(line, "#"):
			out = append(out, section{title: title})
		case !inside:
		case command:
			part := &out[len(out)-1]
			part.steps = append(part.steps, step{typed: typed})
		default:
			steps := out[len(out)-1].steps
			last := &steps[len(steps)-1]
			if more, ok := strings.CutPrefix(line, "> "); ok && last.want == "" {
				last.typed += "\n" + more
			} else {
				last.want += line + "\n"
			}
		}
	}
	return out
}

// page reads a file of the tree.
func page(t testing.TB, name string) string {
	root, err := stage.Root()
	must(t, err)
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	must(t, err)
	return string(text)
}

// commands are the lines of the blocks of commands of one section of a page. "make up" is what newShell does.
func commands(t *testing.T, name, heading string) (out []string) {
	inside, block := false, false
	for line := range strings.Lines(page(t, name)) {
		line = strings.TrimSpace(line)
		switch {
		case !block && strings.HasPrefix(line, "#"):
			inside = line == heading
		case strings.HasPrefix(line, "```"):
			block = line == "```sh"
		case inside && block && !strings.HasPrefix(line, "make "):
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%s has no commands below %q", name, heading)
	}
	return out
}

// shell is a terminal in a directory like the tree after "make up".
type shell struct {
	in  io.WriteCloser
	out chan string // what was said, as it comes
}

// newShell starts an engine, a pool on it, and a shell.
func newShell(t *testing.T) *shell {
	dir, remove, err := stage.TempDir("session")
	must(t, err)
	t.Cleanup(func() { must(t, remove(t.Failed())) })
	host, stop, err := stage.Engine(t.Context(), filepath.Join(dir, "engine"))
	must(t, err)
	t.Cleanup(func() { must(t, stop()) })
	bin := filepath.Join(dir, "bin")
	must(t, os.Mkdir(bin, 0o755))
	programs, err := stage.Build(t.Context(), bin)
	must(t, err)
	root, err := stage.Root()
	must(t, err)
	must(t, os.Symlink(filepath.Join(root, "e2e"), filepath.Join(dir, "e2e")))
	env := append(os.Environ(), "DOCKER_HOST="+host)
	nginx := exec.Command("docker", "build", "-q", "-t", "nginx", "-") // what a page runs and this machine has not
	nginx.Env, nginx.Stdin = append(env, "DOCKER_BUILDKIT=0"), strings.NewReader("FROM "+stage.Image+"\nCMD [\"sleep\", \"600\"]\n")
	if out, err := nginx.CombinedOutput(); err != nil {
		t.Fatalf("making an image nginx: %v\n%s", err, out)
	}
	up(t, dir, env, programs.Polder)
	return typing(t, dir, env)
}

// up runs "polder up" as "make up" does, but on other ports, until the test is over.
func up(t *testing.T, dir string, env []string, polder string) {
	cmd := exec.Command(polder, "up", "--dir", filepath.Join(dir, ".polder"), "--listen", "127.0.0.1:0", "--docker", "127.0.0.1:0")
	cmd.Env, cmd.SysProcAttr = env, &syscall.SysProcAttr{Setpgid: true}
	said, err := cmd.StdoutPipe()
	must(t, err)
	log, err := os.Create(filepath.Join(dir, "up.log"))
	must(t, err)
	cmd.Stderr = log
	must(t, cmd.Start())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var text bytes.Buffer
		for buf := make([]byte, 4096); ; {
			n, err := said.Read(buf)
			_, _ = log.Write(buf[:n]) // it is for people
			if text.Write(buf[:n]); ready != nil && strings.Contains(text.String(), "Ctrl-C stops everything") {
				close(ready)
				ready = nil
			}
			if err != nil {
				_ = cmd.Wait() // how it ended is in its log
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			t.Error("polder up did not end")
		}
		log.Close()
	})
	select {
	case <-ready:
	case <-ended:
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("polder up ended:\n%s", text)
	case <-time.After(patience):
		t.Fatal("polder up is not up")
	}
}

// typing starts a shell that takes one command after the other.
func typing(t *testing.T, dir string, env []string) *shell {
	cmd := exec.Command("bash", "--norc")
	// The configuration is that of a user who never used docker, except for its plug-ins.
	cmd.Dir, cmd.Env = dir, slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "DOCKER_") })
	in, err := cmd.StdinPipe()
	must(t, err)
	r, w, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	must(t, cmd.Start())
	must(t, w.Close())
	s := &shell{in: in, out: make(chan string)}
	done := make(chan struct{})
	go func() {
		defer close(s.out)
		for buf := make([]byte, 4096); ; {
			n, err := r.Read(buf)
			select {
			case s.out <- string(buf[:n]):
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		r.Close()
	})
	return s
}

// mark ends what a command said, with its exit code.
const mark = "-- that was "

// types gives the shell one command and returns what it said and its exit code.
func (s *shell) types(t *testing.T, command string) (said, code string) {
	t.Helper()
	_, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null 2>&1; echo \"%s$?.\"\n", command, mark)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for {
		select {
		case more, ok := <-s.out:
			said += more
			if text, rest, ended := strings.Cut(said, mark); ended && strings.HasSuffix(rest, ".\n") {
				return strings.TrimSpace(text), strings.TrimSuffix(rest, ".\n")
			}
			if !ok {
				t.Fatalf("the shell ended at %s:\n%s", command, said)
			}
		case <-ctx.Done():
			t.Fatalf("$ %s\nhas not ended, and said\n%s", command, said)
		}
	}
}

// play types every step and compares what comes of it.
func (s *shell) play(t *testing.T, steps []step) {
	for _, x := range steps {
		said, _ := s.types(t, x.typed)
		want := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(x.want)), "…", "(?s:.*)")
		if !regexp.MustCompile("^" + want + "$").MatchString(said) {
			t.Errorf("$ %s\nsays\n%s\nwant\n%s", x.typed, said, x.want)
		}
	}
}

// follow types the commands of a section of a page, and more; each must succeed.
func (s *shell) follow(t *testing.T, name, heading string, more ...string) {
	for _, command := range append(commands(t, name, heading), more...) {
		if said, code := s.types(t, command); code != "0" {
			t.Errorf("%s: $ %s\nexit code %s, and says\n%s", name, command, code, said)
		}
	}
}
