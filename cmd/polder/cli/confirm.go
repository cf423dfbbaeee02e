package cli

import (
	"bufio"
	"fmt"
	"strings"
)

// confirm asks before something that cannot be taken back. Where nobody can answer, --yes is required.
func (a *app) confirm(sure bool, question string) error {
	if sure {
		return nil
	}
	if _, tty := terminal(a.In); !tty {
		return fail(exitUsage, "Repeat it with --yes.", "%s Nobody is here to answer", question)
	}
	fmt.Fprintf(a.Err, "%s [y/N] ", clean(question))
	answer, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && answer == "" {
		return fail(exitError, "Repeat it with --yes.", "no answer: %v", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return fail(exitError, "", "left as it was")
	}
	return nil
}
