package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/cmd/polder/top"
)

// topRoles is the tree, one resource at a time.
func (a *app) topRoles(c *client) top.Kind {
	v := treeView()
	v.name = func(l *treeLine) string { return rolePath(l.RoleStatus) }
	k := kindOf("roles", v, func(context.Context, top.Scope) ([]*treeLine, string, error) { return nil, "", nil })
	k.Enter = "tasks"
	for i, col := range k.Columns {
		k.Columns[i].Facet = col.Head == "RESOURCE"
	}
	k.Load = func(ctx context.Context, s top.Scope) (top.Table, error) {
		roles, err := c.roles(ctx, "")
		if err != nil {
			return top.Table{}, err
		}
		t := top.Table{Facets: allKinds(roles)}
		for _, l := range drawTree(roles, []string{first(append([]string{s.Facet}, t.Facets...)...)}) {
			row := top.Row{ID: v.name(l), Flat: clean(v.name(l)), Cells: v.row(l, true)}
			t.Rows = append(t.Rows, row)
		}
		return t, nil
	}
	k.Texts = []top.Text{{Key: "d", Name: "describe", Load: func(ctx context.Context, path string) ([]string, error) {
		r, err := do(ctx, c.role.Get, &polderv1.RoleServiceGetRequest{Path: strings.Trim(path, "/")})
		return lines(roleFields(r)), err
	}}}
	return k
}

// allKinds lists the resources of all roles, in order.
func allKinds(roles []*polderv1.RoleStatus) []string {
	all := map[string]string{}
	for _, r := range roles {
		for _, k := range kindsOf(r, nil) {
			all[k] = ""
		}
	}
	return sortedKinds(all)
}

func (a *app) topNodes(c *client) top.Kind {
	k := kindOf("nodes", a.nodeView(), func(ctx context.Context, _ top.Scope) ([]*polderv1.Node, string, error) {
		return some(ctx, "polder node list --help", func(ctx context.Context, token string) (page[*polderv1.Node], error) {
			r, err := do(ctx, c.node.List, &polderv1.NodeServiceListRequest{PageSize: pageSize, PageToken: token})
			return page[*polderv1.Node]{r.GetNodes(), r.GetNextPageToken(), 0}, err
		})
	})
	k.Enter, k.Acts = "tasks", nodeActs(c)
	k.Texts = []top.Text{{Key: "d", Name: "describe", Load: func(ctx context.Context, name string) ([]string, error) {
		n, err := do(ctx, c.node.Get, &polderv1.NodeServiceGetRequest{Name: name})
		return lines(a.nodeFields(n)), err
	}}}
	return k
}

func (a *app) topTasks(c *client) top.Kind {
	k := kindOf("tasks", a.taskView(), func(ctx context.Context, s top.Scope) ([]*polderv1.Task, string, error) {
		filter := &polderv1.TaskServiceListRequest{PageSize: pageSize}
		switch s.Kind {
		case "roles":
			filter.Role = strings.Trim(s.ID, "/")
		case "nodes":
			filter.Node = s.ID
		case "queue":
			filter.Ask = s.ID
		}
		return some(ctx, "enter a role or a node", func(ctx context.Context, token string) (page[*polderv1.Task], error) {
			filter.PageToken = token
			r, err := do(ctx, c.task.List, filter)
			return page[*polderv1.Task]{r.GetTasks(), r.GetNextPageToken(), 0}, err
		})
	})
	k.Texts, k.Acts = a.taskTexts(c), taskActs(c)
	return k
}

// topNotices are named by their tasks: one task has one notice at a time.
func (a *app) topNotices(c *client) top.Kind {
	v := a.noticeView()
	v.name = (*polderv1.Notice).GetTask
	k := kindOf("notices", v, func(ctx context.Context, _ top.Scope) ([]*polderv1.Notice, string, error) {
		return some(ctx, "polder notice list --help", func(ctx context.Context, token string) (page[*polderv1.Notice], error) {
			r, err := do(ctx, c.notice.List, &polderv1.NoticeServiceListRequest{PageSize: pageSize, PageToken: token})
			return page[*polderv1.Notice]{r.GetNotices(), r.GetNextPageToken(), 0}, err
		})
	})
	k.Texts = a.taskTexts(c)
	return k
}

