package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

const (
	noticeFile = "notice.json"
	answerFile = "answer.json"
	maxAnswer  = 64 << 10
	// callTimeout bounds one callback; a failed one is repeated with growing pauses until the stop signal is due.
	callTimeout = 5 * time.Second
)

// noticeDocument is what a task reads, in its sandbox and from the callback.
type noticeDocument struct {
	ID       string            `json:"id"`
	Claimant string            `json:"claimant"`
	Amount   map[string]string `json:"amount,omitempty"`
	Issued   time.Time         `json:"issued"`
	Deadline time.Time         `json:"deadline"`
	State    string            `json:"state"`
}

// answer is what a task says to its notice.
type answer struct {
	Done     bool    `json:"done"`
	Released amounts `json:"released"`

	notice string // the notice it was given to
}

// told says that a task was signalled and called once about a notice in a state.
type told struct{ notice, state string }

// callbacks is the client for tasks' own URLs. It follows no redirect and uses no proxy.
var callbacks = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// delivery is one state of a notice on its way to the task. It is made by the owner and used by another goroutine.
type delivery struct {
	t        *task
	document noticeDocument
	told     bool // signalled before
	fresh    bool // a notice the task has not heard of: what it answered before is not meant for it
	url      string
	signal   string
	term     moment
}

// deliver tells the task about its notice as it is now, in place of what was being told before.
func (t *task) deliver(ctx context.Context, fresh bool) {
	t.hush()
	n := t.rec.Notice
	way := t.rec.Assignment.GetSpec().GetNotice()
	d := delivery{
		t: t, document: documentOf(n.Wire), told: n.Told, fresh: fresh, term: n.Term,
		url: withPorts(way.GetHttp(), t.rec.Assignment), signal: way.GetSignal(),
	}
	ctx, t.hush = context.WithCancel(ctx)
	dir := sandboxOf(t.a.c.Dir, t.rec.Assignment)
	if err := d.writeFile(dir); err != nil {
		t.a.tell("NoticeFile", t.id, "the notice could not be written into the sandbox: "+err.Error())
	}
	t.a.running.Go(func() { d.run(ctx) })
	if n.Wire.State == noticeOpen {
		t.a.running.Go(func() { d.awaitAnswer(ctx, dir) })
	}
}

func documentOf(n *polderv1.Notice) noticeDocument {
	return noticeDocument{n.Id, n.Claimant, n.Amount, n.Issued.AsTime(), n.Deadline.AsTime(), n.State}
}

// run signals the task, then calls it. The signal is sent once; the call is repeated until it is answered.
func (d delivery) run(ctx context.Context) {
	if d.signal != "" && !d.told {
		if err := d.send(ctx); err != nil {
			d.t.a.tell("NoticeSignal", d.t.id, "the notice's signal could not be sent: "+err.Error())
		}
	}
	for wait := retryFirst; d.url != ""; wait = min(2*wait, retryMost) {
		err := d.call(ctx)
		d.t.post(ctx, told{d.document.ID, d.document.State})
		if err == nil {
			return
		}
		d.t.a.c.Logger.Warn("notice callback failed", "task", d.t.id, "url", d.url, "error", err)
		if d.term.until(d.t.a.c.Clock) < wait || pause(ctx, wait) != nil {
			return
		}
	}
	d.t.post(ctx, told{d.document.ID, d.document.State})
}

func (d delivery) send(ctx context.Context) error {
	sig, err := runtime.ParseSignal(d.signal)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return d.t.runtime.Signal(ctx, d.t.id, sig)
}

// call posts the notice and hands on the answer, if there is one.
func (d delivery) call(ctx context.Context) error {
	u, err := url.Parse(d.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is not an http URL", d.url)
	}
	body, err := json.Marshal(d.document)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.t.a.callbacks.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s", resp.Status)
	}
	if len(bytes.TrimSpace(data)) > 0 {
		d.hand(ctx, data)
	}
	return nil
}

// hand passes a task's answer to its owner; a malformed one becomes an event.
func (d delivery) hand(ctx context.Context, data []byte) {
	a, err := decodeAnswer(data)
	if err != nil {
		d.t.a.tell("BadAnswer", d.t.id, err.Error())
		return
	}
	a.notice = d.document.ID
	d.t.post(ctx, a)
}

// decodeAnswer reads {"done":true} or {"released":{"cpu":"1"}}, and nothing else.
func decodeAnswer(data []byte) (answer, error) {
	var a answer
	if len(data) > maxAnswer {
		return a, fmt.Errorf("answer to the notice is longer than %d bytes", maxAnswer)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return a, fmt.Errorf(`answer to the notice: %w; want {"done":true} or {"released":{"cpu":"1"}}`, err)
	}
	if d.More() {
		return a, errors.New(`answer to the notice: more than one value; want {"done":true} or {"released":{"cpu":"1"}}`)
	}
	return a, a.Released.check()
}

// writeFile puts the document into the sandbox, whole or not at all. The task owns the directory, so no link in it is
// followed out of it. An answer to an earlier notice is removed first.
func (d delivery) writeFile(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if d.fresh {
		if err := root.Remove(answerFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	data, err := json.MarshalIndent(d.document, "", "  ")
	if err != nil {
		return err
	}
	next := "." + noticeFile + ".new"
	if err := root.RemoveAll(next); err != nil {
		return err
	}
	f, err := root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return root.Rename(next, noticeFile)
}

// awaitAnswer reads the task's answer file whenever it changes.
func (d delivery) awaitAnswer(ctx context.Context, dir string) {
	var last []byte
	for range d.t.a.changes(ctx, dir) {
		data, err := readAnswer(dir)
		if err != nil {
			d.t.a.tell("BadAnswer", d.t.id, err.Error())
			return
		}
		if data != nil && !bytes.Equal(data, last) {
			last = data
			d.hand(ctx, data)
		}
	}
}

// readAnswer returns the answer file, nil when there is none or it is still empty.
func readAnswer(dir string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("answer to the notice: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(answerFile, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("answer to the notice: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("answer to the notice: answer.json is not a plain file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxAnswer+1))
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return nil, err
	}
	return data, nil
}
