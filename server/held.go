package server

import (
	"strings"
	"sync"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// held keeps back what agents are told about the tasks of an ask until the ask is durable. Were it not kept back, a leader
// that dies between the launch and the write would leave tasks of an ask that nobody was promised: their owner asks again,
// and the work runs twice. It is the one launch that waits for the store's disk: the first of a new ask.
//
// It is safe for concurrent use: the writer holds, the persister releases.
type held struct {
	mu   sync.Mutex
	asks map[string][]heldMessage
}

// heldMessage is for the session there was when it was held. When that has ended, its agent registers again and is told then.
type heldMessage struct {
	to *session
	m  *polderv1.ServerMessage
}

func newHeld() *held { return &held{asks: map[string][]heldMessage{}} }

// open begins to hold back what is about an ask.
func (h *held) open(ask string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asks[ask] = nil
}

// send sends a message about a task, now or when its ask is released, in the order of the calls.
func (h *held) send(to *session, task string, m *polderv1.ServerMessage) {
	ask, _, _ := strings.Cut(task, ".")
	h.mu.Lock()
	defer h.mu.Unlock()
	if waiting, ok := h.asks[ask]; ok {
		h.asks[ask] = append(waiting, heldMessage{to, m})
		return
	}
	to.send(m)
}

// release sends what was held back about an ask.
func (h *held) release(ask string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.asks[ask] {
		w.to.send(w.m)
	}
	delete(h.asks, ask)
}
