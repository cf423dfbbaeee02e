package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// WriteRecord replaces a file by v as JSON so that a crash leaves the old one or the new one, and a power cut afterwards the new one. Until
// then the new one has a name beside it that starts with ".new-".
func WriteRecord(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(f.Name(), path), SyncDir(dir))
}

// SyncDir makes sure that what was renamed in a directory is so after a power cut, too.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// DecodeRecord reads what [WriteRecord] wrote. It is strict: a record that says more than v has room for was written by a newer agent.
func DecodeRecord(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
