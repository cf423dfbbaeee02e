package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
	"polder.dev/polder/sim"
)

// verifyOptions are the flags of "plan verify".
type verifyOptions struct {
	plan, from, zone string
	format           string
}

func (a *app) planVerifyCmd() *cobra.Command {
	o := verifyOptions{format: "table"}
	cmd := &cobra.Command{
		Use: "verify STATEMENT", Short: "Prove that a role gets what it needs in time, or show when it does not", Args: cobra.ExactArgs(1),
		Long: `Prove from the plan and its calendar that a role gets so much within some time, whenever it asks; or show an instant at which it
does not, with the arithmetic and, where that can be shown, a simulation. It exits with 1 unless the statement is proven.

A statement is "ROLE gets AMOUNTS within DURATION at any time in WHEN"; WHEN is a year, a month, a day or an instant, or two of them
with " to " between. The plan is that of --plan, of the recording in --from, or the one in force.`,
		Example: "  polder plan verify 'corp/search gets cpu=8000 within 2m at any time in 2026-11' --plan plan.yaml\n  polder plan verify 'online gets cpu=4 within 90s at 2026-11-11T00:00' --tz Asia/Shanghai",
	}
	f := cmd.Flags()
	f.StringVar(&o.plan, "plan", "", "`file` with the plan (default that of the recording, or the one in force)")
	f.StringVar(&o.from, "from", "", "recording (`file`) whose nodes and plan count")
	f.StringVar(&o.zone, "tz", "UTC", "time `zone` of the statement")
	f.VarP(&choice{&o.format, []string{"table", "json", "yaml"}}, "output", "o", "`format`: table, json or yaml")
	complete(cmd, "output", "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		zone, err := time.LoadLocation(o.zone)
		if err != nil {
			return usageError(cmd, fmt.Errorf("time zone %q is not known; write an IANA name such as Europe/Berlin", o.zone))
		}
		s, err := sim.ParseStatement(args[0], zone)
		if err != nil {
			return usageError(cmd, err)
		}
		return a.verify(cmd.Context(), s, o)
	}
	return cmd
}

// planAndNodes finds the plan a command is about, and what the nodes have when there is a recording.
func (a *app) planAndNodes(ctx context.Context, plan, from string) (*role.Plan, resource.Resources, error) {
	var p *role.Plan
	var err error
	if plan != "" {
		if p, err = a.readPlan(plan); err != nil {
			return nil, nil, err
		}
	}
	if from != "" {
		rec, err := a.readRecording(from)
		if err != nil {
			return nil, nil, err
		}
		if p == nil {
			if p, err = rec.Recorded(); err != nil {
				return nil, nil, err
			}
		}
		return p, rec.Capacity(p), nil
	}
	if p == nil {
		p, err = a.planInForce(ctx)
	}
	return p, nil, err
}

func (a *app) planInForce(ctx context.Context) (*role.Plan, error) {
	c, err := a.dial()
	if err != nil {
		return nil, err
	}
	r, err := do(ctx, c.plan.Get, &polderv1.PlanServiceGetRequest{})
	if err != nil {
		return nil, err
	}
	return planfile.Parse([]byte(r.GetYaml()))
}

func (a *app) verify(ctx context.Context, s *sim.Statement, o verifyOptions) error {
	p, capacity, err := a.planAndNodes(ctx, o.plan, o.from)
	if err != nil {
		return err
	}
	v, err := sim.Verify(p, s, capacity)
	if err != nil {
		return fail(exitUsage, "Name a role of the plan, and resources it knows.", "%v", err)
	}
	if err := sim.Witness(ctx, p, s, v, capacity); err != nil {
		return err
	}
	if o.format != "table" {
		if err := a.printAny(o.format, v); err != nil {
			return err
		}
	} else {
		a.printVerdict(v)
	}
	if v.Outcome != "proven" {
		return fail(exitError, "Change the plan, or ask for less or for later.", "the statement is %s", map[string]string{"refuted": "not true", "open": "not proven"}[v.Outcome])
	}
	return nil
}

