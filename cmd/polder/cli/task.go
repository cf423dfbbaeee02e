package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// tasks lists every task that matches.
func (c *client) tasks(ctx context.Context, filter *polderv1.TaskServiceListRequest) ([]*polderv1.Task, error) {
	tasks, _, err := pages(ctx, func(ctx context.Context, token string) (page[*polderv1.Task], error) {
		filter.PageSize, filter.PageToken = pageSize, token
		r, err := do(ctx, c.task.List, filter)
		return page[*polderv1.Task]{r.GetTasks(), r.GetNextPageToken(), r.GetRevision()}, err
	})
	return tasks, err
}

func (a *app) taskView() view[*polderv1.Task] {
	type t = *polderv1.Task
	return view[t]{(*polderv1.Task).GetId, []column[t]{
		{head: "TASK", cell: (*polderv1.Task).GetId},
		{head: "ROLE", cell: (*polderv1.Task).GetRole},
		{head: "STATE", cell: func(t t) string { return stateName(t.GetState()) }},
		{head: "NODE", cell: (*polderv1.Task).GetNode},
		{head: "PAID BY", cell: (*polderv1.Task).GetFunding},
		{head: "RESOURCES", cell: func(t t) string { return amounts(t.GetResources()) }},
		{head: "NOTICE", wide: true, cell: func(t t) string { return span(t.GetReclaimGrace()) }},
		{head: "HOLD", wide: true, cell: func(t t) string { return span(t.GetHold()) }},
		{head: "LEAVES", cell: func(t t) string { return a.leaves(t) }},
		{head: "PORTS", wide: true, cell: func(t t) string { return portList(t.GetPorts()) }},
		{head: "HEALTH", wide: true, cell: (*polderv1.Task).GetHealth},
		{head: "RUNTIME", wide: true, cell: (*polderv1.Task).GetRuntime},
		{head: "ATTEMPT", wide: true, cell: func(t t) string { return count(t.GetAttempt()) }},
		{head: "EXIT", cell: exitCode},
		{head: "AGE", cell: func(t t) string { return a.age(t.GetCreated()) }},
		{head: "WHY", wide: true, cell: func(t t) string { return why(t.GetReason()) }},
	}}
}

// leaves says when a task under notice must be gone.
func (a *app) leaves(t *polderv1.Task) string {
	if t.GetState() != polderv1.TaskState_TASK_STATE_LEAVING {
		return none
	}
	return a.until(t.GetNotice().GetDeadline())
}

func exitCode(t *polderv1.Task) string {
	if t.ExitCode == nil {
		return none
	}
	return count(t.GetExitCode())
}

func (a *app) taskFields(t *polderv1.Task, spec *polderv1.TaskSpec) []field {
	out := []field{
		{"Task", t.GetId()},
		{"Ask", t.GetAsk()},
		{"Role", t.GetRole()},
		{"State", stateName(t.GetState())},
		{"Why", why(t.GetReason())},
		{"Unblocked by", t.GetReason().GetUnblockedBy()},
		{"Node", t.GetNode()},
		{"Resources", amounts(t.GetResources())},
		{"Paid by", t.GetFunding()},
		{"Notice it gets", span(t.GetReclaimGrace())},
		{"Hold", span(t.GetHold())},
		{"Preemptible", yes(t.GetPreemptible())},
		{"Priority", count(t.GetPriority())},
		{"Attempt", count(t.GetAttempt())},
		{"Runtime", t.GetRuntime()},
		{"Image", spec.GetImage()},
		{"Command", strings.Join(spec.GetCommand(), " ")},
		{"Input", inputOf(spec)},
		{"Ports", portList(t.GetPorts())},
		{"Health", t.GetHealth()},
		{"Labels", pairs(t.GetLabels())},
		{"Created", stamp(t.GetCreated())},
		{"Started", stamp(t.GetStarted())},
		{"Ended", stamp(t.GetEnded())},
		{"Exit code", exitCode(t)},
	}
	if n := t.GetNotice(); n != nil {
		out = append(out, field{"Notice", fmt.Sprintf("%s, for %s: give back %s by %s", n.GetState(), n.GetClaimant(), amounts(n.GetAmount()), stamp(n.GetDeadline()))})
	}
	return out
}

// inputOf says what can be attached to.
func inputOf(spec *polderv1.TaskSpec) string {
	switch {
	case spec.GetTty():
		return "a terminal"
	case spec.GetStdin():
		return "open"
	}
	return ""
}

func (a *app) psCmd() *cobra.Command {
	var (
		l      listing
		states []string
	)
	filter := &polderv1.TaskServiceListRequest{}
	cmd := &cobra.Command{
		Use: "ps", Short: "List tasks", Args: cobra.NoArgs,
		Long:    "List tasks that have not ended; --all also lists those that have: the newest ones since the server started, it keeps no older history. PAID BY is the role whose guarantee pays, or borrowed.",
		Example: "  polder ps\n  polder ps --role corp/analytics --state leaving --watch\n  polder ps --all -o wide",
	}
	f := cmd.Flags()
	f.StringVar(&filter.Role, "role", "", "only tasks of this `role` and below")
	f.StringVar(&filter.Ask, "ask", "", "only tasks of this `ask`")
	f.StringVar(&filter.Node, "node", "", "only tasks on this `node`")
	f.StringSliceVar(&states, "state", nil, "only tasks in these `states`, as in pending,leaving")
	f.BoolVarP(&filter.All, "all", "a", false, "also tasks that have ended")
	a.completeFlag(cmd, "role", roleNames)
	a.completeFlag(cmd, "ask", askNames)
	a.completeFlag(cmd, "node", nodeNames)
	complete(cmd, "state", stateNames()...)
	l.register(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if filter.States, err = parseStates(states); err != nil {
			return usageError(cmd, err)
		}
		return nil
	}
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		if err := c.mustExist(ctx, filter); err != nil {
			return err
		}
		return showList(ctx, a, l, a.taskView(), func(ctx context.Context) ([]*polderv1.Task, error) { return c.tasks(ctx, filter) })
	})
	return cmd
}

