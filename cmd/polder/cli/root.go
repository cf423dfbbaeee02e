package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const rootLong = `Polder makes one pool of your machines. Every team has a guarantee; what it does not use is lent to others and
comes back in time, with notice.

Start here:
  polder up                                a server and three agents on this machine
  polder role tree                         who is guaranteed, uses, lends and borrows what
  polder run --role ROLE --wait -- CMD     run something
  polder why ID                            why a task waits, runs here, or was taken back

The server is found through --server, POLDER_ADDR, or a context file (POLDER_CONTEXT, ./.polder/context.yaml,
then polder/context.yaml in your configuration directory). "polder up" writes that file.

Exit codes: 0 fine, 1 error, 2 wrong usage or input, 3 not found, 4 denied, 5 conflict, 6 timeout, 130 interrupted.`

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := a.noun("polder", "One pool of machines; idle capacity is lent and comes back in time", "  polder up\n  polder role tree\n  polder run --role corp/search --cpu 1 --wait -- echo hello")
	root.Long = rootLong
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, err) })
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run Polder:"}, &cobra.Group{ID: "work", Title: "Run work:"},
		&cobra.Group{ID: "pool", Title: "The pool:"}, &cobra.Group{ID: "who", Title: "Who may do what:"})
	group(root, "run", a.upCmd(), a.serverCmd(), a.agentCmd(), a.demoCmd())
	group(root, "work", a.online(a.runCmd(), a.askCmd(), a.psCmd(), a.taskCmd(), a.logsCmd(), a.execCmd(), a.attachCmd(), a.killCmd(), a.whyCmd())...)
	group(root, "pool", a.online(a.planCmd(), a.roleCmd(), a.leaseCmd(), a.volumeCmd(), a.reservationCmd(), a.noticeCmd(), a.nodeCmd(), a.eventCmd(), a.wasteCmd(), a.topCmd(), a.consoleCmd())...)
	group(root, "who", a.online(a.tokenCmd(), a.accessCmd(), a.auditCmd())...)
	group(root, "pool", a.simCmd())
	group(root, "pool", a.online(a.doorCmd(), a.debugCmd())...)
	root.AddCommand(a.completionCmd(), a.versionCmd())
	checkArgs(root)
	return root
}

func group(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// online gives commands the flags that say which server to talk to.
func (a *app) online(cmds ...*cobra.Command) []*cobra.Command {
	for _, c := range cmds {
		a.conn.register(c.PersistentFlags())
	}
	return cmds
}

// noun is a command that only holds others. Without arguments it prints its help; an unknown verb is an error.
func (a *app) noun(use, short, example string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example,
		SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownVerb(cmd, args[0])
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

func unknownVerb(cmd *cobra.Command, verb string) error {
	err := fmt.Errorf("unknown command %q", verb)
	if near := cmd.SuggestionsFor(verb); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return usageError(cmd, err)
}

// checkArgs turns what is wrong with the number of arguments into usage errors, in the whole tree.
func checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(cmd, fmt.Errorf("%w; write: %s", err, cmd.UseLine()))
			}
			return nil
		}
	} else {
		cmd.Args = cobra.ArbitraryArgs // only nouns have none: their RunE names the unknown verb
	}
	for _, c := range cmd.Commands() {
		checkArgs(c)
	}
}

// call makes a RunE of a function that needs the server.
func (a *app) call(f func(ctx context.Context, c *client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.dial()
		if err != nil {
			return err
		}
		return f(cmd.Context(), c, args)
	}
}
