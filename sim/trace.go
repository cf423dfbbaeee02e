package sim

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strconv"

	"polder.dev/polder/core/cluster"
)

// trace writes what the leader is told and what it has done, a line each, and keeps the digest of all lines.
type trace struct {
	digest  hash.Hash
	out     *bufio.Writer
	line    []byte
	events  int
	effects int
}

func newTrace(w io.Writer) *trace {
	t := &trace{digest: sha256.New()}
	to := io.Writer(t.digest)
	if w != nil {
		to = io.MultiWriter(t.digest, w)
	}
	t.out = bufio.NewWriterSize(to, 1<<16)
	return t
}

func (t *trace) flush() error { return t.out.Flush() }

// sum is the digest of the trace so far.
func (t *trace) sum() string {
	t.out.Flush()
	return hex.EncodeToString(t.digest.Sum(nil)[:12])
}

func (t *trace) write(now int64, parts ...string) {
	t.line = strconv.AppendInt(t.line[:0], now, 10)
	for _, p := range parts {
		t.line = append(append(t.line, ' '), p...)
	}
	t.line = append(t.line, '\n')
	t.out.Write(t.line)
}

// event writes what the leader is told.
func (t *trace) event(now int64, e cluster.Event) {
	t.events++
	switch e := e.(type) {
	case cluster.Tick:
		t.write(now, "> tick")
	case cluster.Submit:
		t.write(now, "> submit", e.Ask.ID, e.Ask.Role, strconv.Itoa(e.Ask.Count))
	case cluster.Report:
		t.write(now, "> report", e.Task.Task, e.Task.State.String())
	case cluster.Register:
		t.write(now, "> register", e.Node.Name, strconv.Itoa(len(e.Tasks)))
	case cluster.Disconnect:
		t.write(now, "> disconnect", e.Node)
	case cluster.RemoveNode:
		t.write(now, "> remove", e.Node)
	case cluster.Answer:
		t.write(now, "> answer", e.Task)
	case cluster.Resize:
		t.write(now, "> resize", e.Task)
	case cluster.Accepted:
		t.write(now, "> accepted", e.Task, e.Notice)
	case cluster.Cancel:
		t.write(now, "> cancel", e.Ask)
	case cluster.Kill:
		t.write(now, "> kill", e.Task)
	case cluster.Commit:
		t.write(now, "> commit", strconv.Itoa(len(e.Tasks)))
	default:
		t.write(now, "> other")
	}
}

// effect writes what is to be done. What only tells readers or the disk that something changed is left out.
func (t *trace) effect(now int64, e cluster.Effect) {
	switch e := e.(type) {
	case cluster.Launch:
		t.write(now, "launch", e.Task.Task, e.Task.Node, e.Task.Funding)
	case cluster.StopTask:
		t.write(now, "stop", e.Task, e.Node, e.Reason.Code)
	case cluster.SendNotice:
		t.write(now, "notice", e.Notice.ID, e.Notice.Task, e.Notice.Claimant, strconv.FormatInt(int64(e.Notice.Deadline.Sub(e.Notice.Issued)), 10))
	case cluster.WithdrawNotice:
		t.write(now, "withdraw", e.Notice, e.Task)
	case cluster.SetFunding:
		t.write(now, "funding", e.Task, e.Funding)
	case cluster.Ack:
		t.write(now, "ack", e.Task)
	case cluster.TaskEnded:
		t.write(now, "ended", e.Task.Task, e.Task.State.String())
	case cluster.NoticeClosed:
		t.write(now, "closed", e.Notice.ID, string(e.Notice.State))
	case cluster.AskEnded:
		t.write(now, "finished", e.Ask.ID, e.Ask.State)
	default:
		return
	}
	t.effects++
}
