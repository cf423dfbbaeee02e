package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Outcome is how an audited call went.
type Outcome string

// The outcomes. Allowed is written before the effect; if the effect then fails, Failed follows under the same request id.
const (
	Allowed Outcome = "allowed"
	Denied  Outcome = "denied"
	Failed  Outcome = "failed"
)

// Entry is one line of the audit trail.
type Entry struct {
	Time    time.Time `json:"time"`
	Who     string    `json:"who"` // [Identity.String]; "anonymous" when authentication failed
	Verb    Verb      `json:"verb"`
	Object  string    `json:"object"` // what was changed, e.g. "task/7f3a"
	Role    string    `json:"role"`   // "" is the root
	Outcome Outcome   `json:"outcome"`
	Reason  string    `json:"reason,omitempty"` // why denied or failed
	Request string    `json:"request"`          // request id
	Remote  string    `json:"remote"`           // address of the caller
}

// Auditor keeps the audit trail. A caller that gets an error must refuse the change: what is not written does not happen.
type Auditor interface {
	Record(ctx context.Context, e Entry) error
}

// AuditOptions bound an audit file. The zero value means 64 MiB, eight old files, no sync.
type AuditOptions struct {
	MaxBytes int64 // a file never grows beyond this; the next line starts a new one
	Keep     int   // old files kept: path.1 is the newest
	Sync     bool  // fsync every line: survives a power cut, costs a disk write per change. Without, it survives our own death
}

// AuditFile is an [Auditor] that appends JSON lines to a file of mode 0600.
type AuditFile struct {
	path string
	opts AuditOptions
	mu   sync.Mutex // guards file and size, and is held while writing: lines must not mix
	file *os.File
	size int64
}

// OpenAudit opens or creates the file. A last line torn by a crash is ended, not removed.
func OpenAudit(path string, opts AuditOptions) (*AuditFile, error) {
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = 64 << 20
	}
	if opts.Keep <= 0 {
		opts.Keep = 8
	}
	file, size, err := openLines(path)
	if err != nil {
		return nil, fmt.Errorf("audit file: %w", err)
	}
	return &AuditFile{path: path, opts: opts, file: file, size: size}, nil
}

func openLines(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err := endLastLine(f)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// endLastLine returns the size of the file after making sure that it ends with a line.
func endLastLine(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil || last[0] == '\n' {
		return info.Size(), err
	}
	_, err = f.Write([]byte("\n"))
	return info.Size() + 1, err
}

// Record appends one line. On an error (disk full, file closed) nothing of the line is left behind and the change it
// stands for must not happen.
func (a *AuditFile) Record(_ context.Context, e Entry) error {
	e.Time = e.Time.UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("audit entry: %w", err)
	}
	line = append(line, '\n')
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.append(line); err != nil {
		return fmt.Errorf("audit file %s: %w; changes are refused until it can be written: free space or move old files away", a.path, err)
	}
	return nil
}

func (a *AuditFile) append(line []byte) error {
	if a.file == nil {
		return fs.ErrClosed
	}
	if a.size > 0 && a.size+int64(len(line)) > a.opts.MaxBytes {
		if err := a.rotate(); err != nil {
			return err
		}
	}
	if _, err := a.file.Write(line); err != nil {
		return errors.Join(err, a.file.Truncate(a.size))
	}
	a.size += int64(len(line))
	if a.opts.Sync {
		return a.file.Sync()
	}
	return nil
}

// rotate starts a new file and renames path to path.1, path.1 to path.2 and so on, dropping the oldest. The new file is
// made first: if it cannot be, nothing is dropped, however often that is tried.
func (a *AuditFile) rotate() error {
	if err := a.file.Sync(); err != nil {
		return err
	}
	fresh, size, err := openLines(a.path + ".new")
	if err != nil {
		return err
	}
	for i := a.opts.Keep; i > 0; i-- {
		err := os.Rename(a.numbered(i-1), a.numbered(i))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fresh.Close())
		}
	}
	if err := os.Rename(a.path+".new", a.path); err != nil {
		return errors.Join(err, fresh.Close())
	}
	old := a.file
	a.file, a.size = fresh, size
	return old.Close()
}

func (a *AuditFile) numbered(i int) string {
	if i == 0 {
		return a.path
	}
	return fmt.Sprintf("%s.%d", a.path, i)
}

// Close syncs and closes the file; later records fail.
func (a *AuditFile) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := errors.Join(a.file.Sync(), a.file.Close())
	a.file = nil
	return err
}
