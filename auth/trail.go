package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// TrailReader is an [Auditor] whose trail can be read.
type TrailReader interface {
	// Read returns entries that keep wants, the newest first, at most n and as many as one call may look at. Next is where to
	// go on, "" at the end of the trail; a place in what has been dropped since is the end as well.
	Read(ctx context.Context, from string, n int, keep func(Entry) bool) (entries []Entry, next string, err error)
}

const (
	trailChunk = 64 << 10 // read at once
	trailLook  = 8 << 20  // looked at by one call
)

// ErrPlace is returned for a place in a trail that none of its answers named.
var ErrPlace = errors.New("this is not a place in the audit trail")

// place is the end of what was not read yet: a file, known by its inode since it gets new names, and an offset.
type place struct {
	file uint64
	end  int64
}

func (p place) String() string { return fmt.Sprintf("%d:%d", p.file, p.end) }

// Read implements [TrailReader]. Lines written meanwhile are before the place the read began at.
func (a *AuditFile) Read(ctx context.Context, from string, n int, keep func(Entry) bool) (entries []Entry, next string, err error) {
	var at place
	if from != "" {
		if _, err := fmt.Sscanf(from, "%d:%d", &at.file, &at.end); err != nil || at.end < 0 || at.String() != from {
			return nil, "", ErrPlace
		}
	}
	files, err := a.files()
	defer func() {
		for _, f := range files {
			f.file.Close()
		}
	}()
	if err != nil {
		return nil, "", err
	}
	look := int64(trailLook)
	begun := from == ""
	for i, f := range files {
		end := f.size
		if !begun {
			if f.inode != at.file {
				continue
			}
			begun, end = true, min(at.end, f.size)
		}
		b := backward{file: f.file, end: end}
		for {
			line, err := b.line()
			if err != nil {
				return nil, "", err
			}
			if line == nil {
				break
			}
			look -= int64(len(line)) + 1
			var e Entry
			if json.Unmarshal(line, &e) == nil && keep(e) { // a line torn by a crash is none
				entries = append(entries, e)
			}
			if (len(entries) == n || look <= 0) && (b.end > 0 || i < len(files)-1) {
				return entries, place{f.inode, b.end}.String(), nil
			}
			if len(entries) == n || ctx.Err() != nil {
				return entries, "", ctx.Err()
			}
		}
	}
	return entries, "", nil
}

// trailFile is one file of the trail as it was when it was opened.
type trailFile struct {
	file  *os.File
	inode uint64
	size  int64
}

// files opens the trail's files, the newest first. What rotation does afterwards does not change them.
func (a *AuditFile) files() ([]trailFile, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []trailFile
	for i := range a.opts.Keep + 1 {
		f, err := os.Open(a.numbered(i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("audit trail: %w", err)
		}
		info, err := f.Stat()
		if err != nil {
			return out, errors.Join(fmt.Errorf("audit trail: %w", err), f.Close())
		}
		t := trailFile{file: f, size: info.Size()}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			t.inode = s.Ino
		}
		if i == 0 {
			t.size = a.size // whole lines only
		}
		out = append(out, t)
	}
	return out, nil
}

// backward reads a file's lines from the end.
type backward struct {
	file *os.File
	end  int64  // what is before is not returned yet
	held []byte // of the file before end: the beginning of it is at end-len(held)
}

// line is the line before the last one returned; nil at the beginning of the file.
func (b *backward) line() ([]byte, error) {
	for {
		if i := bytes.LastIndexByte(bytes.TrimSuffix(b.held, []byte("\n")), '\n'); i >= 0 {
			line := b.held[i+1:]
			b.end -= int64(len(line))
			b.held = b.held[:i+1]
			return bytes.TrimSuffix(line, []byte("\n")), nil
		}
		start := b.end - int64(len(b.held))
		if start == 0 {
			line := b.held
			b.held, b.end = nil, 0
			if len(line) == 0 {
				return nil, nil
			}
			return bytes.TrimSuffix(line, []byte("\n")), nil
		}
		n := min(start, trailChunk)
		chunk := make([]byte, n, n+int64(len(b.held)))
		if _, err := b.file.ReadAt(chunk, start-n); err != nil {
			return nil, fmt.Errorf("audit trail: %w", err)
		}
		b.held = append(chunk, b.held...)
	}
}
