package start

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/moby/moby/client"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/core/resource"
)

// demoImageName is made by e2e/engine.sh from the machine's own busybox.
const demoImageName = "polder/busybox"

// demoImage says which image the demo's containers run, "" when they run as processes because no engine has it.
func demoImage(ctx context.Context, s cli.Streams, o cli.DemoOptions) string {
	if len(o.Runtimes) > 0 && o.Runtimes[0] == "process" {
		return ""
	}
	host := client.FromEnv
	if o.DockerHost != "" {
		host = client.WithHost(o.DockerHost)
	}
	api, err := client.New(host)
	if err == nil {
		defer api.Close()
		_, err = api.ImageInspect(ctx, demoImageName)
	}
	if err != nil {
		fmt.Fprintf(s.Out, "No containers this time, processes instead: %v. \"make demo\" starts an engine with the image %s.\n\n", err, demoImageName)
		return ""
	}
	return demoImageName
}

func (s *story) runtimeName() string {
	if s.image != "" {
		return "containers of a Docker Engine"
	}
	return "processes"
}

// share is what a demo task takes: most of a node's slice, so that two never share a node.
func (s *story) share() string {
	return resource.FormatValue("cpu", s.slice["cpu"].MulDiv(8, 10)/10*10)
}

func (s *story) workerSpec() *polderv1.TaskSpec {
	data := s.data
	spec := &polderv1.TaskSpec{Command: []string{"sh", "-c", workerScript}, Resources: map[string]string{"cpu": s.share()}, Image: s.image,
		Kill: &polderv1.KillPolicy{Grace: durationpb.New(time.Second)}}
	if s.image != "" {
		spec.Mounts = []*polderv1.Mount{{Source: s.data, Target: "/data"}}
		data = "/data"
	}
	spec.Env = map[string]string{"DATA": data}
	return spec
}

func (s *story) onlineSpec() *polderv1.TaskSpec {
	return &polderv1.TaskSpec{Command: []string{"sleep", strconv.Itoa(int(demoOnline.Seconds()))}, Image: s.image, Resources: map[string]string{"cpu": s.share()}}
}

func (s *story) submit(ctx context.Context, name, role string, n uint32, spec *polderv1.TaskSpec) error {
	res, err := s.api.asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{{Name: name, Role: role, Count: n, Task: spec}}}))
	if err != nil {
		return err
	}
	if r := res.Msg.Results[0].Refused; r != nil {
		return fmt.Errorf("ask for %s was refused: %s", role, r.Message)
	}
	return nil
}

// say prints one line of the timeline.
func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, "  %6.2fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// pass lets time go by, sampling what is allocated.
func (s *story) pass(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return s.until(ctx, func() bool { return time.Now().After(end) })
}

// until waits for a condition, sampling what is allocated.
func (s *story) until(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
			s.sample(ctx)
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// sample adds what is allocated now to the account of cpu-seconds.
func (s *story) sample(ctx context.Context) {
	list, err := s.api.nodes.List(ctx, connect.NewRequest(&polderv1.NodeServiceListRequest{}))
	if err != nil {
		return // the next sample covers the time
	}
	now := time.Now()
	for _, n := range list.Msg.Nodes {
		if a, err := resource.ParseValue("cpu", orZero(n.Used["cpu"])); err == nil {
			s.busy += now.Sub(s.sampled).Seconds() * float64(a) / float64(resource.Milli)
		}
	}
	s.sampled = now
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// count compares every worker's records with its checkpoint and with themselves: each number once, none missing. A record is
// lost when it was processed, and has to be processed again or was skipped after a resume.
func (s *story) count(out *outcome) error {
	for i := range demoNodes {
		data, err := os.ReadFile(filepath.Join(s.data, fmt.Sprintf("worker-%d.records", i)))
		if errors.Is(err, os.ErrNotExist) {
			continue // it never ran: without lending there is no room for it
		}
		if err != nil {
			return err
		}
		lines := strings.Fields(string(data))
		for n, line := range lines {
			if line != strconv.Itoa(n+1) {
				out.lost++
			}
		}
		out.records += len(lines)
	}
	return nil
}

// timeline follows the event stream and the workers' own words, prints them, and remembers when what happened.
type timeline struct {
	mu     sync.Mutex // guards seen
	seen   []moment
	cancel context.CancelFunc
	done   sync.WaitGroup
}

type moment struct {
	kind, subject string
	at            time.Time
}

// follow starts the timeline.
func (s *story) follow(ctx context.Context) (*timeline, error) {
	list, err := s.api.events.List(ctx, connect.NewRequest(&polderv1.EventServiceListRequest{}))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := s.api.events.Watch(ctx, connect.NewRequest(&polderv1.EventServiceWatchRequest{FromRevision: list.Msg.Revision}))
	if err != nil {
		cancel()
		return nil, err
	}
	t := &timeline{cancel: cancel}
	t.done.Go(func() {
		defer stream.Close()
		for stream.Receive() {
			e := stream.Msg()
			t.add(e.Kind, e.Subject, e.Time.AsTime())
			if e.Kind != "TaskStarting" && e.Kind != "AskSubmitted" {
				s.say("%s", e.Message)
			}
		}
	})
	t.done.Go(func() { s.tail(ctx, t) })
	return t, nil
}

// tail prints what the workers write about themselves.
func (s *story) tail(ctx context.Context, t *timeline) {
	printed := 0
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		data, _ := os.ReadFile(filepath.Join(s.data, "story")) // not there before a worker wrote
		lines := bufio.NewScanner(bytes.NewReader(data))
		for n := 0; lines.Scan(); n++ {
			if n >= printed {
				printed++
				s.say("    %s", lines.Text())
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (t *timeline) stop() error {
	t.cancel()
	t.done.Wait()
	return nil
}

func (t *timeline) add(kind, subject string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, moment{kind, subject, at})
}

// moments returns those of a kind whose subject has a prefix.
func (t *timeline) moments(kind, prefix string) []moment {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []moment
	for _, m := range t.seen {
		if m.kind == kind && strings.HasPrefix(m.subject, prefix) {
			out = append(out, m)
		}
	}
	return out
}

func (t *timeline) count(kind, prefix string) int { return len(t.moments(kind, prefix)) }

// first is when something first happened, zero when it did not.
func (t *timeline) first(kind, prefix string) time.Time {
	if ms := t.moments(kind, prefix); len(ms) > 0 {
		return ms[0].at
	}
	return time.Time{}
}

// last is when something last happened, zero when it did not.
func (t *timeline) last(kind, prefix string) time.Time {
	if ms := t.moments(kind, prefix); len(ms) > 0 {
		return ms[len(ms)-1].at
	}
	return time.Time{}
}