// topQueue are the asks of which something waits.
func (a *app) topQueue(c *client) top.Kind {
	k := kindOf("queue", a.askView(), func(ctx context.Context, _ top.Scope) ([]*polderv1.Ask, string, error) {
		asks, more, err := some(ctx, "polder ask list --help", func(ctx context.Context, token string) (page[*polderv1.Ask], error) {
			r, err := do(ctx, c.ask.List, &polderv1.AskServiceListRequest{State: "open", PageSize: pageSize, PageToken: token})
			return page[*polderv1.Ask]{r.GetAsks(), r.GetNextPageToken(), 0}, err
		})
		return slices.DeleteFunc(asks, func(k *polderv1.Ask) bool { return k.GetPending() == 0 }), more, err
	})
	for i, col := range k.Columns {
		k.Columns[i].Wide = col.Wide || slices.Contains([]string{"STATE", "DONE", "FAILED"}, col.Head) // of what waits seldom news
	}
	k.Texts = []top.Text{
		{Key: "d", Name: "why", Load: func(ctx context.Context, id string) ([]string, error) {
			r, err := do(ctx, c.ask.Get, &polderv1.AskServiceGetRequest{Id: id})
			if err != nil {
				return nil, err
			}
			return a.withWhy(ctx, c, id, lines(askFields(r)))
		}},
	}
	return k
}

func (a *app) topEvents(c *client) top.Kind {
	k := kindOf("events", topEventView(), func(ctx context.Context, _ top.Scope) ([]*polderv1.Event, string, error) {
		events, _, err := c.events(ctx, eventOptions{})
		slices.Reverse(events) // what happened last is what one looks for
		if len(events) > topRows {
			return events[:topRows], "there are more: polder event", err
		}
		return events, "", err
	})
	return k
}

// topEventView leaves room for the sentence, which names its subject.
func topEventView() view[*polderv1.Event] {
	type e = *polderv1.Event
	return view[e]{eventView().name, []column[e]{
		{head: "TIME", cell: func(e e) string { return e.GetTime().AsTime().Local().Format(time.TimeOnly) }},
		{head: "KIND", cell: (*polderv1.Event).GetKind},
		{head: "ROLE", wide: true, cell: (*polderv1.Event).GetRole},
		{head: "NODE", wide: true, cell: (*polderv1.Event).GetNode},
		{head: "WHAT", cell: (*polderv1.Event).GetMessage},
	}}
}

// taskTexts are what may be read about a task: everything known, with why it is where it is, and what it wrote.
func (a *app) taskTexts(c *client) []top.Text {
	return []top.Text{
		{Key: "d", Name: "why", Load: func(ctx context.Context, id string) ([]string, error) {
			r, err := do(ctx, c.task.Get, &polderv1.TaskServiceGetRequest{Id: id})
			if err != nil {
				return nil, err
			}
			return a.withWhy(ctx, c, id, lines(a.taskFields(r.GetTask(), r.GetSpec())))
		}},
		{Key: "l", Name: "logs", Tail: true, Load: func(ctx context.Context, id string) ([]string, error) { return logTail(ctx, c, id) }},
	}
}

// withWhy puts the explanation and what happened last below what is known.
func (a *app) withWhy(ctx context.Context, c *client, id string, out []string) ([]string, error) {
	r, err := do(ctx, c.ask.Explain, &polderv1.ExplainRequest{Id: id})
	if err != nil {
		return nil, err
	}
	out = append(out, "", "Why: "+clean(sentence(r.GetReason().GetMessage())))
	if at := r.GetReason().GetExpected(); at != nil {
		out = append(out, "  expected "+a.until(at)+", "+stamp(at))
	}
	for _, d := range r.GetDetails() {
		out = append(out, "  - "+clean(d))
	}
	events, _, err := c.events(ctx, eventOptions{subject: id})
	if err != nil || len(events) == 0 {
		return out, err
	}
	out = append(out, "", "What happened:")
	for _, e := range events[max(0, len(events)-20):] {
		out = append(out, "  "+stamp(e.GetTime())+"  "+clean(e.GetMessage()))
	}
	return out, nil
}

// logTail is the end of what a task wrote.
func logTail(ctx context.Context, c *client, id string) ([]string, error) {
	stream, err := c.task.Logs(ctx, request(&polderv1.LogsRequest{Task: id, Tail: 500}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var text strings.Builder
	for stream.Receive() && text.Len() < 1<<20 {
		text.Write(stream.Msg().GetData())
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	out := strings.Split(strings.TrimRight(strings.ReplaceAll(text.String(), "\t", "    "), "\n"), "\n")
	for i, l := range out {
		out[i] = clean(l)
	}
	return out, nil
}
