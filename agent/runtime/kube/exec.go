package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"polder.dev/polder/agent/runtime"
)

// lastOutput is how long streams of a program that was told to end may stay open.
const lastOutput = 2 * time.Second

// execResult is what the program says on descriptor 3 when the command has ended, or could not be run.
type execResult struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

// Exec runs a command in the first running container of the pod, through the program that the node's file names for it. That
// program gets the command's streams as its own; on descriptor 4 it is told the sizes of a terminal, a line each.
func (r *Runtime) Exec(ctx context.Context, taskID string, opt runtime.ExecOptions) (int, error) {
	t, err := r.lookup("exec", taskID)
	if err != nil {
		return 0, err
	}
	fail := func(kind, cause error, next string) (int, error) {
		return 0, &runtime.Error{Kind: kind, Op: "exec", Task: taskID, Cause: cause, Next: next}
	}
	if r.opt.Kubelet != "" { // containers are not ours to look into
		return 0, r.unsupported("exec", taskID)
	}
	c, err := readConfig(r.opt.Config)
	switch {
	case t.ended():
		return fail(runtime.ErrNotRunning, nil, "")
	case len(opt.Command) == 0:
		return fail(runtime.ErrInvalid, errors.New("no command"), "")
	case opt.User != "" || opt.WorkDir != "" || len(opt.Env) > 0:
		return fail(runtime.ErrUnsupported, errors.New("in a pod a command has the container's user, directory and environment"), "use su, cd or env in the command")
	case err != nil:
		return 0, err
	case len(c.Exec) == 0:
		return 0, r.unsupported("exec", taskID)
	}
	args := slices.Concat(c.Exec[1:], []string{"--dir", filepath.Join(r.opt.State, "node"), "--pod", t.uid()})
	if opt.Stdin != nil {
		args = append(args, "--stdin")
	}
	if opt.TTY {
		args = append(args, "--tty")
	}
	res, err := runExec(exec.CommandContext(ctx, c.Exec[0], append(append(args, "--"), opt.Command...)...), opt)
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		return fail(runtime.ErrStart, err, "")
	case res.Error != "":
		return fail(runtime.ErrStart, errors.New(res.Error), "")
	}
	return res.Code, nil
}

// runExec runs the program to its end.
func runExec(cmd *exec.Cmd, opt runtime.ExecOptions) (res execResult, err error) {
	said, say, err := os.Pipe()
	if err != nil {
		return res, err
	}
	defer said.Close()
	sizes, size, err := os.Pipe()
	if err != nil {
		return res, errors.Join(err, say.Close())
	}
	defer size.Close()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = opt.Stdout, opt.Stderr, []*os.File{say, sizes}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = lastOutput
	stdin := func() {}
	if opt.Stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return res, errors.Join(err, say.Close(), sizes.Close())
		}
		stdin = func() { // ends with the program, whose pipe breaks, or with what the caller sends
			_, _ = io.Copy(in, opt.Stdin)
			in.Close()
		}
	}
	err = cmd.Start()
	say.Close()
	sizes.Close()
	if err != nil {
		return res, err
	}
	go stdin()
	ended := make(chan struct{})
	go sendSizes(size, opt.Resize, ended)
	err = cmd.Wait()
	close(ended)
	_ = said.SetReadDeadline(time.Now().Add(lastOutput)) // what the command has left behind may hold the other end
	if jsonErr := json.NewDecoder(said).Decode(&res); jsonErr != nil {
		return res, fmt.Errorf("the program for commands in pods ended without a word: %w", cmp.Or(err, jsonErr))
	}
	return res, nil
}

// sendSizes passes sizes on as they come.
func sendSizes(to io.Writer, sizes <-chan runtime.Size, ended <-chan struct{}) {
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				return
			}
			if _, err := fmt.Fprintln(to, s.Rows, s.Cols); err != nil {
				return
			}
		case <-ended:
			return
		}
	}
}