func (a *app) printVerdict(v *sim.Verdict) {
	stretches := "1 stretch of the calendar was"
	if v.Stretches != 1 {
		stretches = fmt.Sprintf("%d stretches of the calendar were", v.Stretches)
	}
	fmt.Fprintf(a.Out, "%s; %s looked at", v.Outcome, stretches)
	if v.Outcome == "proven" {
		fmt.Fprintf(a.Out, ", the longest T is %s", v.Bound)
	}
	fmt.Fprintln(a.Out)
	for _, why := range v.Why {
		fmt.Fprintf(a.Out, "  %s\n", clean(why))
	}
	for _, line := range v.Timeline {
		fmt.Fprintf(a.Out, "  simulated: %s\n", clean(line))
	}
	if v.Outcome == "proven" {
		fmt.Fprintln(a.Out, "provided that")
		for _, x := range v.Assumptions {
			fmt.Fprintf(a.Out, "  %s\n", clean(x))
		}
	}
}

func (a *app) readRecording(file string) (*sim.Recording, error) {
	r, err := a.open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, sim.MaxRecording))
	if err != nil {
		return nil, err
	}
	rec, err := sim.ReadRecording(data)
	if err != nil {
		return nil, fail(exitUsage, "Make one with \"polder debug record\".", "%s: %v", file, err)
	}
	return rec, nil
}

func (a *app) planReplayCmd() *cobra.Command {
	var from string
	var o simOptions
	cmd := &cobra.Command{
		Use: "replay FILE --from RECORDING", Short: "Say what a plan would have done to work that was recorded", Args: cobra.ExactArgs(1),
		Long: `Play what a recording of a live cluster says was asked of it, once under the plan of that time and once under the plan in FILE, on the
same nodes: who waits less, who gives back more, how many hours are idle. Nothing is applied.`,
		Example: "  polder debug record > monday.json\n  polder plan replay new.yaml --from monday.json",
	}
	cmd.Flags().StringVar(&from, "from", "", "recording (`file`), from \"polder debug record\" (required)")
	o.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if from == "" {
			return usageError(cmd, fmt.Errorf("of which recording? Give --from FILE"))
		}
		return a.replay(cmd.Context(), args[0], from, o)
	}
	return cmd
}

// replayed is what "plan replay" found.
type replayed struct {
	Idle    [2]float64       `json:"idleHours"` // of cpu, before and after
	Ledger  [2]sim.LedgerRow `json:"ledger"`    // of all cpu, before and after
	Changes []sim.Change     `json:"changes"`
	LeftOut []string         `json:"leftOut,omitempty"`
}

func (a *app) replay(ctx context.Context, file, from string, o simOptions) error {
	rec, err := a.readRecording(from)
	if err != nil {
		return err
	}
	after, err := a.readPlan(file)
	if err != nil {
		return err
	}
	before, err := rec.Recorded()
	if err != nil {
		return fail(exitUsage, "Record it again.", "the plan in %s: %v", from, err)
	}
	var reports [2]*sim.Report
	out := replayed{}
	for i, p := range []*role.Plan{before, after} {
		s, err := rec.Scenario(p)
		if errors.Is(err, sim.ErrNothingAsked) {
			return fail(exitUsage, "Record again when something has been asked for.", "%s cannot be replayed: %v", from, err)
		}
		if err != nil {
			return fail(exitUsage, "A role that something was asked for must be in the plan.", "%s cannot be replayed: %v", from, err)
		}
		if reports[i], err = sim.Run(ctx, s, sim.Options{Progress: a.simProgress(o, s)}); err != nil {
			return err
		}
		for _, x := range reports[i].Whole() {
			if x.Resource == "cpu" {
				out.Idle[i], out.Ledger[i] = x.Idle, reports[i].Ledger.Whole("cpu")
			}
		}
	}
	out.LeftOut = rec.LeftOut()
	if err := a.keepReport(o, reports[1]); err != nil {
		return err
	}
	out.Changes = sim.Changes(reports[0], reports[1])
	if o.format != "table" {
		return a.printAny(o.format, out)
	}
	return a.printReplayed(out)
}

