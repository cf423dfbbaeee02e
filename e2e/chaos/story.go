package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"polder.dev/polder/e2e/stage"
	"polder.dev/polder/e2e/witness"
)

const (
	agents   = 3
	cpu      = "0.05"
	places   = 60 // tasks that fit: three nodes of one cpu
	backlog  = 15 // tasks that wait although everything is full
	delay    = 200 * time.Millisecond
	grace    = 2 * time.Second
	capacity = "cpu=1,memory=4Gi,disk=1Gi"
)

// plan guarantees most of the pool to online, which lends all of it.
const plan = `cluster: {reclaimDelay: 200ms}
roles:
  online:        {guarantee: {cpu: 1.8}, lendGrace: 3s}
  online/web:    {guarantee: {cpu: 1}}
  online/search: {guarantee: {cpu: 0.5}}
  offline:       {reclaimGrace: 2s}
  offline/train: {priority: 1}
  offline/etl:   {}
`

// asked is an ask as the story remembers it.
type asked struct {
	count     int
	offline   bool
	cancelled bool
	grace     time.Duration // the notice its tasks must get
	kill      time.Duration // the kill policy's grace it set; 0 when it set none
	left      int           // instances that have not finished
}

// story is a pool, its tasks, and what happens to them.
type story struct {
	o       options
	dir     string
	remove  func(keep bool) error
	pool    *stage.Pool
	witness *witness.Witness
	out     io.Writer
	began   time.Time // when the pool was ready
	kills   kills

	stir chan string // a node on which somebody was just given notice

	mu       sync.Mutex // guards all below
	asks     map[string]*asked
	early    map[string]int  // finished instances of asks whose id is not known yet
	notices  map[string]bool // seen by workers
	progress time.Time       // when something last happened
	finished int
}

func open(ctx context.Context, out io.Writer, o options) (*story, error) {
	s := &story{o: o, out: out, began: time.Now(), stir: make(chan string, 1), asks: map[string]*asked{}, early: map[string]int{},
		notices: map[string]bool{}, progress: time.Now()}
	var err error
	if s.dir, s.remove, err = stage.TempDir("chaos"); err != nil {
		return nil, err
	}
	if err := s.set(ctx); err != nil {
		return nil, errors.Join(err, s.close(true))
	}
	return s, nil
}

// set builds the programs and starts everything.
func (s *story) set(ctx context.Context) error {
	fmt.Fprintf(s.out, "seed %d, %d notices; building\n", s.o.seed, s.o.notices)
	if err := os.Mkdir(s.ledger(), 0o777); err != nil {
		return err
	}
	programs, err := stage.Build(ctx, s.dir)
	if err != nil {
		return err
	}
	if s.witness, err = witness.Listen(s.socket(), s.hear); err != nil {
		return err
	}
	s.pool, err = stage.Open(ctx, stage.Options{Dir: s.dir, Programs: programs, Agents: agents, Capacity: capacity, Runtime: "process", Plan: plan})
	s.began = time.Now()
	return err
}

func (s *story) ledger() string { return filepath.Join(s.dir, "ledger") }
func (s *story) socket() string { return filepath.Join(s.dir, "witness.sock") }

func (s *story) close(keep bool) error {
	var errs []error
	if s.witness != nil {
		errs = append(errs, s.witness.Close())
	}
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
	}
	return errors.Join(append(errs, s.remove(keep || s.o.keep))...)
}

// write keeps what was witnessed, one run a line.
func (s *story) write(runs []witness.Run) error {
	f, err := os.Create(filepath.Join(s.dir, "runs.jsonl"))
	if err != nil {
		return err
	}
	lines := json.NewEncoder(f)
	for i := range runs {
		if err := lines.Encode(&runs[i]); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}

// random gives each actor a source of its own.
func (s *story) random(actor uint64) *rand.Rand { return rand.New(rand.NewPCG(s.o.seed, actor)) }

// between is a random time.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// hear takes what workers say.
func (s *story) hear(n witness.News) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n.Kind {
	case witness.Noticed:
		if n.Notice.State == "open" && !s.notices[n.Notice.ID] {
			s.notices[n.Notice.ID], s.progress = true, time.Now()
			select {
			case s.stir <- n.Run.Node:
			default:
			}
		}
	case witness.Finished:
		s.finished++
		s.progress = time.Now()
		if a := s.asks[n.Run.Instance.Ask]; a != nil {
			a.left--
		} else {
			s.early[n.Run.Instance.Ask]++
		}
	}
}

// enter remembers an ask that was accepted.
func (s *story) enter(id string, a *asked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.left = a.count - s.early[id]
	delete(s.early, id)
	s.asks[id] = a
}

// state counts: notices seen, instances still to finish of offline asks and of all that count.
func (s *story) state() (notices, offline, all int, quiet time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asks {
		if a.offline {
			offline += a.left
		}
		if !a.cancelled {
			all += a.left
		}
	}
	return len(s.notices), offline, all, time.Since(s.progress)
}

// act plays until there were enough notices, then until everything that was begun is finished.
func (s *story) act(ctx context.Context) error {
	loud, hush := context.WithCancelCause(ctx)
	defer hush(nil)
	var actors sync.WaitGroup
	failed := make(chan error, 8)
	for _, actor := range []func(context.Context) error{s.borrow, s.demand, s.demand, s.demand, s.torment} {
		actors.Go(func() {
			if err := actor(loud); err != nil && loud.Err() == nil {
				failed <- err
				hush(err)
			}
		})
	}
	err := s.watch(loud, func() bool { n, _, _, _ := s.state(); return n >= s.o.notices })
	hush(nil)
	actors.Wait()
	select {
	case err = <-failed:
	default:
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, "enough; everything that was begun is to be finished")
	if err := s.calm(ctx); err != nil {
		return err
	}
	err = s.watch(ctx, func() bool { _, _, all, _ := s.state(); return all <= 0 && s.witness.Live() == 0 })
	if errors.Is(err, errQuiet) {
		return nil // what has not finished is lost: the verdict says so
	}
	return err
}

// calm brings everything back that was killed.
func (s *story) calm(ctx context.Context) error {
	for _, p := range append(s.pool.Agents, s.pool.Server) {
		if err := p.Start(); err != nil {
			return err
		}
	}
	return s.pool.AwaitNodes(ctx)
}

var errQuiet = errors.New("nothing has happened for too long")

// watch shows how it goes until something is so.
func (s *story) watch(ctx context.Context, until func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	shown := time.Now()
	for !until() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		n, _, all, quiet := s.state()
		if quiet > s.o.patient {
			return errQuiet
		}
		if time.Since(shown) > 5*time.Second {
			shown = time.Now()
			fmt.Fprintf(s.out, "%4.0fs  %d notices, %d tasks live, %d to finish, killed %s\n", time.Since(s.began).Seconds(), n, s.witness.Live(), all, s.kills.String())
		}
	}
	return nil
}
