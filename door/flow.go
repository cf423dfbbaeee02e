package door

import (
	"io"
	"sync"
)

// flowSize is how many bytes a handler may have written that the door has not read yet.
const flowSize = 32 << 10

// flow carries an answer from the handler to the door. Unlike [io.Pipe] it has room for some of it: a message is written in two pieces
// and read in two, and handing each over at once would wake four times who needs to be woken once.
type flow struct {
	mu      sync.Mutex
	changed sync.Cond
	held    []byte
	ended   error // what reading ends with, after what is held
	left    bool  // the reader has hung up
}

func newFlow() *flow {
	f := &flow{}
	f.changed.L = &f.mu
	return f
}

// Write implements [io.Writer]. It waits while there is no room.
func (f *flow) Write(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n < len(p) {
		for len(f.held) >= flowSize && f.ended == nil && !f.left {
			f.changed.Wait()
		}
		switch {
		case f.left:
			return n, io.ErrClosedPipe
		case f.ended != nil:
			return n, f.ended
		}
		part := p[n:min(len(p), n+flowSize-len(f.held))]
		f.held = append(f.held, part...)
		n += len(part)
		f.changed.Broadcast()
	}
	return n, nil
}

// Read implements [io.Reader].
func (f *flow) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.held) == 0 && f.ended == nil && !f.left {
		f.changed.Wait()
	}
	switch {
	case f.left:
		return 0, io.ErrClosedPipe
	case len(f.held) == 0:
		return 0, f.ended
	}
	n := copy(p, f.held)
	if f.held = f.held[n:]; len(f.held) == 0 {
		f.held = nil // the next message may be small
	}
	f.changed.Broadcast()
	return n, nil
}

// end lets reading end with err, nil for the ordinary end, after what is held. The first end counts.
func (f *flow) end(err error) {
	if err == nil {
		err = io.EOF
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = err
	}
	f.changed.Broadcast()
}

// Close implements [io.Closer], for the reader.
func (f *flow) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.held = true, nil
	f.changed.Broadcast()
	return nil
}