func (a *app) printReplayed(r replayed) error {
	fmt.Fprintf(a.Out, "cpu idle: %.1f core-hours as recorded, %.1f with the new plan\n", r.Idle[0], r.Idle[1])
	for i, row := range r.Ledger {
		if row.Why != "" {
			fmt.Fprintf(a.Out, "%s: %s.\n", []string{"as recorded", "with the new plan"}[i], row.Why)
		}
	}
	fmt.Fprintln(a.Out)
	both := func(x, y string) string {
		if x == y {
			return x
		}
		return x + " → " + y
	}
	var rows [][]string
	for _, c := range r.Changes {
		rows = append(rows, []string{rootName(c.Role), both(strconv.Itoa(c.Before.Started), strconv.Itoa(c.After.Started)),
			both(seconds(c.Before.WaitP50), seconds(c.After.WaitP50)), both(seconds(c.Before.WaitP99), seconds(c.After.WaitP99)),
			both(strconv.Itoa(c.Before.Reclaimed), strconv.Itoa(c.After.Reclaimed)),
			both(fmt.Sprintf("%.1f", c.Before.Hours["cpu"]), fmt.Sprintf("%.1f", c.After.Hours["cpu"])),
			both(fmt.Sprintf("%.1f", c.Before.Borrowed["cpu"]), fmt.Sprintf("%.1f", c.After.Borrowed["cpu"]))})
	}
	if err := table(a.Out, output{}, []string{"ROLE", "STARTED", "WAIT P50", "P99", "RECLAIMED", "CPU HOURS", "BORROWED"}, rows, a.colour()); err != nil {
		return err
	}
	if len(r.LeftOut) > 0 {
		fmt.Fprintln(a.Out, "\nNot as it was:")
	}
	for _, x := range r.LeftOut {
		fmt.Fprintf(a.Out, "  %s\n", clean(x))
	}
	return nil
}

func (a *app) debugCmd() *cobra.Command {
	return a.noun("debug", "Look closer at a cluster", "  polder debug record > recording.json", a.debugRecordCmd())
}

func (a *app) debugRecordCmd() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "record", Short: "Write the plan, the nodes, the work and the events of a live cluster to one file", Args: cobra.NoArgs,
		Long: `Write the plan, the nodes, what was asked for, how long it ran and what happened to one file, as far back as the server remembers.
"polder plan replay" plays it again under another plan. It needs permission to read everything. The file has no commands,
environments or images of tasks; events are as "polder event" shows them.`,
		Example: "  polder debug record > recording.json\n  polder debug record --out recording.json",
	}
	cmd.Flags().StringVar(&out, "out", "", "`file` to write to (default standard output)")
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		rec, err := a.record(ctx, c)
		if err != nil {
			return err
		}
		data, err := json.MarshalIndent(rec, "", " ")
		if err != nil {
			return err
		}
		if out == "" {
			_, err = fmt.Fprintf(a.Out, "%s\n", data)
			return err
		}
		if err := os.WriteFile(out, append(data, '\n'), 0o600); err != nil {
			return err
		}
		fmt.Fprintf(a.Err, "%s: %d nodes, %d asks, %d events\n", out, len(rec.Nodes), len(rec.Asks), len(rec.Events))
		return nil
	})
	return cmd
}

