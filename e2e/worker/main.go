package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"polder.dev/polder/e2e/witness"
)

// poll is how often the worker looks for a notice when no signal tells it to.
const poll = 50 * time.Millisecond

// margin is how long before its stop signal a worker no longer ends as if its work were finished: what it meant would be
// anybody's guess.
const margin = 100 * time.Millisecond

// Exit codes.
const (
	exitFinished  = 0
	exitLeft      = 3
	exitTerm      = 4
	exitAlone     = 5
	exitDuplicate = 6
)

func main() {
	w, err := begin()
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(exitAlone)
	}
	w.exit(w.work())
}

// worker is one attempt at one instance of an ask.
type worker struct {
	conn    net.Conn
	say     *json.Encoder
	signals chan os.Signal
	alone   chan struct{} // closed when the witness is gone
	conduct string
	think   time.Duration
	ends    time.Time // zero is never
	grace   time.Duration
	task    string
	ledger  string
	sandbox string

	notice   witness.Document // the newest, as it was read
	react    time.Time        // when to do what the conduct says; zero is never
	proofs   []time.Time      // when to say that it is alive: just before the deadline
	answered bool
	termed   bool
}

func begin() (*worker, error) {
	w := &worker{
		signals: make(chan os.Signal, 16), alone: make(chan struct{}), conduct: os.Getenv("CONDUCT"),
		task: os.Getenv("POLDER_TASK"), ledger: os.Getenv("LEDGER"), sandbox: os.Getenv("POLDER_SANDBOX"),
	}
	signal.Notify(w.signals, syscall.SIGTERM, syscall.SIGUSR1)
	var length time.Duration
	for name, into := range map[string]*time.Duration{"WORK": &length, "THINK": &w.think, "KILLGRACE": &w.grace} {
		if text := os.Getenv(name); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			*into = d
		}
	}
	if length > 0 {
		w.ends = time.Now().Add(length)
	}
	conn, err := net.Dial("unix", os.Getenv("WITNESS"))
	if err != nil {
		return nil, err
	}
	w.conn, w.say = conn, json.NewEncoder(conn)
	go func() { conn.Read(make([]byte, 1)); close(w.alone) }()
	w.tell(witness.Word{Kind: witness.Started, Task: w.task, Role: os.Getenv("POLDER_ROLE"), Node: os.Getenv("POLDER_NODE"), Sandbox: w.sandbox})
	return w, nil
}

func (w *worker) tell(m witness.Word) {
	m.At = time.Now()
	w.say.Encode(m) // if the witness is gone, work ends at once
}

func (w *worker) exit(code int) {
	w.tell(witness.Word{Kind: witness.Exited, Code: code})
	os.Exit(code)
}

// work does nothing until something ends it, and returns the exit code.
func (w *worker) work() int {
	if why := w.register(); why != "" {
		w.tell(witness.Word{Kind: witness.Duplicate, Text: why})
		return exitDuplicate
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		next := time.NewTimer(w.untilNext())
		select {
		case <-w.alone:
			return exitAlone
		case s := <-w.signals:
			if code, over := w.signalled(s); over {
				return code
			}
		case <-tick.C:
			w.look()
		case <-next.C:
			w.look()
		}
		next.Stop()
		if code, over := w.due(); over {
			return code
		}
	}
}

