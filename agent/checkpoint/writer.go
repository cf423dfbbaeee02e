package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// nextSuffix names the file that will replace the journal.
const nextSuffix = ".new"

func (j *Journal) run() {
	defer close(j.done)
	for {
		select {
		case r := <-j.queue:
			j.write(append([]request{r}, j.waiting()...))
		case <-j.stop:
			j.write(j.waiting())
			return
		}
	}
}

// waiting takes what is queued now.
func (j *Journal) waiting() []request {
	var out []request
	for {
		select {
		case r := <-j.queue:
			out = append(out, r)
		default:
			return out
		}
	}
}

// write makes a group of batches durable with one sync and answers each. When the group does not fit, its batches are
// tried one by one, so that a small one still gets in.
func (j *Journal) write(group []request) {
	group = j.refuseOversized(group)
	if len(group) == 0 {
		return
	}
	err := j.append(group)
	if err != nil && len(group) > 1 {
		for _, r := range group {
			r.reply <- j.append([]request{r})
		}
	} else {
		for _, r := range group {
			r.reply <- err
		}
	}
	if j.size > max(rewriteFloor, 2*j.live) && !j.broken {
		// A failed rewrite costs nothing but space: the old file stays in use.
		_ = j.rewrite()
	}
}

func (j *Journal) refuseOversized(group []request) []request {
	kept := group[:0:0]
	for _, r := range group {
		if n := len(encodeBatch(r.batch)); n > maxRecord {
			r.reply <- fmt.Errorf("checkpoint: record of %d bytes is over the limit of %d", n, maxRecord)
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// append writes the group after the last good record and applies it. On an error the file is as before, or marked broken.
func (j *Journal) append(group []request) error {
	if j.broken {
		if err := j.rewrite(); err != nil {
			return fmt.Errorf("checkpoint: replacing journal %s after a failed write: %w", j.path, err)
		}
	}
	var buf []byte
	for _, r := range group {
		buf = appendRecord(buf, j.size+int64(len(buf)), encodeBatch(r.batch))
	}
	if _, err := j.file.WriteAt(buf, j.size); err != nil {
		// What was written in part must not come to life after a restart.
		j.broken = j.file.Truncate(j.size) != nil
		return fmt.Errorf("checkpoint: writing journal %s: %w", j.path, err)
	}
	if err := j.file.Sync(); err != nil {
		// After a failed sync nobody knows what is on disk; a fresh file is the only way to know again.
		_ = j.file.Truncate(j.size)
		j.broken = true
		return fmt.Errorf("checkpoint: syncing journal %s: %w", j.path, err)
	}
	j.size += int64(len(buf))
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range group {
		for _, o := range r.batch.ops {
			set(j.state, o)
		}
	}
	return nil
}

// rewrite puts the present state into a new file and makes that the journal. On an error the journal is as usable, or
// as broken, as before.
func (j *Journal) rewrite() error {
	content := snapshot(j.state)
	f, err := j.writeNext(content)
	if err != nil {
		return err
	}
	if err := os.Rename(j.path+nextSuffix, j.path); err != nil {
		f.Close()
		return err
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	j.file, j.size, j.live = f, int64(len(content)), int64(len(content))
	// Until the rename is durable the old file may come back; nothing may be acknowledged on the new one alone.
	err = syncDir(filepath.Dir(j.path))
	j.broken = err != nil
	return err
}

// writeNext makes a synced file with the content beside the journal.
func (j *Journal) writeNext(content []byte) (File, error) {
	name := j.path + nextSuffix
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := j.create(name)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(content, 0); err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		_ = os.Remove(name)
		return nil, err
	}
	return f, nil
}