// record collects a recording from what the server lists.
func (a *app) record(ctx context.Context, c *client) (*sim.Recording, error) {
	plan, err := do(ctx, c.plan.Get, &polderv1.PlanServiceGetRequest{})
	if err != nil {
		return nil, err
	}
	rec := &sim.Recording{Format: sim.RecordingFormat, Polder: buildVersion(a.Version).Version, At: a.now().UTC(), Plan: plan.GetYaml(), Revision: plan.GetRevision().GetRevision()}
	nodes, err := c.nodes(ctx, &polderv1.NodeServiceListRequest{})
	if err != nil {
		return nil, err
	}
	asks, err := c.asks(ctx, &polderv1.AskServiceListRequest{})
	if err != nil {
		return nil, err
	}
	tasks, err := c.tasks(ctx, &polderv1.TaskServiceListRequest{All: true})
	if err != nil {
		return nil, err
	}
	events, _, err := c.events(ctx, eventOptions{})
	if err != nil {
		return nil, err
	}
	if err := recordNodes(rec, nodes); err != nil {
		return nil, err
	}
	if err := recordAsks(rec, asks, tasks); err != nil {
		return nil, err
	}
	for _, e := range events {
		raw, err := protojson.Marshal(e)
		if err != nil {
			return nil, err
		}
		rec.Events = append(rec.Events, raw)
	}
	return rec, nil
}

func recordNodes(rec *sim.Recording, nodes []*polderv1.Node) error {
	for _, n := range nodes {
		has, err := recordedAmounts(n.GetCapacity())
		if err != nil {
			return err
		}
		rec.Nodes = append(rec.Nodes, sim.RecordedNode{Name: n.GetName(), Attributes: n.GetAttributes(), Capacity: has})
	}
	return nil
}

// recordedAmounts reads amounts of the API, without their pools.
func recordedAmounts(of map[string]string) (resource.Resources, error) {
	out := resource.Resources{}
	for name, value := range of {
		_, kind := resource.SplitName(name)
		amount, err := resource.ParseValue(kind, value)
		if err != nil {
			return nil, err
		}
		out[kind] = amount
	}
	return out, nil
}

// endedForGood reports whether a task ended by itself or because somebody stopped it: what was reclaimed or lost comes again.
func endedForGood(t *polderv1.Task) bool {
	switch t.GetState() {
	case polderv1.TaskState_TASK_STATE_SUCCEEDED, polderv1.TaskState_TASK_STATE_FAILED, polderv1.TaskState_TASK_STATE_KILLED:
		return t.GetStarted() != nil
	}
	return false
}

func recordAsks(rec *sim.Recording, asks []*polderv1.Ask, tasks []*polderv1.Task) error {
	ran := map[string]map[uint32]float64{}
	for _, t := range tasks {
		if !endedForGood(t) {
			continue
		}
		if ran[t.GetAsk()] == nil {
			ran[t.GetAsk()] = map[uint32]float64{}
		}
		ran[t.GetAsk()][t.GetIndex()] += t.GetEnded().AsTime().Sub(t.GetStarted().AsTime()).Seconds()
	}
	for _, ask := range asks {
		spec := ask.GetSpec()
		needs, err := recordedAmounts(spec.GetTask().GetResources())
		if err != nil {
			return err
		}
		x := sim.RecordedAsk{
			ID: ask.GetId(), Role: spec.GetRole(), Count: int(max(1, spec.GetCount())), Gang: spec.GetGang(), Submitted: ask.GetSubmitted().AsTime(),
			Resources: needs, Pool: spec.GetTask().GetPool(), Constraints: spec.GetTask().GetConstraints(), Priority: int(spec.GetTask().GetPriority()),
			Pinned: spec.GetTask().Preemptible != nil && !spec.GetTask().GetPreemptible(),
		}
		for i := range x.Count {
			s, ended := ran[x.ID][uint32(i)]
			if ended || ask.GetState() != "cancelled" { // what never ran of a cancelled ask asked for nothing in the end
				x.Ran = append(x.Ran, s)
			}
		}
		if x.Count = len(x.Ran); x.Count > 0 {
			rec.Asks = append(rec.Asks, x)
		}
	}
	return nil
}
