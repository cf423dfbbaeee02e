package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Run is everything known of one process of a worker.
type Run struct {
	Task     string
	Instance Instance
	Attempt  int
	Role     string
	Node     string
	PID      int // as this machine numbers it
	Words    []Word
	Gone     time.Time // when its end was seen; zero while it lives
	// Last is the notice that was in its sandbox when it was gone: it may not have got round to reading it.
	Last *Document
}

// First is when the worker first said something of a kind.
func (r *Run) First(kind string) (Word, bool) {
	i := slices.IndexFunc(r.Words, func(w Word) bool { return w.Kind == kind })
	if i < 0 {
		return Word{}, false
	}
	return r.Words[i], true
}

// Notices lists what the worker saw of its notices, and what was left in its sandbox, in order.
func (r *Run) Notices() []Document {
	var out []Document
	for _, w := range r.Words {
		if w.Kind == Noticed {
			out = append(out, *w.Notice)
		}
	}
	if r.Last != nil && (len(out) == 0 || !r.Last.Same(out[len(out)-1])) {
		out = append(out, *r.Last)
	}
	return out
}

// News is a word that was just heard, or, without a kind, that the run is gone. Run is not changed while it is handled.
type News struct {
	Run *Run
	Word
}

// Witness listens to workers.
type Witness struct {
	listener *net.UnixListener
	on       func(News)
	serving  sync.WaitGroup

	mu     sync.Mutex // guards all below, and every Run
	runs   []*Run
	live   map[*Run]net.Conn
	broken []error
	closed bool
}

// Listen starts a witness on a socket. on is called for everything that is heard, one call at a time, and must not block or
// call the witness; it may be nil.
func Listen(socket string, on func(News)) (*Witness, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	// Workers in containers may run as anybody.
	if err := os.Chmod(socket, 0o777); err != nil {
		l.Close()
		return nil, fmt.Errorf("witness: %w", err)
	}
	if on == nil {
		on = func(News) {}
	}
	w := &Witness{listener: l, on: on, live: map[*Run]net.Conn{}}
	w.serving.Go(w.accept)
	return w, nil
}

// Close hangs up on every worker, which ends it, and waits until all of them are gone.
func (w *Witness) Close() error {
	err := w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for _, conn := range w.live {
		// Only half of it: the end of the worker is still to be seen.
		conn.(*net.UnixConn).CloseWrite()
	}
	w.mu.Unlock()
	w.serving.Wait()
	return err
}

// Runs returns copies of all runs so far, in the order of their connections, and what went wrong while listening.
func (w *Witness) Runs() ([]Run, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Run, len(w.runs))
	for i, r := range w.runs {
		out[i] = *r
		out[i].Words = slices.Clone(r.Words)
	}
	return out, errors.Join(w.broken...)
}

// Live is how many workers live.
func (w *Witness) Live() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.live)
}

func (w *Witness) accept() {
	for {
		conn, err := w.listener.AcceptUnix()
		if err != nil {
			return // closed
		}
		w.serving.Go(func() { w.listen(conn) })
	}
}

func (w *Witness) listen(conn *net.UnixConn) {
	defer conn.Close()
	run := &Run{PID: peer(conn)}
	words := json.NewDecoder(conn)
	for {
		var word Word
		if err := words.Decode(&word); err != nil {
			w.gone(run, err)
			return
		}
		if !w.heard(run, conn, word) {
			return
		}
	}
}

// heard takes one word; the first one introduces the run.
func (w *Witness) heard(run *Run, conn net.Conn, word Word) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if run.Task == "" {
		var err error
		if run.Instance, run.Attempt, err = ParseTask(word.Task); err != nil || w.closed {
			w.broken = append(w.broken, err)
			return false
		}
		run.Task, run.Role, run.Node = word.Task, word.Role, word.Node
		w.runs = append(w.runs, run)
		w.live[run] = conn
	}
	run.Words = append(run.Words, word)
	w.on(News{run, word})
	return true
}

// gone notes the end of a process.
func (w *Witness) gone(run *Run, err error) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, unix.ECONNRESET) {
		w.broken = append(w.broken, fmt.Errorf("task %s: %w", run.Task, err))
	}
	if run.Task == "" {
		return
	}
	run.Gone = now
	delete(w.live, run)
	if d, err := ReadNotice(run.Words[0].Sandbox); err == nil {
		run.Last = &d
	}
	w.on(News{Run: run})
}

// peer is the process at the other end, 0 when the kernel does not say.
func peer(conn *net.UnixConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	raw.Control(func(fd uintptr) {
		if c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(c.Pid)
		}
	})
	return pid
}
