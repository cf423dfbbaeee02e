package server

import (
	"context"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
)

func publishNotices(b *board, p *picture, from, to int64) {
	for r := from; r <= to; r++ {
		p.revision = r
		n := cluster.Notice{ID: fmt.Sprint(r)}
		p.notices.Set(n.ID, n)
		b.publish(p.snapshot(), []change{{r, n}})
	}
}

// TestWatchHasNoGap: picture and watcher together show every change once, whenever the watcher starts.
func TestWatchHasNoGap(t *testing.T) {
	p := &picture{revision: 100}
	b := newBoard(p)
	done := make(chan struct{})
	go func() {
		defer close(done)
		publishNotices(b, p, 101, 1100)
	}()
	for range 50 {
		seen, w := b.viewAndWatch()
		want := seen.revision + 1
		for want <= 1100 {
			changes, err := w.wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if c.revision != want {
					t.Fatalf("after a picture of revision %d comes %d, want %d", seen.revision, c.revision, want)
				}
				want++
			}
		}
	}
	<-done
}

func TestWatchResumes(t *testing.T) {
	p := &picture{revision: 100}
	b := newBoard(p)
	publishNotices(b, p, 101, 200)
	for _, from := range []int64{100, 101, 150, 199} {
		w, err := b.watchFrom(from)
		if err != nil {
			t.Fatal(err)
		}
		if changes, err := w.wait(t.Context()); err != nil || changes[0].revision != from+1 {
			t.Errorf("from %d: %v, %v", from, changes, err)
		}
	}
	if w, err := b.watchFrom(200); err != nil || w.at != b.next {
		t.Errorf("from the newest: %v", err)
	}
	for _, from := range []int64{99, 1, 201} {
		if _, err := b.watchFrom(from); connect.CodeOf(err) != connect.CodeOutOfRange {
			t.Errorf("from %d: %v", from, err)
		}
	}
}

// TestSlowWatcher: one that falls out of the log is told so, at the next read and when it comes back.
func TestSlowWatcher(t *testing.T) {
	p := &picture{revision: 100}
	b := newBoard(p)
	_, slow := b.viewAndWatch()
	var changes []change
	for r := int64(101); r <= 101+keepChanges; r++ {
		changes = append(changes, change{r, cluster.Notice{}})
	}
	p.revision = 101 + keepChanges
	b.publish(p.snapshot(), changes)
	if _, err := slow.wait(t.Context()); connect.CodeOf(err) != connect.CodeOutOfRange {
		t.Errorf("the slow watcher gets %v", err)
	}
	if _, err := b.watchFrom(100); connect.CodeOf(err) != connect.CodeOutOfRange {
		t.Errorf("it comes back with %v", err)
	}
	if w, err := b.watchFrom(101); err != nil {
		t.Errorf("the oldest revision kept: %v", err)
	} else if changes, err := w.wait(t.Context()); err != nil || changes[0].revision != 102 {
		t.Errorf("the oldest revision kept: %v, %v", changes[0], err)
	}
}

// TestClaimWatch: a scheduler that follows the nodes sees what a list shows.
func TestClaimWatch(t *testing.T) {
	w := newWorld(t, nil)
	admin := w.as(w.admin)
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	w.connect(one)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := admin.claim.Watch(ctx, connect.NewRequest(&polderv1.ClaimServiceWatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	nodes := map[string]*polderv1.Node{}
	var revision int64
	follow := func(what string, until func() bool) {
		t.Helper()
		for !until() {
			if !stream.Receive() {
				t.Fatalf("%s: %v", what, stream.Err())
			}
			revision = stream.Msg().Revision
			for _, n := range stream.Msg().Nodes {
				nodes[n.Name] = n
			}
			for _, name := range stream.Msg().Removed {
				delete(nodes, name)
			}
		}
	}
	follow("snapshot", func() bool { return nodes["n1"].GetState() == "ready" })
	res := call(t, admin.claim.Commit, &polderv1.CommitRequest{Tasks: []*polderv1.ClaimTask{
		{Name: "pod", Role: "default", Node: "n1", Task: process("default", 1, "3").Task},
		{Name: "pod", Role: "default", Node: "n1", Task: process("default", 1, "3").Task},
	}})
	if res.Results[0].Task == "" || res.Results[1].Conflict == nil {
		t.Fatalf("commit answers %v", res.Results)
	}
	follow("claim", func() bool { return nodes["n1"].GetUsed()["cpu"] == "3" })
	call(t, admin.node.Cordon, &polderv1.CordonRequest{Name: "n1", Cordoned: true})
	follow("cordon", func() bool { return nodes["n1"].GetState() == "cordoned" })
	again, err := admin.claim.Watch(ctx, connect.NewRequest(&polderv1.ClaimServiceWatchRequest{FromRevision: revision - 1}))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !again.Receive() || again.Msg().Nodes[0].State != "cordoned" {
		t.Errorf("resumed watch: %v, %v", again.Msg(), again.Err())
	}
}

// TestRevokedStream: a stream does not outlive the credentials it was opened with.
func TestRevokedStream(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.recheck = 20 * time.Millisecond })
	admin := w.as(w.admin)
	token := call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "eve"})
	stream, err := w.as(token.Secret).event.Watch(t.Context(), connect.NewRequest(&polderv1.EventServiceWatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	call(t, admin.access.RevokeToken, &polderv1.RevokeTokenRequest{Id: token.Token.Id})
	for stream.Receive() {
	}
	if connect.CodeOf(stream.Err()) != connect.CodeUnauthenticated {
		t.Errorf("the stream ended with %v", stream.Err())
	}
}

// TestIdleStream: the bound on one message does not end a stream on which there is nothing to say.
func TestIdleStream(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.stall = 500 * time.Millisecond })
	admin := w.as(w.admin)
	one := w.newAgent("n1", map[string]string{"cpu": "4", "memory": "8Gi"})
	link := w.connect(one)
	stream, err := admin.event.Watch(t.Context(), connect.NewRequest(&polderv1.EventServiceWatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	<-time.After(1200 * time.Millisecond) // nothing happens, on purpose
	call(t, admin.node.Cordon, &polderv1.CordonRequest{Name: "n1", Cordoned: true})
	for stream.Receive() && stream.Msg().Kind != "NodeCordoned" {
	}
	if stream.Err() != nil {
		t.Error(stream.Err())
	}
	select {
	case <-link.done:
		t.Errorf("the idle session ended: %v", link.err)
	default:
	}
}
