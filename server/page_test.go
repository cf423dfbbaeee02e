package server

import (
	"fmt"
	"slices"
	"testing"

	"connectrpc.com/connect"
	"pgregory.net/rapid"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/server/table"
)

// TestPages: pages of any size, put together, are what the filter keeps, in order, each once.
func TestPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows table.Map[string, int]
		var want []string
		for i := range rapid.IntRange(0, 300).Draw(t, "rows") {
			key := fmt.Sprintf("k%04d", i)
			rows.Set(key, i)
			if i%3 != 0 {
				want = append(want, key)
			}
		}
		req := &polderv1.TaskServiceListRequest{PageSize: int32(rapid.IntRange(0, 50).Draw(t, "size"))}
		var got []string
		for {
			out, next, err := pageOf(req, rows.After, func(i int) bool { return i%3 != 0 }, func(i int) string { return fmt.Sprintf("k%04d", i) })
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, out...)
			if req.PageToken = next; next == "" {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("pages give %v, want %v", got, want)
		}
	})
}

func TestBadPages(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	refusal(t, connect.CodeInvalidArgument, c.task.List, &polderv1.TaskServiceListRequest{PageSize: 1001})
	refusal(t, connect.CodeInvalidArgument, c.task.List, &polderv1.TaskServiceListRequest{PageSize: -1})
	refusal(t, connect.CodeInvalidArgument, c.ask.List, &polderv1.AskServiceListRequest{PageToken: "x!"})
	refusal(t, connect.CodeInvalidArgument, c.event.List, &polderv1.EventServiceListRequest{PageToken: "eHg"})
}

// TestNewestEvents: so many of the newest come, page by page, and all where there are fewer.
func TestNewestEvents(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	for i := range 5 {
		call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: fmt.Sprintf("roles: {default: {weight: %d}}", i+1), BaseRevision: int64(i) + 1})
	}
	w.until("every plan's event", func(p *picture) bool { return p.events.Len() >= 5 })
	read := func(newest int32) (out []int64) {
		req := &polderv1.EventServiceListRequest{Newest: newest, PageSize: 2}
		for {
			r := call(t, c.event.List, req)
			for _, e := range r.Events {
				out = append(out, e.Revision)
			}
			if req.PageToken = r.NextPageToken; req.PageToken == "" {
				return out
			}
		}
	}
	all := read(0)
	if got := read(3); len(all) < 5 || !slices.Equal(got, all[len(all)-3:]) {
		t.Errorf("the newest 3 of %v are %v", all, got)
	}
	if got := read(1000); !slices.Equal(got, all) {
		t.Errorf("the newest 1000 of %v are %v", all, got)
	}
	refusal(t, connect.CodeInvalidArgument, c.event.List, &polderv1.EventServiceListRequest{Newest: -1})
}

func TestPlanHistoryPages(t *testing.T) {
	w := newWorld(t, nil)
	c := w.as(w.admin)
	for i := range int64(5) {
		call(t, c.plan.Apply, &polderv1.ApplyRequest{Plan: fmt.Sprintf("roles: {default: {weight: %d}}", i+1), BaseRevision: i + 1})
	}
	refusal(t, connect.CodeAborted, c.plan.Apply, &polderv1.ApplyRequest{Plan: "roles: {}", BaseRevision: 3})
	var got []int64
	req := &polderv1.HistoryRequest{PageSize: 4}
	for {
		res := call(t, c.plan.History, req)
		for _, r := range res.Revisions {
			got = append(got, r.Revision)
		}
		if req.PageToken = res.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if fmt.Sprint(got) != "[6 5 4 3 2 1]" {
		t.Errorf("history is %v", got)
	}
	if old := call(t, c.plan.Get, &polderv1.PlanServiceGetRequest{Revision: 3}); old.Yaml != "roles:\n  default: {weight: 2}\n" && old.Yaml != "roles:\n  default:\n    weight: 2\n" {
		t.Errorf("revision 3 is %q", old.Yaml)
	}
	refusal(t, connect.CodeNotFound, c.plan.Get, &polderv1.PlanServiceGetRequest{Revision: 99})
}

// TestSomeTasks: tasks are listed by their ids, page by page, each once; those that are not there, or not the caller's to see, are left out.
func TestSomeTasks(t *testing.T) {
	w := newWorld(t, nil)
	a := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(a)
	c := w.as(w.admin)
	ask := w.submit(c, process("default", 3, "1"))
	w.until("three tasks", func(p *picture) bool { return p.tasks.Len() == 3 })
	ids := []string{ask.Id + ".2", "nobody.0", ask.Id + ".0", ask.Id + ".0"}
	req := &polderv1.TaskServiceListRequest{Ids: ids, All: true, PageSize: 1}
	var got []string
	for more := true; more; more = req.PageToken != "" {
		res := call(t, c.task.List, req)
		for _, task := range res.Tasks {
			got = append(got, task.Id)
		}
		req.PageToken = res.NextPageToken
	}
	if want := []string{ask.Id + ".0", ask.Id + ".2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	refusal(t, connect.CodeInvalidArgument, c.task.List, &polderv1.TaskServiceListRequest{Ids: make([]string, maxAsks+1)})
}
