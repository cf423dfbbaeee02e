package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
)

// gpus says which task has which of the machine's GPUs: the pool leases them by number. Whole ones a task has alone; a part of one may
// be beside other parts.
type gpus struct {
	all []string // as the engine and the driver call them

	mu   sync.Mutex // guards what follows
	held map[string]gpuShare
	last map[string][]string // by the container of a door: engines cannot give it others later
}

// gpuShare is what one task has: each of ids, of the last one perhaps a part.
type gpuShare struct {
	ids    []string
	amount resource.Amount
}

// of is how much of a GPU the share is.
func (s gpuShare) of(id string) resource.Amount {
	part := s.amount % resource.Milli
	switch at := slices.Index(s.ids, id); {
	case at < 0:
		return 0
	case at == len(s.ids)-1 && part > 0:
		return part
	}
	return resource.Milli
}

// newGPUs names a machine's GPUs: as told, else by their numbers up to what it offers.
func newGPUs(named []string, offered resource.Amount) *gpus {
	g := &gpus{all: named, held: map[string]gpuShare{}, last: map[string][]string{}}
	for i := 0; len(named) == 0 && resource.Amount(i)*resource.Milli < offered; i++ {
		g.all = append(g.all, strconv.Itoa(i))
	}
	return g
}

// gpuAmount is how much of GPUs a lease has.
func gpuAmount(a *polderv1.Assignment) (resource.Amount, error) {
	for name, text := range a.Resources {
		if _, kind := resource.SplitName(name); kind == "gpu" {
			return resource.ParseValue(name, text)
		}
	}
	return 0, nil
}

// take finds GPUs for a task, those its container had last before others.
func (g *gpus) take(a *polderv1.Assignment) ([]string, error) {
	amount, err := gpuAmount(a)
	if err != nil || amount == 0 {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	container := a.GetSpec().GetContainer().GetId()
	order := slices.Clone(g.last[container])
	for _, id := range g.all {
		if !slices.Contains(order, id) {
			order = append(order, id)
		}
	}
	s := gpuShare{amount: amount}
	for _, id := range order {
		if len(s.ids) < int(amount/resource.Milli) && g.free(id) == resource.Milli {
			s.ids = append(s.ids, id)
		}
	}
	whole := len(s.ids) == int(amount/resource.Milli)
	if part := amount % resource.Milli; part > 0 && whole {
		if id := g.tightest(order, s.ids, part); id != "" {
			s.ids = append(s.ids, id)
		}
		whole = len(s.ids) > int(amount/resource.Milli)
	}
	if !whole {
		return nil, fmt.Errorf("it leases gpu=%s, and of this machine's GPUs %s no such part is free: %s", resource.FormatValue("gpu", amount), strings.Join(g.all, ", "), g.holders())
	}
	g.keep(a, s)
	return s.ids, nil
}

// free is how much of a GPU nobody has. The caller holds the lock.
func (g *gpus) free(id string) resource.Amount {
	left := resource.Milli
	for _, s := range g.held {
		left -= s.of(id)
	}
	return left
}

// tightest is the GPU, other than some, where a part leaves least; empty when there is none. The caller holds the lock.
func (g *gpus) tightest(order, not []string, part resource.Amount) (best string) {
	least := resource.Milli + 1
	for _, id := range order {
		if left := g.free(id); left >= part && left < least && !slices.Contains(not, id) {
			best, least = id, left
		}
	}
	return best
}

// holders says who has what. The caller holds the lock.
func (g *gpus) holders() string {
	var out []string
	for task, s := range g.held {
		out = append(out, fmt.Sprintf("task %s has %s", task, strings.Join(s.ids, ", ")))
	}
	if slices.Sort(out); len(out) == 0 {
		return "nobody has any"
	}
	return strings.Join(out, "; ")
}

// mostRemembered bounds how many containers' GPUs are remembered.
const mostRemembered = 4096

// keep notes what a task has. The caller holds the lock.
func (g *gpus) keep(a *polderv1.Assignment, s gpuShare) {
	g.held[a.Task] = s
	if id := a.GetSpec().GetContainer().GetId(); id != "" {
		if len(g.last) >= mostRemembered {
			clear(g.last)
		}
		g.last[id] = s.ids
	}
}

// restore notes what a task of an earlier life has.
func (g *gpus) restore(a *polderv1.Assignment, ids []string) {
	amount, err := gpuAmount(a)
	if err != nil || len(ids) == 0 {
		return // it started nothing
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keep(a, gpuShare{ids, amount})
}

// release takes them back when a task has ended.
func (g *gpus) release(task string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.held, task)
}
