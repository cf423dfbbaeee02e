package auth

import (
	"fmt"
	"os"
	"path/filepath"
)

// readPrivate reads a file that holds a key, and refuses one that others may read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds a private key and has mode %04o; run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return os.ReadFile(path)
}

// writeNew creates a file of mode 0600, whole or not at all; fs.ErrExist if it is there already.
func writeNew(path string, data []byte) error {
	return viaTemporary(path, data, func(temporary string) error { return os.Link(temporary, path) })
}

// replace writes a file of mode 0600, so that a reader or a crash sees the old or the new one, whole.
func replace(path string, data []byte) error {
	return viaTemporary(path, data, func(temporary string) error { return os.Rename(temporary, path) })
}

func viaTemporary(path string, data []byte, publish func(temporary string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already after a rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := publish(f.Name()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
