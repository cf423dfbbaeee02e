package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/e2e/stage"
	"polder.dev/polder/e2e/witness"
)

const (
	agents   = 3
	places   = 15 // three nodes of one cpu
	cpu      = "0.2"
	delay    = 200 * time.Millisecond
	grace    = time.Second
	patience = 2 * time.Minute
	plan     = `cluster: {reclaimDelay: 200ms}
roles:
  online:  {guarantee: {cpu: 2}, lendGrace: 3s}
  offline: {reclaimGrace: 1s}
`
)

type options struct {
	n       int
	conduct string
	runtime string
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 200, "places to take back")
	flag.StringVar(&o.conduct, "conduct", "done", "what borrowers do with their notice: done (answer at once) or term (stay until the deadline)")
	flag.StringVar(&o.runtime, "runtime", "process", "process or docker")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx, os.Stdout, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reclaim:", err)
		os.Exit(1)
	}
}

// bench is a pool full of borrowers.
type bench struct {
	o       options
	dir     string
	remove  func(keep bool) error
	engine  func() error
	witness *witness.Witness
	pool    *stage.Pool
	news    chan witness.News
}

// measure takes o.n places back and prints how long it took.
func measure(ctx context.Context, out io.Writer, o options) (err error) {
	b := &bench{o: o, engine: func() error { return nil }, news: make(chan witness.News, 1000)}
	if b.dir, b.remove, err = stage.TempDir("reclaim"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(err != nil)) }()
	if err := b.open(ctx); err != nil {
		return err
	}
	var all []sample
	for i := range o.n {
		s, err := b.one(ctx, i)
		if err != nil {
			return fmt.Errorf("ask %d: %w", i, err)
		}
		all = append(all, s)
	}
	print(out, o, all)
	return nil
}

func (b *bench) close(keep bool) error {
	var errs []error
	if b.witness != nil {
		errs = append(errs, b.witness.Close())
	}
	if b.pool != nil {
		errs = append(errs, b.pool.Close())
	}
	return errors.Join(append(errs, b.engine(), b.remove(keep))...)
}

// open starts everything and fills the pool with borrowers.
func (b *bench) open(ctx context.Context) error {
	o := stage.Options{Dir: b.dir, Agents: agents, Capacity: "cpu=1,memory=4Gi,disk=1Gi", Runtime: b.o.runtime, Plan: plan}
	var err error
	if o.Programs, err = stage.Build(ctx, b.dir); err != nil {
		return err
	}
	if b.o.runtime == "docker" {
		if o.DockerHost, b.engine, err = stage.Engine(ctx, filepath.Join(b.dir, "engine")); err != nil {
			return err
		}
	}
	b.witness, err = witness.Listen(filepath.Join(b.dir, "witness.sock"), func(n witness.News) { b.news <- n })
	if err != nil {
		return err
	}
	if b.pool, err = stage.Open(ctx, o); err != nil {
		return err
	}
	if _, err := b.submit(ctx, "offline", places, map[string]string{"CONDUCT": b.o.conduct, "WORK": "0s", "THINK": "0s"}); err != nil {
		return err
	}
	for range places {
		if _, err := b.await(ctx, func(n witness.News) bool { return n.Kind == witness.Started }); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) submit(ctx context.Context, role string, n uint32, env map[string]string) (string, error) {
	env["WITNESS"] = filepath.Join(b.dir, "witness.sock")
	task := b.pool.Worker(env, cpu)
	task.Notice = &polderv1.NoticeDelivery{Signal: "SIGUSR1"}
	return b.pool.API.Submit(ctx, "", &polderv1.AskSpec{Role: role, Count: n, Task: task})
}

// await returns the next piece of news of a kind.
func (b *bench) await(ctx context.Context, want func(witness.News) bool) (witness.News, error) {
	limit := time.After(patience)
	for {
		select {
		case n := <-b.news:
			if want(n) {
				return n, nil
			}
		case <-limit:
			return witness.News{}, fmt.Errorf("nothing more happened for %v", patience)
		case <-ctx.Done():
			return witness.News{}, ctx.Err()
		}
	}
}

// sample is one place taken back.
type sample struct {
	total time.Duration // ask to running
	used  time.Duration // of its notice, by the borrower
	steps [4]time.Duration
}

// names of the steps of a sample.
var names = [4]string{"ask to notice", "notice to borrower's word", "borrower's word to its end", "its end to running"}

// over is what is neither the rule's nor the borrower's.
func (s sample) over() time.Duration { return s.total - delay - s.used }

// one takes one place back, waits for the asker's task to end, and for a borrower in its place.
func (b *bench) one(ctx context.Context, i int) (s sample, err error) {
	asked := time.Now()
	if _, err := b.submit(ctx, "online", 1, map[string]string{"CONDUCT": "term", "WORK": "50ms"}); err != nil {
		return s, err
	}
	var noticed, word, gone time.Time
	for s.total == 0 {
		n, err := b.await(ctx, func(witness.News) bool { return true })
		if err != nil {
			return s, err
		}
		switch {
		case n.Kind == witness.Noticed && n.Notice.State == "open":
			noticed = n.At
		case n.Kind == witness.Answered || n.Kind == witness.Termed && word.IsZero():
			word = n.At
		case n.Kind == "" && n.Run.Role == "offline":
			gone = n.Run.Gone
		case n.Kind == witness.Started && n.Run.Role == "online":
			s.total = n.At.Sub(asked)
			s.steps = [4]time.Duration{noticed.Sub(asked), word.Sub(noticed), gone.Sub(word), n.At.Sub(gone)}
		}
	}
	if noticed.IsZero() || word.IsZero() || gone.IsZero() {
		return s, errors.New("it started without a borrower leaving for it")
	}
	s.used = grace
	if b.o.conduct == "done" {
		s.used = word.Sub(noticed)
	}
	_, err = b.await(ctx, func(n witness.News) bool { return n.Kind == witness.Started && n.Run.Role == "offline" })
	return s, err
}

// print shows the distribution, and where the time went.
func print(out io.Writer, o options, all []sample) {
	fmt.Fprintf(out, "%d places taken back, %s runtime, borrowers: %s; reclaimDelay %v, notice %v\n", len(all), o.runtime, o.conduct, delay, grace)
	row := func(name string, of func(sample) time.Duration) {
		var d []time.Duration
		for _, s := range all {
			d = append(d, of(s))
		}
		slices.Sort(d)
		at := func(percent int) string { return d[(len(d)*percent+99)/100-1].Round(time.Millisecond / 10).String() }
		fmt.Fprintf(out, "  %-36s p50 %-9s p90 %-9s p99 %-9s most %s\n", name, at(50), at(90), at(99), at(100))
	}
	row("ask to running", func(s sample) time.Duration { return s.total })
	row("  less reclaimDelay and notice used", sample.over)
	for i, name := range names {
		row("  "+name, func(s sample) time.Duration { return s.steps[i] })
	}
	fmt.Fprintln(out, stage.Machine())
}
