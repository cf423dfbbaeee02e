package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// TestTogether: who comes while it is being done waits, and is served with all others who wait, at most so many at once; with room for two at
// a time nobody waits while only one is under way. Each gets the answer to its own wish.
func TestTogether(t *testing.T) {
	for _, c := range []struct {
		atOnce, most int
		want         string // how many there are each time
	}{{1, 0, "[1 9]"}, {1, 4, "[1 4 4 1]"}, {2, 0, "[1 1 8]"}, {2, 3, "[1 1 3 3 2]"}} {
		synctest.Test(t, func(t *testing.T) {
			leave, times := make(chan struct{}), []int{}
			g := newTogether(c.atOnce, func(_ context.Context, what []int) ([]string, error) {
				times = append(times, len(what))
				<-leave
				out := make([]string, len(what))
				for i, w := range what {
					out[i] = fmt.Sprint("for ", w)
				}
				return out, nil
			})
			g.most = c.most
			told := make(chan string, 10)
			for i := range 10 {
				go func() {
					if got, err := g.want(t.Context(), i); err != nil || got != fmt.Sprint("for ", i) {
						t.Errorf("%d gets %q, %v", i, got, err)
					}
					told <- ""
				}()
				synctest.Wait()
			}
			for len(told) < 10 {
				leave <- struct{}{}
				synctest.Wait()
			}
			if fmt.Sprint(times) != c.want {
				t.Errorf("%d at a time, at most %d: it was done for %v, want %s", c.atOnce, c.most, times, c.want)
			}
		})
	}
}

// TestTogetherWithABadOne: an error that may be one's fault fails that one; any other fails all.
func TestTogetherWithABadOne(t *testing.T) {
	bad := errors.New("3 is bad")
	for _, apart := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			leave := make(chan struct{}, 100)
			g := newTogether(1, func(_ context.Context, what []int) ([]struct{}, error) {
				<-leave
				if slices.Contains(what, 3) {
					return nil, bad
				}
				return make([]struct{}, len(what)), nil
			})
			g.apart = apart
			told := make([]error, 6)
			for i := range told {
				go func() { _, told[i] = g.want(t.Context(), i) }()
				synctest.Wait()
			}
			for range 100 {
				leave <- struct{}{}
			}
			synctest.Wait()
			for i, err := range told {
				if failed := i == 3 || !apart && i > 0; failed != errors.Is(err, bad) {
					t.Errorf("apart %v: %d is told %v", apart, i, err)
				}
			}
		})
	}
}
