package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// holding says which task runs in a container of a door. It is on disk before the container is started, because neither the
// name nor the labels of a container that exists can say it.
type holding struct {
	Task      string `json:"task"`
	Container string `json:"container"`        // the door's id
	Engine    string `json:"engine"`           // the engine's id
	Before    string `json:"before,omitempty"` // when the container had been started last, as the engine writes it
	Role      string `json:"role"`
	Funded    string `json:"funded"`
	CPU       int64  `json:"cpu"`
}

// loadHoldings reads the holdings of an earlier life. A file that cannot be read is an error: its task would be unknown.
func loadHoldings(dir string) (map[string]holding, error) {
	held := map[string]holding{}
	if dir == "" {
		return held, nil
	}
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("docker runtime: %w", err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		var h holding
		if err == nil {
			err = json.Unmarshal(data, &h)
		}
		if err != nil {
			return nil, fmt.Errorf("docker runtime: %s: %w; remove it if no container of a door should run here", filepath.Join(dir, f.Name()), err)
		}
		held[h.Task] = h
	}
	return held, nil
}

func (r *Runtime) holding(taskID string) (holding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.held[taskID]
	return h, ok
}

// holdingOf finds the newest holding by the door's id of the container.
func (r *Runtime) holdingOf(id string) (found holding, ok bool) {
	if id == "" {
		return holding{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.held {
		if h.Container == id && (!ok || h.Before > found.Before) {
			found, ok = h, true
		}
	}
	return found, ok
}

// taskIn is the task in a container, empty when there is none.
func (r *Runtime) taskIn(id, engine string) string {
	if h, ok := r.holdingOf(id); ok && h.Engine == engine {
		return h.Task
	}
	return ""
}

// over reports whether the task in a container has ended. A container that ended before its task was started is not it.
func (r *Runtime) over(taskID string, c container.InspectResponse) bool {
	if !ended(c.State) {
		return false
	}
	h, ok := r.holding(taskID)
	return !ok || h.Before == "" || h.Before != c.State.StartedAt
}

// hold writes a holding down.
func (r *Runtime) hold(h holding) error {
	if r.opt.State == "" {
		return errors.New("this runtime has no directory to keep containers of doors in")
	}
	data, err := json.Marshal(h)
	if err == nil {
		err = os.MkdirAll(r.opt.State, 0o700)
	}
	if err == nil {
		err = writeSynced(r.holdingFile(h.Task), data)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[h.Task] = h
	return nil
}

// release forgets a holding.
func (r *Runtime) release(taskID string) error {
	err := os.Remove(r.holdingFile(taskID))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, taskID)
	return err
}

func (r *Runtime) holdingFile(taskID string) string {
	return filepath.Join(r.opt.State, taskID+".json")
}

// writeSynced puts a file in place as a whole, on the disk.
func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
