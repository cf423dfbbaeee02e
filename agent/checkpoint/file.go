package checkpoint

import (
	"os"

	"golang.org/x/sys/unix"
)

// File is what the journal needs of its open file. Tests put a failing disk here.
type File interface {
	WriteAt(p []byte, offset int64) (int, error)
	Truncate(size int64) error
	// Sync makes content and size durable.
	Sync() error
	Close() error
}

// createFile is the usual way to make the journal's next file: it must not exist yet.
func createFile(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

// diskFile syncs with fdatasync: a journal has no use for a durable access time.
type diskFile struct{ *os.File }

func (f diskFile) Sync() error { return unix.Fdatasync(int(f.Fd())) }

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
