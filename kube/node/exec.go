package node

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
)

// Command is one to run in a pod of this node.
type Command struct {
	Dir        string // of the node
	Containerd string // its socket; empty is the node's own
	Pod        string // uid
	Args       []string
	TTY        bool

	In       io.Reader // nil is none
	Out, Err io.Writer
	Sizes    io.Reader // of the terminal, as they change: a line each, rows and columns
}

// Exec runs a command in the pod's container that has run for the longest, and returns how it ended.
func Exec(ctx context.Context, c Command) (code int, err error) {
	socket := cmp.Or(c.Containerd, filepath.Join(c.Dir, "containerd.sock"))
	r, err := cri.NewRemoteRuntimeServiceBuilder().WithEndpoint("unix://" + socket).WithConnectionTimeout(purgeLimit).Build(ctx)
	if err != nil {
		return 0, err
	}
	list, err := r.ListContainers(ctx, &runtimev1.ContainerFilter{
		State: &runtimev1.ContainerStateValue{State: runtimev1.ContainerState_CONTAINER_RUNNING}, LabelSelector: map[string]string{uidLabel: c.Pod},
	})
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return 0, errors.New("no container of the pod runs now")
	}
	first := slices.MinFunc(list, func(a, b *runtimev1.Container) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	res, err := r.Exec(ctx, &runtimev1.ExecRequest{ContainerId: first.Id, Cmd: c.Args, Tty: c.TTY, Stdin: c.In != nil, Stdout: true, Stderr: !c.TTY})
	if err != nil {
		return 0, err
	}
	return c.stream(ctx, res.GetUrl())
}

// stream connects the command's streams, which the container engine serves at an address of its own.
func (c Command) stream(ctx context.Context, at string) (code int, err error) {
	u, err := url.Parse(at)
	if err != nil {
		return 0, err
	}
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: u.Host}, "POST", u)
	if err != nil {
		return 0, err
	}
	o := remotecommand.StreamOptions{Stdin: c.In, Stdout: c.Out, Stderr: c.Err, Tty: c.TTY}
	if c.TTY {
		o.Stderr, o.TerminalSizeQueue = nil, &sizes{bufio.NewScanner(c.Sizes)}
	}
	err = e.StreamWithContext(ctx, o)
	var exit utilexec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// sizes are a terminal's, line by line.
type sizes struct{ lines *bufio.Scanner }

// Next implements [remotecommand.TerminalSizeQueue].
func (s *sizes) Next() *remotecommand.TerminalSize {
	size := &remotecommand.TerminalSize{}
	for s.lines.Scan() {
		if _, err := fmt.Sscan(s.lines.Text(), &size.Height, &size.Width); err == nil {
			return size
		}
	}
	return nil
}
