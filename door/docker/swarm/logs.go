package swarm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// logParameters are those of docker service logs.
var logParameters = []string{"follow", "stdout", "stderr", "since", "timestamps", "tail", "details"}

// taskLogs is docker service logs of one task.
func (s *Swarm) taskLogs(c *call) error {
	t, err := s.task(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	return s.logs(c, t.of, func(o orchestrator.Task) bool { return o.ID == t.ID })
}

// serviceLogs is docker service logs.
func (s *Swarm) serviceLogs(c *call) error {
	x, err := s.service(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	return s.logs(c, x, func(orchestrator.Task) bool { return true })
}

// logs sends what tasks of a service wrote, and, when it follows, those that come later too.
func (s *Swarm) logs(c *call, x orchestrator.Service, of func(orchestrator.Task) bool) error {
	if err := c.only(logParameters...); err != nil {
		return err
	}
	q := c.URL.Query()
	if !isSet(q, "stdout") && !isSet(q, "stderr") {
		return fail(http.StatusBadRequest, "You must choose at least one stream")
	}
	if err := s.opt.Containers.May(c.Context(), "logs", x.Role); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/vnd.docker.raw-stream")
	c.w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(c.w).Flush() // the client is gone if this fails
	out := &logWriter{w: c.w}
	seen := map[string]bool{}
	var all sync.WaitGroup
	defer all.Wait()
	for {
		s.mu.Lock()
		tasks := slices.DeleteFunc(s.m.Tasks(x.ID), func(t orchestrator.Task) bool { return t.State < orchestrator.Running || seen[t.ID] || !of(t) })
		s.mu.Unlock()
		for _, t := range tasks {
			seen[t.ID] = true
			all.Go(func() { _ = s.log(c.Context(), out, t, q) }) // one that is gone has nothing to say
		}
		if !isSet(q, "follow") {
			return nil
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-c.Context().Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// log copies what one task wrote, each line with where it comes from when the client wants details.
func (s *Swarm) log(ctx context.Context, out *logWriter, t orchestrator.Task, q url.Values) error {
	pass := url.Values{}
	for _, name := range []string{"follow", "stdout", "stderr", "since", "timestamps", "tail"} {
		if v := q.Get(name); v != "" {
			pass.Set(name, v)
		}
	}
	res, err := s.opt.Containers.Logs(ctx, containerID(t.ID), pass)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the engine answered %s", res.Status)
	}
	details := ""
	if isSet(q, "details") {
		details = fmt.Sprintf("com.docker.swarm.node.id=%s,com.docker.swarm.service.id=%s,com.docker.swarm.task.id=%s ", nodeID(t.Node), t.Service, t.ID)
	}
	return out.copy(res.Body, details, isSet(q, "timestamps"))
}

// logWriter writes whole frames of several streams.
type logWriter struct {
	mu sync.Mutex // guards writing
	w  http.ResponseWriter
}

// frameHead is the length of what is before a frame: the stream, and how long it is.
const frameHead = 8

// maxFrame bounds one line of output.
const maxFrame = 1 << 20

// copy copies frames, with details before each line's text and behind its time.
func (l *logWriter) copy(r io.Reader, details string, stamped bool) error {
	in := bufio.NewReader(r)
	for {
		head := make([]byte, frameHead)
		if _, err := io.ReadFull(in, head); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		size := binary.BigEndian.Uint32(head[4:])
		if size > maxFrame {
			return fmt.Errorf("a frame of %d bytes; is there a terminal?", size)
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(in, text); err != nil {
			return err
		}
		if err := l.write(head[0], withDetails(text, details, stamped)); err != nil {
			return err
		}
	}
}

// withDetails puts details before a line, behind the time if there is one.
func withDetails(line []byte, details string, stamped bool) []byte {
	at := 0
	if i := slices.Index(line, ' '); stamped && i >= 0 {
		at = i + 1
	}
	return slices.Concat(line[:at], []byte(details), line[at:])
}

func (l *logWriter) write(stream byte, text []byte) error {
	head := [frameHead]byte{stream}
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(slices.Concat(head[:], text))
	return errors.Join(err, http.NewResponseController(l.w).Flush())
}
