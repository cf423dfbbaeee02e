package agent

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// maxEvents wait for the server at most; beyond, the oldest are dropped and counted.
const maxEvents = 256

// outbox is what the server has not been told yet. Tasks are kept by id and read when they are sent, so their reports
// are never dropped and never pile up: the server gets the newest. Events are in order and bounded.
type outbox struct {
	wake chan struct{}

	mu      sync.Mutex // guards all below
	tasks   map[string]bool
	replies []*polderv1.AgentMessage // about tasks this agent does not have
	events  []*polderv1.AgentEvent
	dropped int
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), tasks: map[string]bool{}}
}

// task marks a task as changed.
func (o *outbox) task(id string) {
	o.mu.Lock()
	o.tasks[id] = true
	o.mu.Unlock()
	o.ring()
}

// event queues something worth telling.
func (o *outbox) event(e *polderv1.AgentEvent) {
	o.mu.Lock()
	if len(o.events) == maxEvents {
		o.events = slices.Delete(o.events, 0, 1)
		o.dropped++
	}
	o.events = append(o.events, e)
	o.mu.Unlock()
	o.ring()
}

// reply queues an answer to a command of this session; it is dropped with the session, after which the server asks again.
func (o *outbox) reply(m *polderv1.AgentMessage) {
	o.mu.Lock()
	if len(o.replies) < maxEvents {
		o.replies = append(o.replies, m)
	}
	o.mu.Unlock()
	o.ring()
}

func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// reset forgets what a Hello that is built after it will carry.
func (o *outbox) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.tasks)
	o.replies = nil
}

// take removes and returns what waits: changed tasks sorted by id, then other messages in order.
func (o *outbox) take() (tasks []string, messages []*polderv1.AgentMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tasks = slices.Sorted(maps.Keys(o.tasks))
	clear(o.tasks)
	messages = o.replies
	if o.dropped > 0 {
		o.events = append(o.events, &polderv1.AgentEvent{
			Kind: "EventsDropped", Message: fmt.Sprintf("%d events were dropped while the server was away", o.dropped),
		})
	}
	for _, e := range o.events {
		messages = append(messages, &polderv1.AgentMessage{Body: &polderv1.AgentMessage_Event{Event: e}})
	}
	o.replies, o.events, o.dropped = nil, nil, 0
	return tasks, messages
}
