package kube

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	restartFirst = time.Second
	restartMost  = 30 * time.Second
	steady       = time.Minute      // after so long a program's end is not its start's fault
	stopPatience = 30 * time.Second // between SIGTERM and SIGKILL
)

// node keeps the program of the node running while it is wanted.
type node struct {
	opt  Options
	poke chan struct{} // holds one: the wish has changed

	mu     sync.Mutex
	wanted bool
	since  time.Time // of an unwanted state
}

func newNode(opt Options) *node {
	return &node{opt: opt, poke: make(chan struct{}, 1), since: time.Now()}
}

// want says whether there are tasks.
func (n *node) want(wanted bool) {
	n.mu.Lock()
	changed := wanted != n.wanted
	if changed {
		n.wanted, n.since = wanted, time.Now()
	}
	n.mu.Unlock()
	if changed {
		select {
		case n.poke <- struct{}{}:
		default:
		}
	}
}

// idleIn is how long the program may still run with nothing to do; forever is true while there is something.
func (n *node) idleIn() (left time.Duration, forever bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(0, n.opt.Idle-time.Since(n.since)), n.wanted
}

// run starts and stops the program until ctx is done.
func (n *node) run(ctx context.Context) {
	backoff := restartFirst
	for ctx.Err() == nil {
		if _, wanted := n.idleIn(); !wanted {
			select {
			case <-n.poke:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		err := n.once(ctx)
		if ctx.Err() != nil || err == nil {
			backoff = restartFirst
			continue
		}
		if time.Since(began) > steady {
			backoff = restartFirst
		}
		n.opt.Logger.Warn("the node's program ended and is started again", "node", n.opt.Node, "error", err, "in", backoff, "log", n.logFile())
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, restartMost)
	}
}

func (n *node) logFile() string { return filepath.Join(n.opt.State, "node.log") }

// once runs the program until it ends by itself, which is an error, or was idle for long enough, or ctx is done.
func (n *node) once(ctx context.Context) error {
	// The program is told when the thread that started it ends, not the process: keep the thread.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	cmd, err := n.command()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	n.opt.Logger.Info("the node's program starts", "node", n.opt.Node, "pid", cmd.Process.Pid, "log", n.logFile())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err, byItself := n.await(ctx, ended); byItself {
		return errors.Join(errors.New("it ended by itself"), err)
	}
	stopProgram(cmd.Process, ended)
	if _, wanted := n.idleIn(); !wanted {
		n.opt.Tree.RemovePods()
	}
	return nil
}

func (n *node) command() (*exec.Cmd, error) {
	c, err := readConfig(n.opt.Config)
	if err != nil {
		return nil, err
	}
	parent, err := n.opt.Tree.MakePods()
	if err != nil {
		return nil, err
	}
	args := append(c.Command[1:len(c.Command):len(c.Command)], "--node", n.opt.Node, "--dir", filepath.Join(n.opt.State, "node"), "--cgroup", parent,
		"--cpu", strconv.FormatInt(n.opt.CPU, 10)+"m", "--memory", strconv.FormatInt(n.opt.MemoryBytes, 10))
	cmd := exec.Command(c.Command[0], args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return cmd, nil
}

// await returns when the program ended by itself or is to be stopped.
func (n *node) await(ctx context.Context, ended <-chan error) (err error, byItself bool) {
	for {
		left, forever := n.idleIn()
		if forever {
			left = time.Hour
		} else if left == 0 {
			n.opt.Logger.Info("the node's program stops: there are no pods", "node", n.opt.Node)
			return nil, false
		}
		select {
		case err := <-ended:
			return err, true
		case <-ctx.Done():
			return nil, false
		case <-n.poke:
		case <-time.After(left):
		}
	}
}

// stopProgram asks, then insists.
func stopProgram(p *os.Process, ended <-chan error) {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopPatience):
		_ = p.Kill()
		<-ended
	}
}
