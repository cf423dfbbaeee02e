package agent

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// usage is the last sample of what the tasks consume. Heartbeats never wait for a runtime.
type usage struct {
	mu     sync.Mutex // guards all below
	busy   bool
	sample map[string]*polderv1.TaskUsage
}

func (u *usage) last() map[string]*polderv1.TaskUsage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sample
}

func (u *usage) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.busy
	u.busy = true
	return !was
}

func (u *usage) end(sample map[string]*polderv1.TaskUsage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.busy, u.sample = false, sample
}

// measureUsage samples all live tasks, unless the sample before is still under way.
func (a *Agent) measureUsage(ctx context.Context, limit time.Duration) {
	if !a.usage.begin() {
		return
	}
	sample := map[string]*polderv1.TaskUsage{}
	defer func() { a.usage.end(sample) }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer a.meters.forget(sample)
	for _, t := range a.all() {
		if !t.view.Load().live {
			continue
		}
		if u, err := t.runtime.Usage(ctx, t.id); err == nil {
			a.meters.consumed(t.id, t.role(), u.CPUSeconds)
			sample[t.id] = &polderv1.TaskUsage{CpuSeconds: u.CPUSeconds, MemoryBytes: u.MemoryBytes, At: timestamppb.New(u.At)}
		}
	}
}
