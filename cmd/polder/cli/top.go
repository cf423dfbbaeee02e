package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/cmd/polder/top"
	"polder.dev/polder/core/resource"
)

// topRows is how many rows of a table top reads: more than anybody scrolls through, few enough to read every second.
const topRows = 2000

func (a *app) topCmd() *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use: "top [TABLE]", Short: "Watch the pool on a full screen: roles, nodes, tasks, notices, queue, events", Args: cobra.MaximumNArgs(1),
		Long: `Watch the pool on a full screen, one table at a time, with the keys of k9s:

  :tasks   another table, by the beginning of its name      /web  only rows with this word
  enter    into the row: a role's tasks, a node's tasks, a task's reasons      esc  back
  s S      sort by the next column; the other way round     tab   the next resource of roles
  d l      what is known of a row, its logs                 ?     all keys      q  quit
  c u r    cordon, uncordon, drain a node                   ctrl+k  kill a task; each asks first

Where there is no terminal the tables are printed once.`,
		Example: "  polder top\n  polder top tasks\n  polder top roles | head",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return topTables, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().DurationVar(&every, "interval", time.Second, "time between two looks; longer where a look is slow")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		start := first(append(args, topTables[0])...)
		if !slices.ContainsFunc(topTables, func(t string) bool { return strings.HasPrefix(t, start) }) {
			return usageError(cmd, fmt.Errorf("there is no table %q; choose from %s", start, strings.Join(topTables, ", ")))
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error {
			return a.top(ctx, c, start, len(args) > 0, every)
		})(cmd, args)
	}
	return cmd
}

// topTables are the names of the tables, in the order of their keys.
var topTables = []string{"roles", "nodes", "tasks", "notices", "queue", "events"}

// top shows the tables on the terminal, or prints them where there is none: the chosen one alone, or all.
func (a *app) top(ctx context.Context, c *client, start string, alone bool, every time.Duration) error {
	who, err := do(ctx, c.access.WhoAmI, &polderv1.WhoAmIRequest{})
	if err != nil {
		return err
	}
	cfg := a.topConfig(c, who)
	cfg.Start, cfg.Every = start, every
	_, in := terminal(a.In)
	if _, out := terminal(a.Out); in && out && a.Getenv("TERM") != "dumb" {
		return top.Run(ctx, cfg, a.In, a.Out)
	}
	for _, k := range cfg.Kinds {
		if alone && !strings.HasPrefix(k.Name, start) {
			continue
		}
		if err := a.printKind(ctx, k, alone); err != nil {
			return err
		}
	}
	return nil
}

// printKind prints one table, under its name where several follow each other.
func (a *app) printKind(ctx context.Context, k top.Kind, alone bool) error {
	t, err := k.Load(ctx, top.Scope{})
	if err != nil {
		return err
	}
	if !alone {
		fmt.Fprintf(a.Out, "%s (%d)\n", strings.ToUpper(k.Name), len(t.Rows))
	}
	var heads []string
	rows := make([][]string, len(t.Rows))
	for i, c := range k.Columns {
		if c.Wide {
			continue
		}
		heads = append(heads, c.Head)
		for j, r := range t.Rows {
			rows[j] = append(rows[j], r.Cells[i])
		}
	}
	if err := table(a.Out, output{}, heads, rows, a.colour()); err != nil {
		return err
	}
	if t.More != "" {
		fmt.Fprintf(a.Err, "%s: %s\n", k.Name, t.More)
	}
	if !alone {
		fmt.Fprintln(a.Out)
	}
	return nil
}

func (a *app) topConfig(c *client, who *polderv1.WhoAmIResponse) top.Config {
	return top.Config{
		Title:   fmt.Sprintf("Polder %s · %s · %s:%s", who.GetCluster(), a.conn.resolved, who.GetKind(), who.GetName()),
		Kinds:   []top.Kind{a.topRoles(c), a.topNodes(c), a.topTasks(c), a.topNotices(c), a.topQueue(c), a.topEvents(c)},
		Summary: func(ctx context.Context) (top.Summary, error) { return topSummary(ctx, c) },
		Shades:  shades,
		Now:     a.now,
	}
}

