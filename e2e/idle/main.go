package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/e2e/stage"
)

const agents = 3

type options struct {
	tasks  int // per agent
	length time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.tasks, "tasks", 50, "idle tasks of each agent")
	flag.DurationVar(&o.length, "for", time.Minute, "how long to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx, os.Stdout, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

// measure starts a pool with idle tasks and prints what it uses.
func measure(ctx context.Context, out io.Writer, o options) (err error) {
	dir, remove, err := stage.TempDir("idle")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(err != nil)) }()
	programs, err := stage.Build(ctx, dir)
	if err != nil {
		return err
	}
	pool, err := stage.Open(ctx, stage.Options{
		Dir: dir, Programs: programs, Agents: agents, Runtime: "process", Capacity: fmt.Sprintf("cpu=%d,memory=8Gi,disk=1Gi", o.tasks),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	ask, err := pool.API.Submit(ctx, "", &polderv1.AskSpec{Role: "default", Count: uint32(agents * o.tasks),
		Task: &polderv1.TaskSpec{Command: []string{"sleep", "infinity"}, Resources: map[string]string{"cpu": "1"}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end(pool, ask)) }()
	if err := running(ctx, pool, ask, agents*o.tasks); err != nil {
		return err
	}
	return watch(ctx, out, pool, dir, o)
}

// running waits until so many tasks of an ask run.
func running(ctx context.Context, p *stage.Pool, ask string, want int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not every task ran after two minutes"))
	defer cancel()
	return stage.Retry(ctx, func(ctx context.Context) error {
		res, err := p.API.Asks.Get(ctx, connect.NewRequest(&polderv1.AskServiceGetRequest{Id: ask}))
		if err == nil && int(res.Msg.Running) < want {
			err = fmt.Errorf("%d of %d tasks run", res.Msg.Running, want)
		}
		return err
	})
}

// end stops the tasks and waits until none is left.
func end(p *stage.Pool, ask string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.API.Cancel(ctx, ask); err != nil {
		return err
	}
	return stage.Retry(ctx, func(ctx context.Context) error {
		res, err := p.API.Tasks.List(ctx, connect.NewRequest(&polderv1.TaskServiceListRequest{Ask: ask}))
		if err == nil && len(res.Msg.Tasks) > 0 {
			err = fmt.Errorf("%d tasks are left", len(res.Msg.Tasks))
		}
		return err
	})
}

// watch reads the processes' figures at both ends of a while.
func watch(ctx context.Context, out io.Writer, p *stage.Pool, dir string, o options) error {
	watched := append([]*stage.Process{p.Server}, p.Agents...)
	var before []usage
	for _, x := range watched {
		u, err := usageOf(x.PID())
		if err != nil {
			return err
		}
		before = append(before, u)
	}
	began := time.Now()
	select {
	case <-time.After(o.length):
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Fprintf(out, "%d agents with %d idle tasks each, over %v:\n", agents, o.tasks, o.length)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  \tcores\tresident\tof it not of files\n")
	for i, x := range watched {
		u, err := usageOf(x.PID())
		if err != nil {
			return err
		}
		cores := (u.cpu - before[i].cpu).Seconds() / time.Since(began).Seconds()
		fmt.Fprintf(w, "  %s\t%.4f\t%s\t%s\n", x.Name, cores, megabytes(u.resident), megabytes(u.anonymous))
	}
	shells, err := supervisors(dir)
	if err != nil {
		return err
	}
	w.Flush()
	fmt.Fprintf(out, "  %d shells that wait for tasks: %s together by proportional share, %.0f kB each (resident %.0f kB each)\n",
		shells.n, megabytes(shells.shared), float64(shells.shared)/1024/float64(max(shells.n, 1)), float64(shells.resident)/1024/float64(max(shells.n, 1)))
	fmt.Fprintln(out, stage.Machine())
	if shells.n != agents*o.tasks {
		return fmt.Errorf("%d shells for %d tasks", shells.n, agents*o.tasks)
	}
	return nil
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
