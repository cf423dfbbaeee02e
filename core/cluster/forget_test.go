package cluster

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// forget lets every pool look at everything anew in its next decision, whatever it has kept of earlier ones.
func (c *Cluster) forget() {
	for _, p := range c.pools {
		p.shares = nil
		for cl := range p.queue.all() {
			cl.lasting = lasting{}
		}
	}
}

// TestForgetful plays random days again with a cluster that remembers nothing from one decision to the next: whatever is not looked at for
// nothing has changed, its effects are those of looking at everything, and so is when it is to decide again.
func TestForgetful(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := newActor(rt, map[string]int{})
		a.witness = nil
		for range rapid.IntRange(5, 40).Draw(rt, "events") {
			a.act()
		}
		usual, forgetful := New(), New()
		for i, r := range a.tape {
			if _, decides := r.event.(Tick); decides {
				forgetful.forget()
			}
			is, _ := usual.Step(r.event, r.at)
			want, _ := forgetful.Step(r.event, r.at)
			if !reflect.DeepEqual(is, want) {
				rt.Fatalf("step %d, %T, has other effects where everything is looked at:\n%+v\n%+v", i, r.event, is, want)
			}
			if x, y := usual.wakes(), forgetful.wakes(); x != y {
				rt.Fatalf("step %d, %T: the next decision is %s, and %s where everything is looked at", i, r.event, x, y)
			}
		}
	})
}

func (c *Cluster) wakes() string {
	at, ok := c.NextWake()
	if !ok {
		return "never"
	}
	return at.String()
}