// register lets the kernel find a second run: an attempt's file can be made once, an instance's lock be held once.
func (w *worker) register() (why string) {
	if w.ledger == "" {
		return ""
	}
	f, err := os.OpenFile(filepath.Join(w.ledger, w.task+".ran"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "this attempt ran before: " + err.Error()
	}
	f.Close()
	lock, err := os.OpenFile(filepath.Join(w.ledger, w.instance()+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err.Error()
	}
	// It stays open, and so held, until this process is no more.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "another attempt of this instance is alive: " + err.Error()
	}
	return ""
}

// instance is the task's id without its attempt.
func (w *worker) instance() string {
	parts := strings.SplitN(w.task, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// look reads the notice. It says so when there is something new.
func (w *worker) look() {
	doc, err := witness.ReadNotice(w.sandbox)
	if errors.Is(err, os.ErrNotExist) || err == nil && doc.Same(w.notice) {
		return
	}
	if err != nil {
		w.tell(witness.Word{Kind: witness.Trouble, Text: err.Error()})
		return
	}
	fresh := doc.ID != w.notice.ID
	w.notice = doc
	w.tell(witness.Word{Kind: witness.Noticed, Notice: &doc})
	w.proofs = nil
	switch {
	case doc.State == "withdrawn":
		w.react, w.answered = time.Time{}, false
	case fresh && (w.conduct == "done" || w.conduct == "leave"):
		w.react = time.Now().Add(w.think)
	}
	if doc.State == "open" {
		for _, early := range []time.Duration{20 * time.Millisecond, 5 * time.Millisecond, time.Millisecond, 0} {
			w.proofs = append(w.proofs, doc.Deadline.Add(-early))
		}
	}
}

// signalled handles a signal: one of them may be that a notice is there.
func (w *worker) signalled(s os.Signal) (code int, over bool) {
	w.look()
	if s != syscall.SIGTERM {
		return 0, false
	}
	w.termed = true
	w.tell(witness.Word{Kind: witness.Termed})
	return w.bow(), w.conduct == "term" || w.conduct == "bow" || w.answered
}

// bow is the code to end with at a stop signal.
func (w *worker) bow() int {
	if w.conduct == "bow" {
		return exitFinished
	}
	return exitTerm
}

// due does what its time has come for.
func (w *worker) due() (code int, over bool) {
	now := time.Now()
	if w.termed && w.notice.State == "withdrawn" {
		return w.bow(), true // whatever it did from now on, the stop signal cannot be called back
	}
	for len(w.proofs) > 0 && !now.Before(w.proofs[0]) {
		w.proofs = w.proofs[1:]
		w.tell(witness.Word{Kind: witness.Alive})
	}
	if !w.react.IsZero() && !now.Before(w.react) {
		w.react = time.Time{}
		if w.conduct == "leave" {
			return exitLeft, true
		}
		w.answer()
	}
	if !w.ends.IsZero() && !now.Before(w.ends) && w.mayFinish(now) {
		return w.finish(), true
	}
	return 0, false
}

// mayFinish reports whether an end now would be understood as the end of the work.
func (w *worker) mayFinish(now time.Time) bool {
	if w.termed || w.answered {
		return false
	}
	return w.notice.State != "open" || now.Before(w.notice.Deadline.Add(-w.grace-margin))
}

// finish notes that the instance's work is done, once.
func (w *worker) finish() int {
	if w.ledger == "" {
		return exitFinished
	}
	f, err := os.OpenFile(filepath.Join(w.ledger, w.instance()+".finished"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		w.tell(witness.Word{Kind: witness.Again, Text: err.Error()})
		return exitFinished
	}
	f.Close()
	w.tell(witness.Word{Kind: witness.Finished})
	return exitFinished
}

// answer says to the notice that the work is saved.
func (w *worker) answer() {
	next := filepath.Join(w.sandbox, ".answer.new")
	err := os.WriteFile(next, []byte(`{"done":true}`), 0o644)
	if err == nil {
		err = os.Rename(next, filepath.Join(w.sandbox, "answer.json"))
	}
	if err != nil {
		w.tell(witness.Word{Kind: witness.Trouble, Text: "answering: " + err.Error()})
		return
	}
	w.answered = true
	w.tell(witness.Word{Kind: witness.Answered})
}

// untilNext is how long nothing is due.
func (w *worker) untilNext() time.Duration {
	wait := time.Hour
	consider := func(at time.Time) {
		if !at.IsZero() {
			wait = min(wait, time.Until(at))
		}
	}
	if len(w.proofs) > 0 {
		consider(w.proofs[0])
	}
	consider(w.react)
	if w.mayFinish(time.Now()) {
		consider(w.ends)
	}
	return max(wait, 0)
}
