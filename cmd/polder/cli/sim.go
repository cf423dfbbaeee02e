package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"polder.dev/polder/planfile"
	"polder.dev/polder/sim"
)

func (a *app) simCmd() *cobra.Command {
	cmd := a.noun("sim", "Play a cluster in virtual time", "  polder sim list\n  polder sim run singles-day\n  polder sim run my.yaml --seeds 100",
		a.simListCmd(), a.simShowCmd(), a.simRunCmd(), a.simRandomCmd(), a.simLargeCmd(), a.simCompareCmd(), a.simTraceCmd())
	cmd.Long = `Play a cluster in virtual time: the core that decides for real machines, with simulated machines, work and faults.
A scenario says what there is, what happens and what is expected; docs/simulator.md says how to write one. No server is needed.`
	return cmd
}

func (a *app) simListCmd() *cobra.Command {
	format := "table"
	cmd := &cobra.Command{
		Use: "list", Short: "List the scenarios that come with Polder", Args: cobra.NoArgs, Example: "  polder sim list\n  polder sim list -o name",
		RunE: func(*cobra.Command, []string) error {
			if format == "name" {
				fmt.Fprintln(a.Out, strings.Join(sim.Shipped(), "\n"))
				return nil
			}
			var rows [][]string
			for _, name := range sim.Shipped() {
				s, err := shippedScenario(name)
				if err != nil {
					return err
				}
				nodes := 0
				for _, n := range s.Nodes {
					nodes += n.Count
				}
				rows = append(rows, []string{name, strconv.Itoa(nodes), strconv.Itoa(len(s.Expect)), s.Title})
			}
			return table(a.Out, output{}, []string{"NAME", "NODES", "EXPECTATIONS", "ABOUT"}, rows, a.colour())
		},
	}
	cmd.Flags().VarP(&choice{&format, []string{"table", "name"}}, "output", "o", "`format`: table or name")
	complete(cmd, "output", "table", "name")
	return cmd
}

func shippedScenario(name string) (*sim.Scenario, error) {
	data, err := sim.ShippedText(name)
	if err != nil {
		return nil, fail(exitNotFound, "Name one of them, or a file.", "%v", err)
	}
	return sim.Parse(data)
}

func scenarioNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return sim.Shipped(), cobra.ShellCompDirectiveDefault
}

func (a *app) simShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Print a scenario that comes with Polder", Args: cobra.ExactArgs(1), ValidArgsFunction: scenarioNames,
		Example: "  polder sim show singles-day > my.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := sim.ShippedText(args[0])
			if err != nil {
				return fail(exitNotFound, "\"polder sim list\" shows what there is.", "%v", err)
			}
			_, err = a.Out.Write(data)
			return err
		},
	}
}

// simOptions are the flags of commands that play something.
type simOptions struct {
	seed   uint64
	seeds  int
	out    string
	trace  string
	quiet  bool
	format string
}

func (o *simOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "`file` for a report with plots, in HTML: one page that needs no network")
	o.registerFormat(cmd)
}

// registerFormat registers what every command that plays something has.
func (o *simOptions) registerFormat(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.quiet, "quiet", false, "do not show how far it is")
	o.format = "table"
	f.VarP(&choice{&o.format, []string{"table", "json", "yaml"}}, "output", "o", "`format`: table, json or yaml")
	complete(cmd, "output", "table", "json", "yaml")
}

func (a *app) simRunCmd() *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use: "run (NAME | FILE)", Short: "Play a scenario and check what it expects", Args: cobra.ExactArgs(1), ValidArgsFunction: scenarioNames,
		Long: `Play a scenario and check what it expects. It exits with 1 when an expectation or an invariant does not hold. A file that
is not a good scenario is refused before anything starts, with every line at fault. The same seed gives the same run.`,
		Example: "  polder sim run singles-day --out report.html\n  polder sim run my.yaml --seed 7 -o json\n  polder sim run day-night --seeds 1000",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.scenario(args[0])
			if err != nil {
				return err
			}
			if o.seeds < 1 {
				return usageError(cmd, fmt.Errorf("--seeds %d: play at least one", o.seeds))
			}
			if o.seeds > 1 {
				return a.sweep(cmd.Context(), s, o)
			}
			return a.play(cmd.Context(), s, o)
		},
	}
	cmd.Flags().Uint64Var(&o.seed, "seed", 0, "`number` that chance is drawn from (default the scenario's)")
	cmd.Flags().IntVar(&o.seeds, "seeds", 1, "play so many seeds, one after the other, and sum up")
	cmd.Flags().StringVar(&o.trace, "trace", "", "`file` for every event and effect, a line each")
	o.register(cmd)
	return cmd
}

