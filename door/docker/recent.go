package docker

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// recent is what was learned a moment ago and need not be asked again yet. All of it may be forgotten at any time.
type recent struct {
	mu     sync.Mutex
	newest string // version that every engine speaks
	until  time.Time
	images map[string]found     // which engines have an image, by name
	there  map[string]time.Time // until when an image counts as seen on an engine, by both
	made   map[string]inspected // containers that this door made and nobody has touched since, by id
}

// found is what came of looking for an image.
type found struct {
	holders []string
	until   time.Time
}

const (
	versionLife = 5 * time.Second  // a node with an older engine may join
	imageLife   = 10 * time.Second // an image may be removed; a create that finds it gone says so
	mostRecent  = 256              // containers and images remembered, each
)

func newRecent() *recent {
	return &recent{images: map[string]found{}, there: map[string]time.Time{}, made: map[string]inspected{}}
}

// version is the newest that all engines speak, asked for at most every few seconds.
func (r *recent) version(ask func() (string, error)) (string, error) {
	r.mu.Lock()
	newest, good := r.newest, time.Now().Before(r.until)
	r.mu.Unlock()
	if good {
		return newest, nil
	}
	newest, err := ask()
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest, r.until = newest, time.Now().Add(versionLife)
	return newest, nil
}

// holders are the engines that have an image, as far as that was seen a moment ago.
func (r *recent) holders(name string, ask func() ([]string, error)) ([]string, error) {
	r.mu.Lock()
	f, ok := r.images[name]
	r.mu.Unlock()
	if ok && time.Now().Before(f.until) {
		return f.holders, nil
	}
	ids, err := ask()
	if err != nil || len(ids) == 0 {
		return ids, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.images) >= mostRecent {
		clear(r.images)
	}
	r.images[name] = found{ids, time.Now().Add(imageLife)}
	return ids, nil
}

// imagesChanged forgets where images are.
func (r *recent) imagesChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.images)
	clear(r.there)
}

// saw notes that an engine has an image.
func (r *recent) saw(engine, image string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.there) >= mostRecent {
		clear(r.there)
	}
	r.there[engine+" "+image] = time.Now().Add(imageLife)
}

// sees reports whether an engine had an image a moment ago.
func (r *recent) sees(engine, image string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return engine != "" && time.Now().Before(r.there[engine+" "+image])
}

// remember notes a container that was just made.
func (r *recent) remember(id string, c inspected) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.made) >= mostRecent {
		clear(r.made)
	}
	r.made[id] = c
}

// take returns a container that nobody has touched since it was made, once.
func (r *recent) take(id string) (c inspected, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok = r.made[id]
	delete(r.made, id)
	return c, ok
}

// caller is who calls, as the pool knows them. It refuses strangers: versions are remembered, callers are not.
func (d *Door) caller(ctx context.Context) (string, error) {
	who, err := d.api.Access.WhoAmI(ctx, connect.NewRequest(&polderv1.WhoAmIRequest{}))
	if err != nil {
		return "", err
	}
	return who.Msg.Kind + ":" + who.Msg.Name, nil
}
