package cli

import (
	"context"
	"strings"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// unique returns the one id that starts with prefix. An exact match wins over longer ids.
func unique(what, prefix, listing string, ids []string) (string, error) {
	var found []string
	for _, id := range ids {
		if id == prefix {
			return id, nil
		}
		if prefix != "" && strings.HasPrefix(id, prefix) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		next := "\"" + listing + "\" shows what there is."
		if strings.HasSuffix(listing, "--all") {
			next = "\"" + listing + "\" shows what there is; of those that have ended only the newest since the server's start."
		}
		return "", fail(exitNotFound, next, "no %s %q", what, prefix)
	case 1:
		return found[0], nil
	}
	more := ""
	if len(found) > 5 {
		found, more = found[:5], ", ..."
	}
	return "", fail(exitUsage, "Write more of the id.", "%s %q is not unique: %s", what, prefix, strings.Join(found, ", ")+more)
}

// taskID completes a shortened task id. The usual case, a whole id, costs one call.
func (c *client) taskID(ctx context.Context, id string) (string, error) {
	_, err := do(ctx, c.task.Get, &polderv1.TaskServiceGetRequest{Id: id})
	if err == nil || !notFound(err) {
		return id, err
	}
	tasks, err := c.tasks(ctx, &polderv1.TaskServiceListRequest{All: true})
	if err != nil {
		return "", err
	}
	return unique("task", id, "polder ps --all", names(tasks, (*polderv1.Task).GetId))
}

// taskIDs completes several.
func (c *client) taskIDs(ctx context.Context, ids []string) ([]string, error) {
	out := make([]string, len(ids))
	for i, id := range ids {
		var err error
		if out[i], err = c.taskID(ctx, id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// askID completes a shortened ask id.
func (c *client) askID(ctx context.Context, id string) (string, error) {
	_, err := do(ctx, c.ask.Get, &polderv1.AskServiceGetRequest{Id: id})
	if err == nil || !notFound(err) {
		return id, err
	}
	asks, err := c.asks(ctx, &polderv1.AskServiceListRequest{})
	if err != nil {
		return "", err
	}
	return unique("ask", id, "polder ask list", names(asks, (*polderv1.Ask).GetId))
}

func names[T any](items []T, name func(T) string) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = name(it)
	}
	return out
}