// mustExist checks that what a list of tasks is narrowed to exists: an empty list for a misspelt name would mislead.
func (c *client) mustExist(ctx context.Context, filter *polderv1.TaskServiceListRequest) error {
	if filter.GetRole() != "" {
		if err := c.roleExists(ctx, filter.GetRole()); err != nil {
			return err
		}
	}
	if filter.GetNode() != "" {
		if _, err := do(ctx, c.node.Get, &polderv1.NodeServiceGetRequest{Name: filter.GetNode()}); err != nil {
			return err
		}
	}
	if filter.GetAsk() == "" {
		return nil
	}
	ask, err := c.askID(ctx, filter.GetAsk())
	filter.Ask = ask
	return err
}

// stateNames lists the states in the order of a task's life.
func stateNames() []string {
	var out []string
	for i := int32(polderv1.TaskState_TASK_STATE_PENDING); polderv1.TaskState_name[i] != ""; i++ {
		out = append(out, stateName(polderv1.TaskState(i)))
	}
	return out
}

func parseStates(words []string) ([]polderv1.TaskState, error) {
	var out []polderv1.TaskState
	for _, w := range words {
		n, ok := polderv1.TaskState_value["TASK_STATE_"+strings.ToUpper(w)]
		if !ok || n == 0 {
			return nil, fmt.Errorf("--state %q: choose from %s", w, strings.Join(stateNames(), ", "))
		}
		out = append(out, polderv1.TaskState(n))
	}
	return out, nil
}

func (a *app) taskCmd() *cobra.Command {
	return a.noun("task", "Show one task", "  polder task get train-1.0", a.taskGetCmd())
}

func (a *app) taskGetCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "get TASK", Short: "Show one task with its lease, notice and command", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(taskNames),
		Long:    "Show one task with its lease, notice and command. The id may be shortened when it stays unique.",
		Example: "  polder task get train-1.0\n  polder task get train -o yaml",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		id, err := c.taskID(ctx, args[0])
		if err != nil {
			return err
		}
		r, err := do(ctx, c.task.Get, &polderv1.TaskServiceGetRequest{Id: id})
		if err != nil {
			return err
		}
		return one(a.Out, o, id, r, a.taskFields(r.GetTask(), r.GetSpec()))
	})
	return cmd
}

func (a *app) killCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "kill TASK...", Short: "Stop tasks for good", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.fromServer(taskNames),
		Long: `Stop tasks with their kill policy (SIGTERM, then SIGKILL after their grace); their asks do not start them again.
To stop everything of an ask, use "polder ask cancel".`,
		Example: "  polder kill train-1.0\n  polder kill --force train-1.0 train-1.1",
	}
	cmd.Flags().BoolVar(&force, "force", false, "SIGKILL at once; the task cannot clean up")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		ids, err := c.taskIDs(ctx, args)
		if err != nil {
			return err
		}
		r, err := do(ctx, c.task.Kill, &polderv1.KillRequest{Ids: ids, Force: force})
		for _, t := range r.GetTasks() {
			fmt.Fprintf(a.Out, "%s is %s\n", clean(t.GetId()), stateName(t.GetState()))
		}
		return err
	})
	return cmd
}

func (a *app) logsCmd() *cobra.Command {
	r := &polderv1.LogsRequest{}
	cmd := &cobra.Command{
		Use: "logs TASK", Short: "Print what a task wrote", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(taskNames),
		Long:    "Print what a task wrote, its standard error to standard error. Ctrl-C ends the printing, not the task.",
		Example: "  polder logs train-1.0\n  polder logs -f --tail 20 train-1.0",
	}
	f := cmd.Flags()
	f.BoolVarP(&r.Follow, "follow", "f", false, "keep printing until the task ends")
	f.Uint32Var(&r.Tail, "tail", 0, "start with the last `lines`; 0 is everything kept")
	f.Var(&choice{&r.Stream, []string{"", "stdout", "stderr"}}, "stream", "only this `stream`: stdout or stderr")
	complete(cmd, "stream", "stdout", "stderr")
	cmd.RunE = a.call(func(ctx context.Context, c *client, args []string) error {
		id, err := c.taskID(ctx, args[0])
		if err != nil {
			return err
		}
		r.Task = id
		return a.copyLogs(ctx, c, r)
	})
	return cmd
}

// copyLogs prints a task's output as it comes. Interrupted following is a normal end.
func (a *app) copyLogs(ctx context.Context, c *client, r *polderv1.LogsRequest) error {
	stream, err := c.task.Logs(ctx, request(r))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		w := a.Out
		if stream.Msg().GetStderr() {
			w = a.Err
		}
		if _, err := w.Write(stream.Msg().GetData()); err != nil {
			return err
		}
	}
	err = stream.Err()
	switch {
	case errors.Is(ctx.Err(), context.Canceled) && r.Follow:
		return nil
	case connect.CodeOf(err) == connect.CodeUnavailable && err != nil:
		return fail(exitError, fmt.Sprintf("The task goes on. When the server is back: polder logs -f --tail 20 %s", r.GetTask()),
			"the connection ended before the output of %s did (%v)", r.GetTask(), err)
	}
	return err
}
