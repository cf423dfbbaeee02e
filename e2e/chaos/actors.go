package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// serial numbers the requests, so that a repeated one is known again.
var serial atomic.Int64

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// submit asks for tasks and remembers the ask. The ask may have been accepted although no answer came; it is asked for again
// with the same key until it is known.
func (s *story) submit(ctx context.Context, role string, a *asked, task *polderv1.TaskSpec) (string, error) {
	key := fmt.Sprintf("%d-%d", s.o.seed, serial.Add(1))
	id, err := s.pool.API.Submit(context.WithoutCancel(ctx), key, &polderv1.AskSpec{Role: role, Count: uint32(a.count), Task: task})
	if err == nil {
		s.enter(id, a)
	}
	return id, err
}

// borrow keeps more offline work waiting than fits.
func (s *story) borrow(ctx context.Context) error {
	r := s.random(1)
	for {
		for _, offline, _, _ := s.state(); offline < places+backlog; _, offline, _, _ = s.state() {
			if err := s.borrowSome(ctx, r); err != nil {
				return err
			}
		}
		if pause(ctx, delay) != nil {
			return nil
		}
	}
}

// borrowSome asks for a few tasks of one kind.
func (s *story) borrowSome(ctx context.Context, r *rand.Rand) error {
	a := &asked{count: 1 + r.IntN(12), offline: true, grace: grace}
	env := map[string]string{"WITNESS": s.socket(), "LEDGER": s.ledger(), "WORK": between(r, time.Second, s.o.work).String(),
		"CONDUCT": []string{"done", "leave", "stay", "term", "bow"}[r.IntN(5)], "THINK": between(r, 0, grace).String()}
	task := s.pool.Worker(env, cpu)
	if r.IntN(3) == 0 {
		a.grace = between(r, grace/4, grace)
		task.ReclaimGrace = durationpb.New(a.grace)
	}
	if r.IntN(3) == 0 {
		a.kill = between(r, 100*time.Millisecond, grace)
		task.Kill = &polderv1.KillPolicy{Grace: durationpb.New(a.kill)}
		env["KILLGRACE"] = a.kill.String()
	}
	if r.IntN(2) == 0 {
		task.Notice = &polderv1.NoticeDelivery{Signal: "SIGUSR1"}
	}
	_, err := s.submit(ctx, []string{"offline/train", "offline/etl", "offline"}[r.IntN(3)], a, task)
	return err
}

// demand sends pulses of online work. Some are called off before anybody had to leave.
func (s *story) demand(ctx context.Context) error {
	r := s.random(2 + uint64(serial.Add(1)))
	for {
		a := &asked{count: 1 + r.IntN(14)}
		work := between(r, 200*time.Millisecond, 1500*time.Millisecond)
		env := map[string]string{"WITNESS": s.socket(), "LEDGER": s.ledger(), "WORK": work.String(), "CONDUCT": "term"}
		id, err := s.submit(ctx, []string{"online/web", "online/search"}[r.IntN(2)], a, s.pool.Worker(env, cpu))
		if err != nil {
			return err
		}
		if r.IntN(5) == 0 {
			if err := s.callOff(ctx, id, a, between(r, 0, delay+grace)); err != nil {
				return err
			}
		}
		if pause(ctx, between(r, 0, 2*grace)) != nil {
			return nil
		}
	}
}

func (s *story) callOff(ctx context.Context, id string, a *asked, after time.Duration) error {
	pause(ctx, after)
	s.mu.Lock()
	a.cancelled = true
	s.mu.Unlock()
	return s.pool.API.Cancel(context.WithoutCancel(ctx), id)
}

// kills counts what the monkey did.
type kills struct{ agent, server atomic.Int64 }

func (k *kills) String() string {
	return fmt.Sprintf("%d agents and %d servers", k.agent.Load(), k.server.Load())
}

// torment kills agents and the server and starts them again: mostly when somebody was just given notice, and then at a random
// moment before the deadline.
func (s *story) torment(ctx context.Context) error {
	r := s.random(3)
	for {
		node := s.pool.Nodes[r.IntN(agents)]
		select {
		case node = <-s.stir:
			if pause(ctx, between(r, 0, grace)) != nil {
				return nil
			}
		case <-time.After(between(r, 0, 2*grace)):
		case <-ctx.Done():
			return nil
		}
		victims := s.victims(r, node)
		for _, kill := range victims {
			kill()
		}
		if err := s.revive(ctx, r); err != nil {
			return err
		}
		if pause(ctx, between(r, 0, 2*grace)) != nil {
			return nil
		}
	}
}

// victims are one or two processes, most often the agent of a node.
func (s *story) victims(r *rand.Rand, node string) (out []func()) {
	agent := func(node string) func() {
		return func() {
			for i, name := range s.pool.Nodes {
				if name == node {
					s.pool.Agents[i].Kill()
					s.kills.agent.Add(1)
				}
			}
		}
	}
	server := func() {
		s.pool.Server.Kill()
		s.kills.server.Add(1)
	}
	switch r.IntN(8) {
	case 0, 1:
		return []func(){server}
	case 2:
		return []func(){agent(node), server}
	case 3:
		return []func(){server, agent(node)}
	case 4:
		return []func(){agent(node), agent(s.pool.Nodes[r.IntN(agents)])}
	}
	return []func(){agent(node)}
}

// revive starts what is dead, each after a while of its own.
func (s *story) revive(ctx context.Context, r *rand.Rand) error {
	all := append(s.pool.Agents[:agents:agents], s.pool.Server)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, p := range all {
		if p.PID() != 0 {
			continue
		}
		if pause(ctx, between(r, 0, grace/2)) != nil {
			return nil
		}
		if err := p.Start(); err != nil {
			return err
		}
	}
	return nil
}
