package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is what Commit returns after Close.
var ErrClosed = errors.New("checkpoint: journal is closed")

const (
	fileName = "journal"
	lockName = "lock"
	// rewriteFloor keeps small journals from being rewritten all the time.
	rewriteFloor = 256 << 10
	// maxQueue batches wait for one sync; further callers of Commit block until there is room.
	maxQueue = 256
)

// Options change where the journal's bytes go. The zero Options is the disk.
type Options struct {
	// Create makes the new file at path for writing; nil is the operating system's way.
	Create func(path string) (File, error)
}

// Journal is an open checkpoint directory.
type Journal struct {
	path   string
	create func(path string) (File, error)
	lock   *os.File
	queue  chan request
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu    sync.RWMutex // guards state; only the writer changes it
	state map[string][]byte

	// The writer alone uses these.
	file   File
	size   int64 // bytes of whole records
	live   int64 // size after the last rewrite
	broken bool  // the file's end is unknown: rewrite before the next batch
}

type request struct {
	batch Batch
	reply chan error
}

// Recovered is what Open found.
type Recovered struct {
	Damage []Damage
	Torn   int64 // bytes of an unfinished record that were dropped from the end
}

// Open locks dir (created with mode 0700), reads its journal, rewrites it and starts the writer. It fails when another
// process has the directory, when the disk refuses the rewrite, and on a journal of a later format.
func Open(dir string, o Options) (*Journal, Recovered, error) {
	j := &Journal{
		path: filepath.Join(dir, fileName), create: o.Create,
		queue: make(chan request, maxQueue), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if j.create == nil {
		j.create = createFile
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Recovered{}, fmt.Errorf("checkpoint directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, Recovered{}, err
	}
	j.lock = lock
	rec, err := j.load()
	if err != nil {
		lock.Close()
		return nil, rec, err
	}
	go j.run()
	return j, rec, nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("directory %s is used by another running agent; stop it or choose another directory", dir)
		}
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return f, nil
}

// load reads the file, keeps a copy of a damaged one, and starts a fresh file.
func (j *Journal) load() (Recovered, error) {
	data, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Recovered{}, fmt.Errorf("reading journal: %w", err)
	}
	r, err := replay(j.path, data)
	rec := Recovered{r.damage, r.torn}
	if err != nil {
		return rec, err
	}
	j.state = r.state
	if len(r.damage) > 0 {
		if err := j.keepDamaged(data); err != nil {
			return rec, fmt.Errorf("keeping the damaged journal %s: %w", j.path, err)
		}
	}
	if err := j.rewrite(); err != nil {
		return rec, fmt.Errorf("rewriting journal %s: %w; free some space on its disk", j.path, err)
	}
	return rec, nil
}

func (j *Journal) keepDamaged(data []byte) error {
	for n := 1; ; n++ {
		f, err := os.OpenFile(fmt.Sprintf("%s.damaged-%d", j.path, n), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Sync(), f.Close())
	}
}

// Get returns the value of key; the caller does not change it.
func (j *Journal) Get(key string) ([]byte, bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	v, ok := j.state[key]
	return v, ok
}

// Keys returns all keys, sorted.
func (j *Journal) Keys() []string {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return slices.Sorted(maps.Keys(j.state))
}

// Commit returns nil once the batch is on disk, and an error when it is not and never will be. It waits for the disk
// however long that takes, because giving up would leave the answer unknown.
func (j *Journal) Commit(b Batch) error {
	r := request{b, make(chan error, 1)}
	select {
	case j.queue <- r:
	case <-j.stop:
		return ErrClosed
	}
	select {
	case err := <-r.reply:
		return err
	case <-j.done:
	}
	select { // answered while closing
	case err := <-r.reply:
		return err
	default:
		return ErrClosed
	}
}

// Close writes what is queued, stops the writer and unlocks the directory. Calling it again does nothing.
func (j *Journal) Close() error {
	var err error
	j.once.Do(func() {
		close(j.stop)
		<-j.done
		err = errors.Join(j.file.Close(), j.lock.Close())
	})
	return err
}