// scenario reads a file, or one that comes with Polder when no file has that name.
func (a *app) scenario(name string) (*sim.Scenario, error) {
	if slices.Contains(sim.Shipped(), name) {
		return shippedScenario(name)
	}
	r, err := a.open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fail(exitNotFound, "\"polder sim list\" shows the scenarios that come with Polder.", "there is no scenario and no file %q", name)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, planfile.MaxSize+1))
	if err != nil {
		return nil, err
	}
	s, err := sim.Parse(data)
	if err != nil {
		return nil, fail(exitUsage, "Correct it and try again.", "%s cannot run:\n%v", name, err)
	}
	return s, nil
}

// play runs one seed and prints what it found.
func (a *app) play(ctx context.Context, s *sim.Scenario, o simOptions) error {
	opt := sim.Options{Seed: o.seed, Progress: a.simProgress(o, s)}
	if err := hasPlace(o.out); err != nil {
		return err
	}
	if o.trace != "" {
		f, err := os.Create(o.trace)
		if err != nil {
			return err
		}
		defer f.Close()
		opt.Trace = f
	}
	r, err := sim.Run(ctx, s, opt)
	if err != nil {
		return err
	}
	if err := a.keepReport(o, r); err != nil {
		return err
	}
	if err := a.printReport(o, r); err != nil {
		return err
	}
	if !r.Held() {
		return fail(exitError, fmt.Sprintf("\"polder sim run ... --seed %d --trace FILE\" plays it again, step by step.", r.Seed), "%s", simFailed(r))
	}
	return nil
}

func simFailed(r *sim.Report) string {
	n := 0
	for _, f := range r.Findings {
		if !f.Held {
			n++
		}
	}
	return fmt.Sprintf("%s, seed %d: %d of %d expectations did not hold, %d violations", r.Scenario, r.Seed, n, len(r.Findings), r.Violated)
}

// hasPlace refuses a file for which there is no directory, before anything is played for it.
func hasPlace(file string) error {
	if file == "" {
		return nil
	}
	dir := filepath.Dir(file)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fail(exitUsage, "Make it first, or name a file elsewhere.", "%s: there is no directory %s", file, dir)
	}
	return nil
}

// keepReport writes the report that was asked for as a file.
func (a *app) keepReport(o simOptions, r *sim.Report) error {
	if o.out == "" {
		return nil
	}
	page, err := r.HTML()
	if err != nil {
		return err
	}
	return os.WriteFile(o.out, page, 0o644)
}

// simProgress shows how far a run is, on a terminal only.
func (a *app) simProgress(o simOptions, s *sim.Scenario) func(sim.Progress) {
	if _, tty := terminal(a.Err); !tty || o.quiet {
		return nil
	}
	var last time.Time
	return func(p sim.Progress) {
		if now := a.now(); p.Done < 1 && now.Sub(last) < 200*time.Millisecond {
			return
		} else {
			last = now
		}
		fmt.Fprintf(a.Err, "\r\x1b[K%s: %3.0f %%, %s, %d events, %d tasks with a lease, %d wait", s.Name, p.Done*100,
			p.At.Format("2006-01-02 15:04:05"), p.Steps, p.Running, p.Pending)
		if p.Done >= 1 {
			fmt.Fprint(a.Err, "\r\x1b[K")
		}
	}
}

func (a *app) printReport(o simOptions, r *sim.Report) error {
	if o.format != "table" {
		return a.printAny(o.format, r)
	}
	fmt.Fprintf(a.Out, "%s, seed %d: %s to %s, %d nodes, %d events in %s\n\n", r.Scenario, r.Seed, r.From.Format("2006-01-02 15:04"),
		r.To.Format("2006-01-02 15:04"), r.Nodes, r.Events, r.Took.Wall)
	if err := a.printFindings(r); err != nil {
		return err
	}
	if err := a.printSimRoles(r); err != nil {
		return err
	}
	return a.printLedger(r)
}

