package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

const (
	followEvery = 100 * time.Millisecond
	trimEvery   = 10 * time.Second
	trimAlign   = 1 << 16
)

var logNames = [2]string{"stdout", "stderr"}

// Logs copies what the task wrote.
func (r *Runtime) Logs(ctx context.Context, taskID string, opt runtime.LogOptions, stdout, stderr io.Writer) error {
	t, err := r.lookup(ctx, "logs", taskID)
	if err != nil {
		return err
	}
	var streams []*stream
	defer func() { closeStreams(streams) }()
	for i, w := range []io.Writer{stdout, stderr} {
		if w == nil {
			continue
		}
		s, err := t.openStream(i, w, opt.Tail)
		if err != nil {
			return fmt.Errorf("task %s: logs: %w", taskID, err)
		}
		streams = append(streams, s)
	}
	return t.copyLogs(ctx, opt.Follow, followEvery, streams)
}

// copyLogs copies all streams, again and again while following. What a task wrote before its end is there when done is
// closed, so the round after that is the last.
func (t *task) copyLogs(ctx context.Context, follow bool, every time.Duration, streams []*stream) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := !follow; ; {
		last = last || t.ended()
		for _, s := range streams {
			if err := s.copy(); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.done:
		case <-tick.C:
		}
	}
}

// stream is one output file being read.
type stream struct {
	file *os.File
	at   int64
	w    io.Writer
}

func closeStreams(streams []*stream) {
	for _, s := range streams {
		s.file.Close()
	}
}

// openStream opens an output file, if it is still the one the task was given: the task may own its sandbox, and must
// not make the agent read something else for it.
func (t *task) openStream(i int, w io.Writer, tail int) (*stream, error) {
	f, err := t.openOutput(i, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	at, err := tailOffset(f, tail)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &stream{file: f, at: at, w: w}, nil
}

func (t *task) openOutput(i, mode int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(t.rec.Spec.Sandbox, logNames[i]), mode|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if id, err := idOf(f); err != nil || id != t.rec.Logs[i] {
		f.Close()
		return nil, errors.Join(fmt.Errorf("%s is not the file the task was given: it was replaced", f.Name()), err)
	}
	return f, nil
}

func idOf(f *os.File) (fileID, error) {
	info, err := f.Stat()
	if err != nil {
		return fileID{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return fileID{Dev: uint64(st.Dev), Ino: st.Ino}, nil
}

// copy writes what the file has beyond the last copy, skipping what was given back to the disk meanwhile.
func (s *stream) copy() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < s.at {
		s.at = 0
	}
	start, err := firstData(s.file, s.at)
	if err != nil {
		return err
	}
	n, err := io.Copy(s.w, io.NewSectionReader(s.file, start, info.Size()-start))
	s.at = start + n
	return err
}

// firstData is the first offset from at on that holds data, or the end of the file as it was before the search: what is written
// meanwhile is not to be skipped.
func firstData(f *os.File, at int64) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	off, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return info.Size(), nil
	}
	if errors.Is(err, unix.EINVAL) { // a file system without holes
		return at, nil
	}
	return off, err
}

// tailOffset is where the last n lines of what is kept begin; 0 keeps all of it.
func tailOffset(f *os.File, n int) (int64, error) {
	first, err := firstData(f, 0)
	if err != nil || n <= 0 {
		return first, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end, buf := info.Size(), make([]byte, 32<<10)
	for at, seen := end, 0; at > first; {
		size := min(int64(len(buf)), at-first)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] == '\n' && at+i != end-1 {
				if seen++; seen == n {
					return at + i + 1, nil
				}
			}
		}
	}
	return first, nil
}

// trimLogs keeps the output of running tasks bounded until the runtime is closed.
func (r *Runtime) trimLogs() {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.closed:
			return
		case <-tick.C:
			r.trimAll()
		}
	}
}

// trimAll trims every running task's files. A file that cannot be trimmed is left: the task owns it, and the disk limit
// of the node is the next line of defence.
func (r *Runtime) trimAll() {
	for _, t := range r.running() {
		for i := range logNames {
			if f, err := t.openOutput(i, os.O_RDWR); err == nil {
				trim(f, r.opt.LogBytes)
				f.Close()
			}
		}
	}
}

func (r *Runtime) running() (list []*task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tasks {
		if t.status.State == runtime.Running {
			list = append(list, t)
		}
	}
	return list
}

// trim gives the head of a file back to the disk once it holds twice what is kept. The writer goes on appending and no
// byte that is kept moves. Where the file system cannot do that, the file starts again from nothing.
func trim(f *os.File, keep int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	first, err := firstData(f, 0)
	if err != nil || info.Size()-first < 2*keep {
		return err
	}
	cut, err := lineStart(f, info.Size()-keep)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, cut/trimAlign*trimAlign)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.Truncate(0)
	}
	return err
}

// lineStart is the first beginning of a line at or after an offset, or the offset if none is near.
func lineStart(f *os.File, at int64) (int64, error) {
	buf := make([]byte, trimAlign)
	n, err := f.ReadAt(buf, at)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
		return at + int64(i) + 1, nil
	}
	return at, nil
}
