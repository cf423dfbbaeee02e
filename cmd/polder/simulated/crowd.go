package simulated

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
)

// step is how often teams look at what they have.
const step = 2 * time.Second

// team asks for one role. A team whose demand swings runs services, and gives back what it does not need; the others keep a
// pile of work waiting, which ends by itself.
type team struct {
	role      string
	cpu, mem  int           // of each task, mem in Gi
	low, high int           // percent of the pool's cpus it wants, swinging between the two in period; both the same for a pile
	period    time.Duration // zero is a pile of work
	asks      []string      // open services, oldest first
	each      int           // tasks in each ask
	number    int           // of the next pile
}

func teams() []*team {
	return []*team{
		{role: "corp/web", cpu: 2, mem: 4, low: 12, high: 30, period: 4 * time.Minute},
		{role: "corp/search", cpu: 4, mem: 12, low: 8, high: 19, period: 6 * time.Minute},
		{role: "corp/reports", cpu: 1, mem: 2, low: 13, high: 13},
		{role: "research/vision", cpu: 4, mem: 16, low: 40, high: 40},
		{role: "research/language", cpu: 8, mem: 30, low: 12, high: 12},
	}
}

// crowd is everybody who asks.
type crowd struct {
	api   *door.API
	cpus  int
	began time.Time
	teams []*team
}

func newCrowd(api *door.API, nodes int) *crowd {
	c := &crowd{api: api, cpus: nodes * cpus, began: time.Now(), teams: teams()}
	for _, t := range c.teams {
		t.each = max(1, c.cpus*2/100/t.cpu) // an ask is about 2 % of the pool
	}
	return c
}

// run lets the teams look and ask until ctx ends. What the server refuses is asked again at the next look.
func (c *crowd) run(ctx context.Context) error {
	if err := c.oddities(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("simulated teams: %w", err)
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		for _, t := range c.teams {
			if t.period > 0 {
				c.swing(ctx, t)
			} else {
				c.pile(ctx, t)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// swing keeps as many services as the time of day needs.
func (c *crowd) swing(ctx context.Context, t *team) {
	angle := 2 * math.Pi * float64(time.Since(c.began)) / float64(t.period)
	percent := float64(t.low) + float64(t.high-t.low)*(1-math.Cos(angle))/2
	want := int(math.Round(percent / 100 * float64(c.cpus) / float64(t.cpu*t.each)))
	for ; len(t.asks) < want; t.number++ {
		id, err := c.submit(ctx, t, &polderv1.AskSpec{Name: "service", Task: &polderv1.TaskSpec{Command: []string{"serve"}}})
		if err != nil {
			return
		}
		t.asks = append(t.asks, id)
	}
	if extra := len(t.asks) - want; extra > 0 {
		if _, err := c.api.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: t.asks[:extra]})); err == nil {
			t.asks = slices.Clone(t.asks[extra:])
		}
	}
}

// pile asks for more work when less than the team wants runs or waits.
func (c *crowd) pile(ctx context.Context, t *team) {
	status, err := c.api.Roles.Get(ctx, connect.NewRequest(&polderv1.RoleServiceGetRequest{Path: t.role}))
	if err != nil {
		return
	}
	have := int(status.Msg.Running+status.Msg.Pending) * t.cpu
	for ; have < c.cpus*t.high/100; have += t.each * t.cpu {
		length := 40 + t.number*37%140 // seconds: long ones and short ones
		t.number++
		if _, err := c.submit(ctx, t, &polderv1.AskSpec{Name: "job", Task: &polderv1.TaskSpec{Command: []string{"sleep", fmt.Sprint(length)}}}); err != nil {
			return
		}
	}
}

// submit asks for one ask of a team and returns its id.
func (c *crowd) submit(ctx context.Context, t *team, spec *polderv1.AskSpec) (string, error) {
	spec.Role, spec.Count = t.role, uint32(t.each)
	spec.Task.Runtime = runtimeName
	spec.Task.Resources = map[string]string{"cpu": fmt.Sprint(t.cpu), "memory": fmt.Sprintf("%dGi", t.mem)}
	return c.ask(ctx, spec)
}

func (c *crowd) ask(ctx context.Context, spec *polderv1.AskSpec) (string, error) {
	res, err := c.api.Asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{spec}}))
	if err != nil {
		return "", err
	}
	first := res.Msg.Results[0]
	if first.Refused != nil {
		return "", fmt.Errorf("%s: %s", first.Refused.Code, first.Refused.Message)
	}
	return first.Ask.Id, nil
}

// oddities are what every pool has: a gang too large for what is free, a task that wants a node to itself, and a few nodes
// out of service.
func (c *crowd) oddities(ctx context.Context) error {
	resources := map[string]string{"cpu": "16", "memory": "60Gi"}
	for _, spec := range []*polderv1.AskSpec{
		{Name: "training", Role: "research/language", Gang: true, Count: uint32(max(2, c.cpus/cpus/20)), Task: &polderv1.TaskSpec{Runtime: runtimeName, Command: []string{"train"}, Resources: resources, Constraints: []string{"zone==c"}}},
		{Name: "index", Role: "corp/search", Task: &polderv1.TaskSpec{Runtime: runtimeName, Command: []string{"index"}, Resources: resources, Constraints: []string{"rack==r1"}}},
	} {
		if err := patiently(ctx, func() error { _, err := c.ask(ctx, spec); return err }); err != nil {
			return err
		}
	}
	for i := 1; i <= c.cpus/cpus; i += 60 {
		err := patiently(ctx, func() error {
			_, err := c.api.Nodes.Cordon(ctx, connect.NewRequest(&polderv1.CordonRequest{Name: fmt.Sprintf("sim-%d", i), Cordoned: true}))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// patiently does something again for as long as the server has more to do than it can take, as after thousands of nodes have
// joined at once.
func patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step):
		}
	}
}
