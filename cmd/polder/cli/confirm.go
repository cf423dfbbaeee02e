package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// confirm asks before something that cannot be taken back. Where nobody can answer, --yes is required.
func (a *app) confirm(ctx context.Context, sure bool, question string) error {
	if sure {
		return nil
	}
	if _, tty := terminal(a.In); !tty {
		return fail(exitUsage, "Repeat it with --yes.", "%s Nobody is here to answer", question)
	}
	fmt.Fprintf(a.Err, "%s [y/N] ", clean(question))
	answer := make(chan string, 1) // the reader cannot be interrupted; it must not wait for us either
	go func() {
		line, _ := bufio.NewReader(a.In).ReadString('\n') // a failed read is no answer, and that is a no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s := <-answer:
		if s == "y" || s == "yes" {
			return nil
		}
		return fail(exitError, "", "left as it was")
	}
}
