package cli

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// execFlags are the flags of exec.
type execFlags struct{ stdin, tty bool }

func (o *execFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.stdin, "stdin", "i", false, "send standard input; its end is passed on")
	cmd.Flags().BoolVarP(&o.tty, "tty", "t", false, "give it a terminal; keys, Ctrl-C among them, go to the task")
}

func (a *app) execCmd() *cobra.Command {
	var o execFlags
	cmd := &cobra.Command{
		Use: "exec TASK -- COMMAND...", Short: "Run a command inside a task", Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.firstArg(taskNames),
		Long:    "Run a command inside a task and exit with its code. With -it it is like a terminal on that machine.",
		Example: "  polder exec -it train-1.0 -- sh\n  polder exec train-1.0 -- df -h\n  tar c . | polder exec -i train-1.0 -- tar x -C /tmp",
	}
	o.register(cmd)
	cmd.Flags().SetInterspersed(false) // flags after the task belong to the command
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		command := args[1:]
		if command[0] == "--" {
			command = command[1:]
		}
		if len(command) == 0 {
			return usageError(cmd, errors.New("no command after --; \"polder attach TASK\" connects to the task itself"))
		}
		return a.call(func(ctx context.Context, c *client, args []string) error {
			return a.exec(ctx, c, args[0], command, o)
		})(cmd, args)
	}
	return cmd
}

// exec runs the command in the task and ends with its exit code.
func (a *app) exec(ctx context.Context, c *client, task string, command []string, o execFlags) error {
	fd, isTerminal := terminal(a.In)
	if o.tty && !isTerminal {
		return fail(exitUsage, "Leave out -t; -i alone sends the input.", "standard input is not a terminal")
	}
	id, err := c.taskID(ctx, task)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream and whoever still sends on it
	stream := c.task.Exec(ctx)
	s := &session{write: stream.Send, read: stream.Receive}
	defer stream.CloseResponse()
	if err := s.send(&polderv1.ExecRequest{Start: &polderv1.ExecStart{Task: id, Command: command, Tty: o.tty}}); err != nil {
		return s.failure(err)
	}
	return a.converse(ctx, s, o.stdin || o.tty, o.tty, fd)
}

// converse sends input, if it is wanted, and prints output until the last message; raw makes our terminal the other side's.
func (a *app) converse(ctx context.Context, s *session, input, raw bool, fd int) error {
	if raw {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fail(exitError, "Use no terminal: leave out -t.", "the terminal cannot be made raw: %v", err)
		}
		defer term.Restore(fd, old)
		defer s.followSize(ctx, fd)()
	}
	// The reader of standard input cannot be interrupted: at the end it is left waiting for a key that nobody wants.
	go s.feed(a.In, input)
	return s.receive(a.Out, a.Err)
}

// session is one open exec or attach stream. Sending is serialised: input, resizes and the end of input come from different
// goroutines.
type session struct {
	mu     sync.Mutex // held only while sending
	write  func(*polderv1.ExecRequest) error
	read   func() (*polderv1.ExecResponse, error)
	keys   *detachKeys // nil: none end the session
	detach func()      // called when the keys were pressed
}

func (s *session) send(m *polderv1.ExecRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(m)
}

// failure finds the server's word behind a failed send, which is only io.EOF.
func (s *session) failure(err error) error {
	if errors.Is(err, io.EOF) {
		_, err = s.read()
	}
	return err
}

// feed sends input to its end and then says that it has ended. Without input it says so at once. A failed send ends it:
// receive has the reason.
func (s *session) feed(in io.Reader, wanted bool) {
	buf := make([]byte, 32<<10)
	for wanted {
		n, err := in.Read(buf)
		text, left := s.keys.filter(buf[:n])
		if len(text) > 0 && s.send(&polderv1.ExecRequest{Stdin: text}) != nil {
			return
		}
		if left {
			s.detach()
			return
		}
		if err != nil {
			break
		}
	}
	_ = s.send(&polderv1.ExecRequest{CloseStdin: true}) // receive has the reason if this fails
}

// resize tells the size of our terminal.
func (s *session) resize(fd int) {
	width, height, err := term.GetSize(fd)
	if err == nil {
		_ = s.send(&polderv1.ExecRequest{Resize: &polderv1.TerminalSize{Rows: uint32(height), Columns: uint32(width)}})
	}
}

// receive prints output until the last message, which carries the exit code.
func (s *session) receive(out, errOut io.Writer) error {
	for {
		m, err := s.read()
		if errors.Is(err, io.EOF) {
			return fail(exitError, "Try again; \"polder ps\" shows whether the task still runs.", "the connection ended before the command did")
		}
		if err != nil {
			return err
		}
		w := out
		if m.GetStderr() {
			w = errOut
		}
		if _, err := w.Write(m.GetData()); err != nil {
			return err
		}
		if m.ExitCode == nil {
			continue
		}
		if m.GetExitCode() != 0 {
			return exitStatus(m.GetExitCode())
		}
		return nil
	}
}
