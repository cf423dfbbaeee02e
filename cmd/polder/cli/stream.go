package cli

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
)

// reconnects is how often in a row a stream is opened again after it broke.
const reconnects = 5

// resume reads a stream of changes until ctx ends, which is its normal end. When the connection breaks it opens the
// stream again after the last revision seen, with growing pauses, and gives up after some attempts without news.
func resume[T any](ctx context.Context, a *app, from int64, open func(ctx context.Context, from int64) (*connect.ServerStreamForClient[T], error), revision func(*T) int64, each func(*T) error) error {
	for tries := 0; ; tries++ {
		stream, err := open(ctx, from)
		if err == nil {
			for stream.Receive() {
				from, tries = revision(stream.Msg()), 0
				if err := each(stream.Msg()); err != nil {
					stream.Close()
					return err
				}
			}
			err = stream.Err()
			stream.Close()
		}
		if ctx.Err() != nil {
			return nil
		}
		if connect.CodeOf(err) == connect.CodeOutOfRange && from > 0 && err != nil {
			fmt.Fprintln(a.Err, "the server has started anew and does not remember what was before; going on with what it knows")
			from = 0
			continue
		}
		if err != nil && connect.CodeOf(err) != connect.CodeUnavailable || tries == reconnects {
			return err
		}
		fmt.Fprintln(a.Err, "connection lost; trying again")
		if pause(ctx, min(a.poll<<tries, 10*time.Second)) != nil {
			return nil
		}
	}
}