// topSummary is the root's state: what of the pool is used and borrowed, what runs, what waits, what is told to leave.
func topSummary(ctx context.Context, c *client) (top.Summary, error) {
	root, err := do(ctx, c.role.Get, &polderv1.RoleServiceGetRequest{})
	if denied(err) {
		return top.Summary{}, nil // whoever sees only a part of the tree sees no sums of the whole
	}
	if err != nil {
		return top.Summary{}, err
	}
	roles, err := c.roles(ctx, "")
	if err != nil {
		return top.Summary{}, err
	}
	var s top.Summary
	for _, kind := range kindsOf(root, nil) {
		if b, ok := topBar(kind, root, leafRoles(roles)); ok && len(s.Bars) < 4 {
			s.Bars = append(s.Bars, b)
		}
	}
	s.Facts = []string{fmt.Sprintf("%d running", root.GetRunning()), fmt.Sprintf("%d waiting", root.GetPending())}
	open, err := do(ctx, c.notice.List, &polderv1.NoticeServiceListRequest{PageSize: pageSize})
	if err == nil {
		more := map[bool]string{true: "or more "}[open.GetNextPageToken() != ""]
		s.Facts = append(s.Facts, fmt.Sprintf("%d %snotices open", len(open.GetNotices()), more))
	}
	if idle := topIdle(root); idle != "" {
		s.Facts = append(s.Facts, "idle "+idle)
	}
	return s, err
}

// topIdle is what of the pool nobody uses, on nodes out of service too: "264 cpu, 8Gi memory". The bars have two kinds more.
func topIdle(root *polderv1.RoleStatus) string {
	var out []string
	for _, kind := range kindsOf(root, nil) {
		if whole := value(kind, root.GetEntitlement()[kind]); whole > 0 && len(out) < 2 {
			idle := resource.Amount(max(0, whole-value(kind, root.GetUsage()[kind])))
			out = append(out, readable(kind, resource.FormatValue(kind, idle))+" "+kind)
		}
	}
	return strings.Join(out, ", ")
}

// topBar is one resource of the pool: what the root is due is all there is. False if there is none of it.
func topBar(kind string, root *polderv1.RoleStatus, leaves []*polderv1.RoleStatus) (top.Bar, bool) {
	whole := value(kind, root.GetEntitlement()[kind])
	if whole <= 0 {
		return top.Bar{}, false
	}
	used := value(kind, root.GetUsage()[kind])
	var borrowed, most float64
	var who *polderv1.RoleStatus
	for _, r := range leaves {
		n := value(kind, r.GetBorrowed()[kind])
		if borrowed += n; n > most {
			most, who = n, r
		}
	}
	brief := fmt.Sprintf("%.0f %% used", 100*used/whole)
	text := fmt.Sprintf("%s of %s used (%.0f %%)", first(readable(kind, root.GetUsage()[kind]), "0"), readable(kind, root.GetEntitlement()[kind]), 100*used/whole)
	if who != nil {
		most := fmt.Sprintf(", %.0f %% borrowed, most by %s: %s", 100*borrowed/whole, rolePath(who), readable(kind, who.GetBorrowed()[kind]))
		text, brief = text+most, brief+most
	}
	return top.Bar{Name: kind, Used: used / whole, Borrowed: borrowed / whole, Text: text, Brief: brief}, true
}

// leafRoles are the roles that nothing is below: tasks run there, so what they borrow is counted once.
func leafRoles(roles []*polderv1.RoleStatus) []*polderv1.RoleStatus {
	parents := map[string]bool{}
	for _, r := range roles {
		parents[parent(r.GetEffective().GetPath())] = true
	}
	return slices.DeleteFunc(slices.Clone(roles), func(r *polderv1.RoleStatus) bool { return parents[r.GetEffective().GetPath()] })
}