// printAny writes a value as JSON or YAML.
func (a *app) printAny(format string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil && format == "yaml" {
		data, err = yaml.JSONToYAML(data)
	}
	if err == nil {
		_, err = fmt.Fprintln(a.Out, strings.TrimSuffix(string(data), "\n"))
	}
	return err
}

func (a *app) printFindings(r *sim.Report) error {
	var rows [][]string
	for _, f := range r.Findings {
		rows = append(rows, []string{held(f.Held), f.Name, f.Found, bounds(f)})
	}
	if len(rows) > 0 {
		if err := table(a.Out, output{}, []string{"HELD", "EXPECTATION", "FOUND", "WANTED"}, rows, false); err != nil {
			return err
		}
		fmt.Fprintln(a.Out)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(a.Out, "violated: %s\n", clean(v))
	}
	for _, why := range r.Refusals {
		fmt.Fprintf(a.Out, "refused: %s\n", clean(why))
	}
	return nil
}

func held(yes bool) string {
	if yes {
		return "yes"
	}
	return "NO"
}

func bounds(f sim.Finding) string {
	var parts []string
	if f.Least != "" {
		parts = append(parts, "at least "+f.Least)
	}
	if f.Most != "" {
		parts = append(parts, "at most "+f.Most)
	}
	return strings.Join(parts, ", ")
}

func (a *app) printSimRoles(r *sim.Report) error {
	var rows [][]string
	for _, x := range r.Roles {
		first := ""
		if len(r.Pool) > 0 {
			first = fmt.Sprintf("%.0f (%.0f borrowed)", x.Hours[r.Pool[0].Resource], x.Borrowed[r.Pool[0].Resource])
		}
		rows = append(rows, []string{rootName(x.Path), first, strconv.Itoa(x.Started), seconds(x.WaitP50), seconds(x.WaitP99), x.T, x.Short, strconv.Itoa(x.Reclaimed), x.LostWork})
	}
	unit := "HOURS"
	if len(r.Pool) > 0 {
		unit = strings.ToUpper(r.Pool[0].Resource) + " HOURS"
	}
	return table(a.Out, output{}, []string{"ROLE", unit, "STARTED", "WAIT P50", "P99", "T", "SHORT", "RECLAIMED", "WORK LOST"}, rows, a.colour())
}

// sweep plays many seeds.
func (a *app) sweep(ctx context.Context, s *sim.Scenario, o simOptions) error {
	if o.out != "" || o.trace != "" {
		return fail(exitUsage, "Play one seed with --seed for a report or a trace.", "--out and --trace are for one seed")
	}
	sum, err := sim.RunSeeds(ctx, s, max(1, o.seed), o.seeds, 1, a.sweepProgress(s.Name, o))
	if sum.Seeds > 0 {
		if err := a.printSweep(o, sum); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if sum.Held < sum.Seeds {
		return fail(exitError, fmt.Sprintf("\"polder sim run %s --seed %d\" plays the first of them.", s.Name, sum.Failed[0].Seed),
			"%d of %d seeds failed", sum.Seeds-sum.Held, sum.Seeds)
	}
	return nil
}

func (a *app) printSweep(o simOptions, s *sim.Sweep) error {
	if o.format != "table" {
		return a.printAny(o.format, s)
	}
	fmt.Fprintf(a.Out, "%s: %d of %d seeds held; %d events, %d starts, %d notices, %d faults, %d checks of all invariants\n", s.Scenario, s.Held, s.Seeds, s.Events,
		s.Starts, s.Notices, s.Faults, s.Checks)
	for _, f := range s.Failed {
		for _, x := range f.Findings {
			fmt.Fprintf(a.Out, "seed %d: %s: found %s, wanted %s\n", f.Seed, clean(x.Name), x.Found, bounds(x))
		}
		for _, v := range f.Violations {
			fmt.Fprintf(a.Out, "seed %d: violated: %s\n", f.Seed, clean(v))
		}
	}
	return nil
}
