package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"polder.dev/polder/agent/runtime"
)

// Names in the directory of one volume.
const (
	recordFile  = "record.json"
	dataDir     = "data"
	deletingDir = "deleting" // what data is called while it is deleted
)

// unfinished starts the name of a directory that is to become a volume's.
const unfinished = ".new-"

// record is a volume as it is on disk.
type record struct {
	Spec    runtime.Spec  `json:"spec"` // as launched
	Created time.Time     `json:"created"`
	Exit    *runtime.Exit `json:"exit,omitempty"` // once it is deleted
}

func (r record) status() runtime.Status {
	s := runtime.Status{TaskID: r.Spec.TaskID, Role: r.Spec.Role, Node: r.Spec.Node, Funded: r.Spec.FundedOrBorrowed(), Labels: r.Spec.Labels,
		State: runtime.Running, StartedAt: r.Created, Exit: r.Exit, Isolation: "none"}
	if r.Exit != nil {
		s.State = runtime.Exited
	}
	return s
}

// write replaces the record in a volume's directory.
func (r record) write(dir string) error {
	return runtime.WriteRecord(filepath.Join(dir, recordFile), r)
}

// read reads the record of a volume's directory.
func read(dir string) (record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return record{}, err
	}
	r, err := decodeRecord(data)
	if err == nil && r.Spec.TaskID != filepath.Base(dir) {
		err = fmt.Errorf("it is of task %q", r.Spec.TaskID)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w; correct it, or move the directory away to give the volume up", filepath.Join(dir, recordFile), err)
	}
	return r, err
}

func decodeRecord(data []byte) (record, error) {
	var r record
	if err := runtime.DecodeRecord(data, &r); err != nil {
		return r, err
	}
	return r, check(r.Spec)
}

// check refuses what is no volume.
func check(s runtime.Spec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if s.Volume == "" {
		return &runtime.Error{Kind: runtime.ErrInvalid, Op: "spec", Task: s.TaskID, Cause: errors.New("it names no volume")}
	}
	return nil
}
