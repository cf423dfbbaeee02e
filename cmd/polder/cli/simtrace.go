package cli

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
	"polder.dev/polder/sim"
)

// traceOptions are the flags of "sim trace".
type traceOptions struct {
	simOptions
	nodes   string
	plan    string
	onError string
	compare bool
	skip    time.Duration
	share   float64
	turn    time.Duration
}

func (a *app) simTraceCmd() *cobra.Command {
	o := traceOptions{onError: "stop"}
	cmd := &cobra.Command{
		Use: "trace FILE --nodes FILE", Short: "Play a recorded trace of pods and nodes", Args: cobra.ExactArgs(1),
		Long: `Play a trace in the columns of the openb trace, GPU included:

  pods   name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec, qos, creation_time, deletion_time (seconds)
  nodes  sn, cpu_milli, memory_mib, gpu, model

The class in qos is the role. Without --plan every role is guaranteed its share of the work, nine tenths of the machines together.
A GPU is a number of thousandths of a node; which card a share is on is not looked at.`,
		Example: "  polder sim trace openb_pods.csv --nodes openb_nodes.csv\n  polder sim trace openb_pods.csv --nodes openb_nodes.csv --skip 2880h --node-share 0.5 --compare\n  polder sim trace pods.csv --nodes nodes.csv --on-error skip",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.nodes == "" {
				return usageError(cmd, errors.New("on which nodes? Give --nodes FILE"))
			}
			if err := o.check(); err != nil {
				return usageError(cmd, err)
			}
			s, err := a.traceScenario(args[0], o)
			if err != nil {
				return err
			}
			if o.compare {
				return a.compare(cmd.Context(), s, o.simOptions)
			}
			return a.play(cmd.Context(), s, o.simOptions)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.nodes, "nodes", "", "`file` with the nodes (required)")
	f.StringVar(&o.plan, "plan", "", "`file` with the plan (default shares by work)")
	f.Var(&choice{&o.onError, []string{"stop", "skip"}}, "on-error", "`what` to do about a broken line: stop or skip")
	f.BoolVar(&o.compare, "compare", false, "play it with lending on, with lending off, and with machines divided for good")
	f.DurationVar(&o.skip, "skip", 0, "begin so `long` after the trace does")
	f.Float64Var(&o.share, "node-share", 1, "keep this `part` of the nodes, evenly")
	f.DurationVar(&o.turn, "turn", time.Second, "the leader decides so `often` at most")
	o.register(cmd)
	complete(cmd, "on-error", "stop", "skip")
	return cmd
}

// check refuses numbers that would be taken for others.
func (o *traceOptions) check() error {
	switch {
	case !(o.share > 0 && o.share <= 1):
		return fmt.Errorf("--node-share %g: keep a part of the nodes above 0, up to 1", o.share)
	case o.skip < 0:
		return fmt.Errorf("--skip %s: begin with the trace or after it", o.skip)
	case o.turn < time.Millisecond:
		return fmt.Errorf("--turn %s: decide at most once in a millisecond", o.turn)
	}
	return nil
}

// traceScenario reads a trace. Broken lines are told, counted, and end it or not as --on-error says.
func (a *app) traceScenario(pods string, o traceOptions) (*sim.Scenario, error) {
	p, err := openTable(pods)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	n, err := openTable(o.nodes)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	broken := 0
	t, err := sim.ReadTrace(pods, p, o.nodes, n, func(b sim.BadLine) bool {
		if broken++; broken <= shownLines && o.onError == "skip" {
			fmt.Fprintln(a.Err, clean(b.Error()))
		}
		return o.onError == "skip"
	})
	if bad := (sim.BadLine{}); errors.As(err, &bad) {
		next := "Correct the line, or leave broken lines out with --on-error skip."
		if bad.Head {
			next = "\"polder sim trace --help\" lists the columns: the first line names them."
		}
		return nil, fail(exitUsage, next, "%v", bad)
	}
	if err != nil {
		return nil, err
	}
	if broken > 0 {
		fmt.Fprintf(a.Err, "%d broken lines were left out\n", broken)
	}
	opt := sim.TraceOptions{Skip: o.skip, Share: o.share, Turn: o.turn}
	if o.plan != "" {
		if opt.Plan, err = a.readPlan(o.plan); err != nil {
			return nil, err
		}
	}
	s, err := t.Scenario(opt)
	if err != nil {
		return nil, fail(exitUsage, "Correct the plan or the trace.", "%v", err)
	}
	return s, nil
}