// value is an amount as a number; what cannot be read is nothing.
func value(kind, amount string) float64 {
	n, err := resource.ParseValue(kind, cmp.Or(amount, "0"))
	if err != nil {
		return 0
	}
	return float64(n)
}

// kindOf makes a table of a view: the same columns and words as in the lists.
func kindOf[T proto.Message](name string, v view[T], load func(context.Context, top.Scope) ([]T, string, error)) top.Kind {
	k := top.Kind{Name: name}
	for _, c := range v.columns {
		k.Columns = append(k.Columns, top.Column{Head: c.head, Wide: c.wide, Time: slices.Contains(timeHeads, c.head)})
	}
	k.Load = func(ctx context.Context, s top.Scope) (top.Table, error) {
		items, more, err := load(ctx, s)
		if err != nil {
			return top.Table{}, err
		}
		t := top.Table{More: more, Rows: make([]top.Row, len(items))}
		for i, it := range items {
			t.Rows[i] = top.Row{ID: v.name(it), Cells: v.row(it, true)}
		}
		return t, nil
	}
	return k
}

// timeHeads are the columns whose cells are lengths of time.
var timeHeads = []string{"SEEN", "AGE", "LEAVES", "DEADLINE", "T", "NOTICE", "HOLD"}

// some follows a list up to topRows, and says so when there is more.
func some[T any](ctx context.Context, next string, fetch func(ctx context.Context, token string) (page[T], error)) ([]T, string, error) {
	var out []T
	for token := ""; ; {
		p, err := fetch(ctx, token)
		out = append(out, p.items...)
		switch {
		case err != nil:
			return nil, "", err
		case p.next == "":
			return out, "", nil
		case len(out) >= topRows:
			return out, "there are more: " + next, nil
		}
		token = p.next
	}
}

// lines are fields as text, aligned.
func lines(fields []field) []string {
	var b bytes.Buffer
	_ = one(&b, output{}, "", (*polderv1.Task)(nil), fields) // a buffer takes everything
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// drainNotice is the deadline of a drain that top asks for.
const drainNotice = 5 * time.Minute

func nodeActs(c *client) []top.Act {
	cordon := func(on bool) func(context.Context, string) (string, error) {
		return func(ctx context.Context, name string) (string, error) {
			n, err := do(ctx, c.node.Cordon, &polderv1.CordonRequest{Name: name, Cordoned: on})
			return n.GetName() + " is " + n.GetState(), err
		}
	}
	return []top.Act{
		{Key: "c", Name: "cordon", Do: cordon(true), Ask: func(r top.Row) string { return "Cordon " + r.ID + "? What runs goes on; nothing new starts there." }},
		{Key: "u", Name: "uncordon", Do: cordon(false), Ask: func(r top.Row) string { return "Uncordon " + r.ID + "? New tasks may start there." }},
		{Key: "r", Name: "drain", Ask: func(r top.Row) string {
			return fmt.Sprintf("Drain %s? Every task there is told to leave within %s, or its own longer notice.", r.ID, shortDuration(drainNotice))
		}, Do: func(ctx context.Context, name string) (string, error) {
			n, err := do(ctx, c.node.Drain, &polderv1.DrainRequest{Name: name, Deadline: durationpb.New(drainNotice)})
			return fmt.Sprintf("%s is %s, with %s to leave", n.GetName(), n.GetState(), taskCount(runs(n))), err
		}},
	}
}

func taskActs(c *client) []top.Act {
	return []top.Act{{Key: "ctrl+k", Name: "kill", Ask: func(r top.Row) string {
		return "Kill " + r.ID + "? It is stopped for good; its ask does not start it again."
	},
		Do: func(ctx context.Context, id string) (string, error) {
			_, err := do(ctx, c.task.Kill, &polderv1.KillRequest{Ids: []string{id}})
			return id + " is being stopped", err
		}}}
}
