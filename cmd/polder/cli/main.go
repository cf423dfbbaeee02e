package cli

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Streams are the three standard streams of a command. Terminal features (colours, redrawing, raw mode) are used only
// where a stream is an *os.File that is a terminal.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Processes are the long-running commands. Each returns when ctx ends or on failure, with everything it started stopped.
// A nil one makes its command fail with a sentence that says so.
type Processes struct {
	Up     func(ctx context.Context, s Streams, o UpOptions) error
	Server func(ctx context.Context, s Streams, o ServerOptions) error
	Agent  func(ctx context.Context, s Streams, o AgentOptions) error
	Demo   func(ctx context.Context, s Streams, o DemoOptions) error
}

// Main is one invocation of the command line.
type Main struct {
	Streams
	Processes
	// Version is this build's; empty is what the build information says.
	Version string
	// Getenv reads the environment; nil is an empty environment.
	Getenv func(string) string
}

// Run executes the command in args (without the program's name) and returns the exit code. Errors are printed to Err.
// When ctx ends, the command stops; a task it started goes on.
func (m Main) Run(ctx context.Context, args []string) int {
	return newApp(m).run(ctx, args)
}

// app is what the commands share.
type app struct {
	Main
	conn connection
	// poll is the time between two looks at something that has no stream.
	poll time.Duration
	now  func() time.Time
}

func newApp(m Main) *app {
	if m.Getenv == nil {
		m.Getenv = func(string) string { return "" }
	}
	return &app{Main: m, poll: time.Second, now: time.Now}
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(cmd, err)
}

// terminal returns the descriptor of a stream that is a terminal.
func terminal(stream any) (fd int, ok bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// colour reports whether output may be coloured: on a terminal, unless NO_COLOR is set.
func (a *app) colour() bool {
	_, tty := terminal(a.Out)
	return tty && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb"
}

// pause waits for d or the end of ctx, whose error it returns.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