// openTable opens a file, unpacked when its name ends in .gz.
func openTable(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil || !strings.HasSuffix(name, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// shownLines is how many broken lines are told one by one.
const shownLines = 20

// readPlan reads a plan from a file and checks it, without a server.
func (a *app) readPlan(file string) (*role.Plan, error) {
	r, err := a.open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, planfile.MaxSize+1))
	if err != nil {
		return nil, err
	}
	p, err := planfile.Parse(data)
	if err != nil {
		return nil, fail(exitUsage, "Correct it and try again.", "%s is not a good plan:\n%v", file, err)
	}
	return p, nil
}

func (a *app) simCompareCmd() *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use: "compare (NAME | FILE)", Short: "Play a scenario with lending, without, and with machines divided for good", Args: cobra.ExactArgs(1),
		Long: `Play a scenario three times on the same machines and work: as the plan says; with everybody kept to the own guarantee; and with
every top role on machines of its own, in proportion to what is guaranteed.`,
		Example: "  polder sim compare busy-day", ValidArgsFunction: scenarioNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.scenario(args[0])
			if err != nil {
				return err
			}
			return a.compare(cmd.Context(), s, o)
		},
	}
	cmd.Flags().Uint64Var(&o.seed, "seed", 0, "`number` that chance is drawn from (default the scenario's)")
	o.registerFormat(cmd)
	return cmd
}

// compared is a way of sharing and what came of it.
type compared struct {
	Lending sim.Lending      `json:"lending"`
	Pool    []sim.PoolReport `json:"pool"`
	Ledger  []sim.LedgerRow  `json:"ledger"` // of the machines as a whole
	Root    sim.RoleReport   `json:"all"`
	Refused int              `json:"refused"`
	Waiting int              `json:"waiting"` // in the end
}

func (a *app) compare(ctx context.Context, s *sim.Scenario, o simOptions) error {
	if o.out != "" {
		return fail(exitUsage, "Leave out --compare for a report.", "--out is for one way of sharing")
	}
	var all []compared
	for _, l := range []sim.Lending{sim.LendingOn, sim.LendingOff, sim.LendingStatic} {
		v, err := s.With(l)
		if err != nil {
			return fail(exitUsage, "", "%v", err)
		}
		r, err := sim.Run(ctx, v, sim.Options{Seed: o.seed, Progress: a.simProgress(o, v)})
		if err != nil {
			return err
		}
		c := compared{Lending: l, Pool: r.Whole(), Root: r.Roles[0], Refused: r.Refused}
		for _, p := range c.Pool {
			c.Ledger = append(c.Ledger, r.Ledger.Whole(p.Resource))
		}
		if n := len(r.Plot.Waiting); n > 0 {
			c.Waiting = r.Plot.Waiting[n-1]
		}
		all = append(all, c)
	}
	if o.format != "table" {
		return a.printAny(o.format, all)
	}
	return a.printCompared(all)
}

func (a *app) printCompared(all []compared) error {
	heads := []string{"LENDING"}
	for _, p := range all[0].Pool {
		heads = append(heads, strings.ToUpper(p.Resource)+" ALLOCATED", "HOURS")
	}
	heads = append(heads, "FINISHED", "WAIT P50", "P99", "WAIT AT THE END", "REFUSED")
	var rows [][]string
	for _, c := range all {
		row := []string{string(c.Lending)}
		for _, p := range c.Pool {
			row = append(row, fmt.Sprintf("%.1f %%", 100*p.Utilisation), sim.Short(p.Hours))
		}
		rows = append(rows, append(row, strconv.Itoa(c.Root.Succeeded), seconds(c.Root.WaitP50), seconds(c.Root.WaitP99), strconv.Itoa(c.Waiting), strconv.Itoa(c.Refused)))
	}
	if err := table(a.Out, output{}, heads, rows, a.colour()); err != nil {
		return err
	}
	fmt.Fprintln(a.Out)
	for _, c := range all {
		for _, row := range c.Ledger {
			fmt.Fprintf(a.Out, "%s: %s.\n", c.Lending, row.Why)
		}
	}
	return nil
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond).String()
}
