package mesos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/door/mesos/wire"
)

// Bounds of one stream.
const (
	maxQueued    = 16 << 20         // bytes that wait for a client that does not read; beyond that it is disconnected
	stallTimeout = 30 * time.Second // how long a client may take for what was sent
)

// Why a stream ends.
var (
	errSlow    = errors.New("the client does not read its events")
	errStopped = errors.New("the server stops")
)

// stream is the events of one subscription, on their way.
type stream struct {
	media  wire.Media
	id     string
	mu     sync.Mutex // guards what follows
	queue  [][]byte   // records
	size   int        // of all of them
	wake   chan struct{}
	closed error  // why, once it is over; what is queued still goes out unless the client does not read
	cut    func() // breaks off what is being written
}

func newStream(media wire.Media, id string) *stream {
	return &stream{media: media, id: id, wake: make(chan struct{}, 1)}
}

// send queues events. It never waits.
func (s *stream) send(events ...proto.Message) {
	for _, e := range events {
		record, err := s.media.Append(wire.BeginRecord(0), e)
		if err != nil {
			s.end(fmt.Errorf("an event cannot be written: %w", err)) // a bug: a required field was forgotten
			return
		}
		s.queueRecord(wire.EndRecord(record))
	}
}

// queueRecord queues an event that is written already.
func (s *stream) queueRecord(record []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.queue = append(s.queue, record)
		s.size += len(record)
	}
	if s.closed == nil && s.size > maxQueued {
		s.closed, s.queue, s.size = errSlow, nil, 0
		if s.cut != nil {
			s.cut()
		}
	}
	s.signal()
}

// end closes the stream after what is queued.
func (s *stream) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.closed = why
	}
	s.signal()
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what is queued, and why the stream is over if it is.
func (s *stream) take() ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.queue
	s.queue, s.size = nil, 0
	return out, s.closed
}

// begin lets the next record be written, for so long as a client may take, unless it has shown that it does not read.
func (s *stream) begin(control *http.ResponseController) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == errSlow {
		return errSlow
	}
	s.cut = func() { _ = control.SetWriteDeadline(time.Now()) } // not every transport has one
	_ = control.SetWriteDeadline(time.Now().Add(stallTimeout))
	return nil
}

// rest is begin's end, until there is something to write again.
func (s *stream) rest(control *http.ResponseController) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = nil
	_ = control.SetWriteDeadline(time.Time{})
}

// serve writes the answer's head and then events until the stream or the client ends, with a heartbeat in between.
func (s *stream) serve(ctx context.Context, w http.ResponseWriter, heartbeat proto.Message, every time.Duration) error {
	w.Header().Set("Content-Type", string(s.media))
	if s.id != "" {
		w.Header().Set(streamHeader, s.id)
	}
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		out, over := s.take()
		for _, record := range out {
			if err := s.begin(control); err != nil {
				return err
			}
			if _, err := w.Write(record); err != nil {
				return err
			}
			if err := control.Flush(); err != nil { // a chunk each: there are clients that know records by their chunks
				return err
			}
		}
		s.rest(control)
		if over != nil {
			return over
		}
		select {
		case <-s.wake:
		case <-beat.C:
			s.send(heartbeat)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
