package docker

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

// waitConditions are what an engine can wait for.
var waitConditions = []string{"", "not-running", "next-exit", "removed"}

// wait answers when a container has ended. The head is sent at once: clients wait first and start then. A container that is made
// anew on another node meanwhile is waited for there.
func (d *Door) wait(q *request) error {
	p, err := d.lookup(q.Context(), q.PathValue("id"))
	if err != nil {
		return err
	}
	condition := q.URL.Query().Get("condition")
	if !slices.Contains(waitConditions, condition) {
		return fail(http.StatusBadRequest, "invalid condition: %q", clip(condition))
	}
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(q.w).Flush() // the client is gone if this fails
	out, err := d.ended(q.Context(), p, condition)
	if err != nil {
		out = thing{"StatusCode": -1, "Error": thing{"Message": failureOf(err).message}}
	}
	return ignoreGone(json.NewEncoder(q.w).Encode(out))
}

// ended waits for the end of a container, wherever it is.
func (d *Door) ended(ctx context.Context, p place, condition string) (thing, error) {
	for {
		var out thing
		there, leave := context.WithCancel(ctx)
		stop := d.onMove(p.id, leave)
		err := d.ask(there, p.node, errand{p.role, "view", ""}, http.MethodPost, "/containers/"+p.engine+"/wait", url.Values{"condition": {condition}}, nil, &out)
		stop()
		leave()
		now, moved := d.resettled(ctx, p)
		if !moved {
			return out, err
		}
		p = now
		if condition == "next-exit" {
			condition = "not-running" // it was started since, and may be through
		}
	}
}

// onMove calls leave when a container is made anew elsewhere, unless stop is called before.
func (d *Door) onMove(id string, leave func()) (stop func()) {
	moved, done, ended := d.moved(id), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-moved:
			leave()
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
