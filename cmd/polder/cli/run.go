package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// runOptions are the flags of "run" beside the ask itself.
type runOptions struct {
	specFlags
	wait, follow, dryRun bool
	timeout              time.Duration
	detachKeys           string
	keys                 *detachKeys
}

func (a *app) runCmd() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use: "run --role ROLE [flags] -- COMMAND...", Short: "Run one task",
		Long: `Run one task. Without --wait or -f it prints the ask's id and returns.

With --wait it says why the task waits, where it started and who pays, until it has ended; then it exits with the task's
own code. With -f it also prints what the task writes. A task that is taken back goes into the queue again and the
command keeps waiting, unless --no-requeue.

With -i or -t it connects to the task's input and output as soon as it runs, as "polder attach" does; with -it it is like
a shell on one of the pool's machines. What was typed cannot be typed again, so such a task is not queued again when it is
taken back.

Ctrl-C stops only the waiting: the task goes on, and the command says how to stop it.`,
		Example: "  polder run --role corp/search --cpu 1 --memory 256Mi --wait -- ./index --all\n" +
			"  polder run --role corp/analytics --image python:3 --cpu 2 -f -- python -c 'print(1)'\n" +
			"  polder run --role corp/search --cpu 1 -it -- sh\n" +
			"  polder run --role corp/web --image nginx --port http:80 --health-http http://127.0.0.1:{port:http}/",
		Args: cobra.ArbitraryArgs,
	}
	o.register(a, cmd, false)
	f := cmd.Flags()
	f.BoolVar(&o.wait, "wait", false, "wait until the task has ended and exit with its code")
	f.BoolVarP(&o.follow, "follow", "f", false, "wait, and print what the task writes")
	f.DurationVar(&o.timeout, "timeout", 0, "with --wait or -f: wait at most this long, then exit with 6; 0 is for ever")
	registerKeys(cmd, &o.detachKeys)
	f.BoolVar(&o.dryRun, "dry-run", false, "only check")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		spec, err := o.spec(args)
		if err != nil {
			return usageError(cmd, err)
		}
		if err := o.check(a); err != nil {
			return usageError(cmd, err)
		}
		spec.Count = 1
		if o.interactive() {
			spec.Task.Requeue = proto.Bool(false)
		}
		return a.call(func(ctx context.Context, c *client, _ []string) error { return a.runOne(ctx, c, &o, spec) })(cmd, args)
	}
	return cmd
}

// interactive reports whether the command is to connect to the task.
func (o *runOptions) interactive() bool { return o.task.Stdin || o.task.Tty }

func (o *runOptions) check(a *app) (err error) {
	if o.keys, err = parseKeys(o.detachKeys); err != nil {
		return err
	}
	_, isTerminal := terminal(a.In)
	switch {
	case o.interactive() && (o.wait || o.follow):
		return errors.New("-i and -t connect to the task; leave out --wait and -f")
	case o.task.Tty && !o.dryRun && !isTerminal:
		return errors.New("standard input is not a terminal; leave out -t, -i alone sends the input")
	}
	return nil
}

func (a *app) runOne(ctx context.Context, c *client, o *runOptions, spec *polderv1.AskSpec) error {
	r, err := do(ctx, c.ask.Submit, &polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{spec}, DryRun: o.dryRun})
	if err != nil {
		return err
	}
	if len(r.GetResults()) != 1 {
		return fail(exitError, "Look at \"polder ask list\".", "the server gave %d answers to one ask", len(r.GetResults()))
	}
	ask := r.GetResults()[0].GetAsk()
	if ask == nil {
		return refusal("the ask", r.GetResults()[0].GetRefused())
	}
	if o.dryRun {
		fmt.Fprintln(a.Err, "checked only: it would be accepted")
		return nil
	}
	if !o.wait && !o.follow && !o.interactive() {
		fmt.Fprintln(a.Out, clean(ask.GetId()))
		if ask.GetReason() != nil {
			fmt.Fprintf(a.Err, "  it waits: %s\n", clean(ask.GetReason().GetMessage()))
		}
		fmt.Fprintf(a.Err, "  follow it: polder why %s\n", clean(ask.GetId()))
		return nil
	}
	fmt.Fprintf(a.Err, "%s is queued for %s\n", clean(ask.GetId()), clean(spec.GetRole()))
	return a.await(ctx, c, ask.GetId(), o)
}

