package docker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: so many start at a time and no more; one that takes long holds nobody up, and who is told to stop waits no longer.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, busy := make(turns, 2), 0
		begin := func(lasts time.Duration) {
			go func() {
				must(t, turns.do(t.Context(), func() error {
					busy++
					time.Sleep(lasts)
					busy--
					return nil
				}))
			}()
			synctest.Wait()
		}
		begin(time.Second)
		begin(time.Minute)
		begin(time.Minute)
		if busy != 2 {
			t.Fatalf("%d start at a time", busy)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := turns.do(ctx, func() error { t.Error("it is done all the same"); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("who was told to stop has %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if busy != 2 {
			t.Fatalf("when one is through, %d start", busy)
		}
		time.Sleep(slowTurn)
		synctest.Wait()
		begin(time.Second)
		begin(time.Second)
		if busy != 4 {
			t.Fatalf("beside two slow ones, %d start", busy)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if busy != 0 || len(turns) != 0 {
			t.Errorf("in the end %d are busy and %d have their turns", busy, len(turns))
		}
	})
}
