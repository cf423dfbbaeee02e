package agent

import (
	"context"
	"slices"
	"time"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

const (
	pingRuntimes = 5 * time.Second // between two looks at the engines
	pingLimit    = 3 * time.Second // for an engine to answer
)

// watchRuntimes tells the server which runtimes do not answer, whenever that changes, until ctx is done.
func (a *Agent) watchRuntimes(ctx context.Context) {
	for {
		if away := a.findAway(ctx); ctx.Err() == nil && a.noteAway(away) {
			a.outbox.reply(&polderv1.AgentMessage{Body: &polderv1.AgentMessage_Runtimes{Runtimes: &polderv1.RuntimesAway{Away: away}}})
		}
		if pause(ctx, pingRuntimes) != nil {
			return
		}
	}
}

// findAway asks every engine.
func (a *Agent) findAway(ctx context.Context) (away []string) {
	for _, r := range a.c.Runtimes {
		p, ok := r.(runtime.Pinger)
		if !ok {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, pingLimit)
		err := p.Ping(limited)
		cancel()
		if err != nil {
			away = append(away, r.Name())
		}
		if ctx.Err() == nil && (err != nil) != slices.Contains(a.awayNow(), r.Name()) {
			a.c.Logger.Warn("a runtime went away or came back", "runtime", r.Name(), "error", err)
		}
	}
	return away
}

// noteAway keeps the answer for the next Hello and reports whether it is news.
func (a *Agent) noteAway(away []string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	news := !slices.Equal(a.away, away)
	a.away = away
	return news
}

func (a *Agent) awayNow() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.away
}