// await follows an ask to its end. Being interrupted leaves the task alone.
func (a *app) await(ctx context.Context, c *client, ask string, o *runOptions) error {
	waiting := ctx
	if o.timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	w := &waiter{app: a, client: c, ask: ask, follow: o.follow, attach: o.interactive(), followed: map[string]bool{}}
	task, err := w.run(waiting)
	switch {
	case err != nil:
	case task != nil && !ended(task.GetState()):
		return w.converse(ctx, waiting, task, o.keys)
	default:
		err = w.result(task)
	}
	if !interrupted(err) {
		return err
	}
	stop := "It goes on: \"polder why " + ask + "\" shows it, \"polder ask cancel " + ask + "\" stops it."
	switch {
	case ctx.Err() != nil:
		return fail(exitInterrupted, stop, "stopped waiting for %s", ask)
	case waiting.Err() != nil:
		return fail(exitTimeout, stop, "%s has not ended in %s", ask, shortDuration(o.timeout))
	}
	return err
}

// converse attaches to the task. One that was over a moment before has its output printed instead.
func (w *waiter) converse(ctx, waiting context.Context, task *polderv1.Task, keys *detachKeys) error {
	err := w.app.attach(ctx, w.client, &polderv1.AttachStart{Task: task.GetId(), Stdin: true, Logs: true}, keys)
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		return err
	}
	w.attach, w.follow = false, true
	if task, err = w.run(waiting); err != nil {
		return err
	}
	return w.result(task)
}

// interrupted reports whether err only says that somebody stopped waiting, or that time was up.
func interrupted(err error) bool {
	code := connect.CodeOf(err)
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		err != nil && (code == connect.CodeCanceled || code == connect.CodeDeadlineExceeded)
}

// passing reports whether err is trouble that may be over at the next try.
func passing(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeUnavailable || code == connect.CodeDeadlineExceeded
}

// waiter follows one ask of one task through its attempts.
type waiter struct {
	*app
	client   *client
	ask      string
	follow   bool
	attach   bool            // wait only until it can be attached to
	followed map[string]bool // attempts whose output was printed, or could not be
	said     string          // the last line of progress
}

// run looks at the ask until it is not open any more, or, to attach, its task runs. It returns the last task; short trouble
// with the server is waited out.
func (w *waiter) run(ctx context.Context) (*polderv1.Task, error) {
	trouble := 0
	for {
		task, open, err := w.look(ctx)
		switch {
		case err == nil && !open:
			w.follow = w.follow || w.attach // what was too fast to be attached to
			w.print(ctx, task)              // it may have ended between two looks
			return task, nil
		case err == nil && w.attach && attachable(task):
			return task, nil
		case err == nil:
			trouble = 0
			w.progress(task)
			w.print(ctx, task)
		case ctx.Err() != nil || !passing(err) || trouble == reconnects:
			return nil, err
		default:
			trouble++
			w.say("the server does not answer; trying again")
		}
		if err := pause(ctx, w.poll<<min(trouble, 4)); err != nil {
			return nil, err
		}
	}
}

func attachable(t *polderv1.Task) bool {
	return t.GetState() == polderv1.TaskState_TASK_STATE_RUNNING || t.GetState() == polderv1.TaskState_TASK_STATE_LEAVING
}

