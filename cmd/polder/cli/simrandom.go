package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"polder.dev/polder/sim"
)

// randomOptions are the flags of "sim random".
type randomOptions struct {
	simOptions
	keep string
	jobs int
	show bool
}

func (a *app) simRandomCmd() *cobra.Command {
	var o randomOptions
	cmd := &cobra.Command{
		Use: "random", Short: "Play clusters drawn by chance, and check every invariant after every decision", Args: cobra.NoArgs,
		Long: `Play clusters drawn by chance: trees, plans with windows, work of all kinds, slow and lossy networks, faults of nodes, agents,
connections and leaders. After every decision all invariants are checked; a task that is started twice, a notice that is too short, a
claim that waits longer than T and a ledger that does not add up count as well. It exits with 1 when anything was violated.

A seed gives the same cluster in one version of Polder only: --keep writes the scenarios of failed seeds as files for "polder sim run".`,
		Example: "  polder sim random --seeds 1000\n  polder sim random --seeds 10000 --jobs 2 --keep failed\n  polder sim random --seed 77 --show > cluster.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.show {
				text, err := sim.RandomText(o.seed)
				if err != nil {
					return err
				}
				_, err = a.Out.Write(text)
				return err
			}
			if o.seeds < 1 || o.jobs < 1 {
				return usageError(cmd, fmt.Errorf("--seeds %d, --jobs %d: play at least one seed, at least one at a time", o.seeds, o.jobs))
			}
			return a.random(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&o.seed, "seed", 1, "first `number` that a cluster is drawn from")
	f.IntVar(&o.seeds, "seeds", 100, "play so many seeds")
	f.IntVar(&o.jobs, "jobs", 1, "play so many at a time")
	f.StringVar(&o.keep, "keep", "", "`directory` for the scenarios of seeds that failed")
	f.BoolVar(&o.show, "show", false, "print the scenario of --seed instead of playing it")
	o.registerFormat(cmd)
	return cmd
}

func (a *app) random(ctx context.Context, o randomOptions) error {
	if o.keep != "" {
		if err := os.MkdirAll(o.keep, 0o755); err != nil {
			return err
		}
	}
	sum, err := sim.RunRandom(ctx, o.seed, o.seeds, o.jobs, a.sweepProgress("random clusters", o.simOptions))
	if sum.Seeds > 0 {
		if err := a.printSweep(o.simOptions, sum); err != nil {
			return err
		}
	}
	if kept := a.keepFailed(o.keep, sum); kept != nil {
		return kept
	}
	if err != nil {
		return err
	}
	if sum.Held < sum.Seeds {
		return fail(exitError, fmt.Sprintf("\"polder sim random --seed %d --show\" prints the first of them.", sum.Failed[0].Seed),
			"%d of %d seeds failed", sum.Seeds-sum.Held, sum.Seeds)
	}
	return nil
}

// keepFailed writes the scenarios of failed seeds into a directory that is there.
func (a *app) keepFailed(dir string, sum *sim.Sweep) error {
	if dir == "" || len(sum.Failed) == 0 {
		return nil
	}
	for _, f := range sum.Failed {
		text, err := sim.RandomText(f.Seed)
		if err != nil {
			return err
		}
		name := filepath.Join(dir, fmt.Sprintf("random-%d.yaml", f.Seed))
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(a.Err, "kept", name)
	}
	return nil
}

// sweepProgress tells how many seeds are done: all the time on a terminal, twenty times in all elsewhere.
func (a *app) sweepProgress(name string, o simOptions) func(done, failed int) {
	_, tty := terminal(a.Err)
	return func(done, failed int) {
		switch {
		case o.quiet:
		case tty && done == o.seeds:
			fmt.Fprint(a.Err, "\r\x1b[K")
		case tty:
			fmt.Fprintf(a.Err, "\r\x1b[K%s: %d of %d seeds, %d failed", name, done, o.seeds, failed)
		case o.seeds >= 200 && done%(o.seeds/20) == 0:
			fmt.Fprintf(a.Err, "%s: %d of %d seeds, %d failed\n", name, done, o.seeds, failed)
		}
	}
}
