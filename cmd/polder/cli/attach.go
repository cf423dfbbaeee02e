package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// attachFlags are the flags of attach.
type attachFlags struct {
	stdin, logs bool
	keys        string
}

const usualKeys = "ctrl-p,ctrl-q"

func registerKeys(cmd *cobra.Command, keys *string) {
	cmd.Flags().StringVar(keys, "detach-keys", usualKeys, "`keys` that leave a task's terminal and let it go on: letters or ctrl-LETTER, with commas between")
}

func (a *app) attachCmd() *cobra.Command {
	var o attachFlags
	cmd := &cobra.Command{
		Use: "attach TASK", Short: "Connect to a task's own input and output", Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(taskNames),
		Long: `Connect to a task's own input and output, until it ends, and exit with its code. Leaving does not touch the task.

Without -i only output is shown, which every task allows. With -i the task must have been started with stdin or tty. On a
task's terminal keys go to the task, Ctrl-C among them; Ctrl-P Ctrl-Q leaves. Without a terminal the end of the input is
passed on, and Ctrl-C leaves; in a container without tty the input is over then.`,
		Example: "  polder attach train-1.0\n  polder attach -i shell-1.0\n  echo data | polder attach -i sort-1.0",
	}
	cmd.Flags().BoolVarP(&o.stdin, "stdin", "i", false, "send standard input; its end is passed on")
	cmd.Flags().BoolVar(&o.logs, "logs", false, "begin with what it has written so far")
	registerKeys(cmd, &o.keys)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		keys, err := parseKeys(o.keys)
		if err != nil {
			return usageError(cmd, err)
		}
		return a.call(func(ctx context.Context, c *client, args []string) error {
			id, err := c.taskID(ctx, args[0])
			if err != nil {
				return err
			}
			return a.attach(ctx, c, &polderv1.AttachStart{Task: id, Stdin: o.stdin, Logs: o.logs}, keys)
		})(cmd, args)
	}
	return cmd
}

// errDetached is the end of an attachment that our side wanted.
var errDetached = errors.New("detached")

// attach connects to a task and ends with its exit code.
func (a *app) attach(ctx context.Context, c *client, start *polderv1.AttachStart, keys *detachKeys) error {
	task, err := do(ctx, c.task.Get, &polderv1.TaskServiceGetRequest{Id: start.Task})
	if err != nil {
		return err
	}
	fd, isTerminal := terminal(a.In)
	raw := start.Stdin && task.GetSpec().GetTty() && isTerminal
	attached, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // ends the stream and whoever still sends on it
	stream := c.task.Attach(attached)
	defer stream.CloseResponse()
	defer context.AfterFunc(attached, func() { stream.CloseRequest() })() // the transport waits for more to send otherwise
	s := &session{detach: func() { cancel(errDetached) }, write: func(m *polderv1.ExecRequest) error {
		return stream.Send(&polderv1.AttachRequest{Stdin: m.Stdin, CloseStdin: m.CloseStdin, Resize: m.Resize})
	}, read: func() (*polderv1.ExecResponse, error) {
		m, err := stream.Receive()
		if err != nil {
			return nil, err
		}
		return &polderv1.ExecResponse{Data: m.GetData(), Stderr: m.GetStderr(), ExitCode: m.ExitCode}, nil
	}}
	if raw {
		s.keys = keys
	}
	if err := stream.Send(&polderv1.AttachRequest{Start: start}); err != nil {
		return s.failure(err)
	}
	err = a.converse(attached, s, start.Stdin, raw, fd)
	switch {
	case context.Cause(attached) == errDetached:
		fmt.Fprintf(a.Err, "left %s, which goes on; come back with: polder attach -i %s\n", clean(start.Task), clean(start.Task))
		return nil
	case ctx.Err() != nil:
		return fail(exitInterrupted, "It goes on: \"polder attach "+start.Task+"\" connects again.", "disconnected from %s", start.Task)
	}
	return err
}

// detachKeys looks for the keys that leave a terminal in what is typed.
type detachKeys struct {
	keys []byte
	held int // so many of the keys were typed last, and are held back
}

// parseKeys reads "a,ctrl-b"; nothing at all is no keys.
func parseKeys(text string) (*detachKeys, error) {
	if text == "" {
		return nil, nil
	}
	d := &detachKeys{}
	for _, word := range strings.Split(text, ",") {
		letter, ctrl := strings.CutPrefix(word, "ctrl-")
		switch {
		case len(letter) != 1, ctrl && !strings.Contains("abcdefghijklmnopqrstuvwxyz@[\\]^_", letter):
			return nil, fmt.Errorf("--detach-keys %q: %q is no key; write letters or ctrl-LETTER with commas between, as in %s", text, word, usualKeys)
		case ctrl:
			d.keys = append(d.keys, letter[0]&0x1f)
		default:
			d.keys = append(d.keys, letter[0])
		}
	}
	return d, nil
}

// filter returns what of the typed bytes is for the task, and whether the keys are complete. What may be their beginning is
// held back until it is clear.
func (d *detachKeys) filter(typed []byte) (text []byte, left bool) {
	if d == nil {
		return typed, false
	}
	for _, b := range typed {
		for d.held > 0 && b != d.keys[d.held] { // the longest beginning that this may still continue
			n := d.shorter()
			text = append(text, d.keys[:d.held-n]...)
			d.held = n
		}
		if b != d.keys[d.held] {
			text = append(text, b)
			continue
		}
		if d.held++; d.held == len(d.keys) {
			return text, true
		}
	}
	return text, false
}

// shorter is the length of the longest proper beginning of the keys that the held ones end with.
func (d *detachKeys) shorter() int {
	held := string(d.keys[:d.held])
	for n := d.held - 1; n > 0; n-- {
		if strings.HasSuffix(held, held[:n]) {
			return n
		}
	}
	return 0
}