// look returns the newest task of the ask, nil when it has none yet, and whether the ask is open.
func (w *waiter) look(ctx context.Context) (*polderv1.Task, bool, error) {
	ask, err := do(ctx, w.client.ask.Get, &polderv1.AskServiceGetRequest{Id: w.ask})
	if err != nil {
		return nil, false, err
	}
	tasks, err := w.client.tasks(ctx, &polderv1.TaskServiceListRequest{Ask: w.ask, All: true})
	if err != nil {
		return nil, false, err
	}
	var newest *polderv1.Task
	for _, t := range tasks {
		if newest == nil || t.GetAttempt() >= newest.GetAttempt() {
			newest = t
		}
	}
	open := ask.GetState() == "open"
	if open && (newest == nil || ended(newest.GetState()) || newest.GetState() == polderv1.TaskState_TASK_STATE_PENDING) && ask.GetReason() != nil {
		w.say("waiting: " + ask.GetReason().GetMessage())
	}
	return newest, open, nil
}

// progress says what happens to the task.
func (w *waiter) progress(t *polderv1.Task) {
	switch t.GetState() {
	case polderv1.TaskState_TASK_STATE_STARTING, polderv1.TaskState_TASK_STATE_RUNNING:
		w.say(fmt.Sprintf("%s is %s on %s, %s", t.GetId(), stateName(t.GetState()), t.GetNode(), paying(t)))
	case polderv1.TaskState_TASK_STATE_LEAVING:
		w.say(fmt.Sprintf("%s must leave by %s, for %s", t.GetId(), stamp(t.GetNotice().GetDeadline()), t.GetNotice().GetClaimant()))
	case polderv1.TaskState_TASK_STATE_UNREACHABLE:
		w.say(fmt.Sprintf("%s does not answer: node %s is unreachable", t.GetId(), t.GetNode()))
	case polderv1.TaskState_TASK_STATE_RECLAIMED, polderv1.TaskState_TASK_STATE_LOST:
		w.say(fmt.Sprintf("%s is %s; it is queued again", t.GetId(), stateName(t.GetState())))
	}
}

func paying(t *polderv1.Task) string {
	if t.GetFunding() == "borrowed" {
		return "on borrowed capacity"
	}
	return "paid by " + t.GetFunding()
}

// say prints a line of progress unless it was the last one.
func (w *waiter) say(line string) {
	if line != w.said {
		w.said = line
		fmt.Fprintln(w.Err, clean(line))
	}
}

// print streams the task's output to its end, once for each attempt.
func (w *waiter) print(ctx context.Context, t *polderv1.Task) {
	started := t.GetState() >= polderv1.TaskState_TASK_STATE_RUNNING && t.GetNode() != ""
	attempt := fmt.Sprintf("%s attempt %d", t.GetId(), t.GetAttempt())
	if !w.follow || !started || w.followed[attempt] {
		return
	}
	w.followed[attempt] = true
	err := w.copyLogs(ctx, w.client, &polderv1.LogsRequest{Task: t.GetId(), Follow: true})
	if err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
		w.say("its output broke off: " + err.Error() + "; see it with: polder logs -f " + t.GetId())
	}
}

// result turns the last task of a closed ask into the command's end.
func (w *waiter) result(t *polderv1.Task) error {
	if t == nil {
		return fail(exitConflict, "Somebody cancelled it; \"polder event --subject "+w.ask+"\" says who.", "%s never started", w.ask)
	}
	if t.ExitCode != nil && t.GetExitCode() != 0 {
		reason := ""
		if text := t.GetReason().GetMessage(); text != "" && !strings.HasPrefix(text, "ended with exit code") { // which is said already
			reason = ": " + text
		}
		fmt.Fprintf(w.Err, "%s %s with exit code %d%s\n", clean(t.GetId()), stateName(t.GetState()), t.GetExitCode(), clean(reason))
		return exitStatus(t.GetExitCode())
	}
	if t.GetState() != polderv1.TaskState_TASK_STATE_SUCCEEDED {
		return fail(exitError, "\"polder why "+t.GetId()+"\" says more.", "%s %s: %s", t.GetId(), stateName(t.GetState()), why(t.GetReason()))
	}
	w.say(t.GetId() + " succeeded")
	return nil
}
