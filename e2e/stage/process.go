package stage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// patience is how long a process has to end after SIGTERM.
const patience = 20 * time.Second

// Process is a program that can be started, killed and started again. Its output is appended to a file.
type Process struct {
	Name string
	argv []string
	log  string

	mu    sync.Mutex // guards all below
	cmd   *exec.Cmd  // nil when it does not run
	ended chan struct{}
}

func newProcess(name, log string, argv ...string) *Process {
	return &Process{Name: name, argv: argv, log: log}
}

// Start starts it. A process that runs is left alone.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the story, which ends everything in order
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		cmd.Wait() // how it ended is in its log
		p.mu.Lock()
		p.cmd = nil
		p.mu.Unlock()
		close(ended)
	}()
	return nil
}

// PID is 0 when it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends it with SIGKILL and returns when it is gone.
func (p *Process) Kill() { p.signal(syscall.SIGKILL, nil) }

// Stop ends it with SIGTERM. It fails when that was not enough.
func (p *Process) Stop() error {
	if !p.signal(syscall.SIGTERM, time.After(patience)) {
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM: see %s", p.Name, patience, p.log)
	}
	return nil
}

// signal reports whether the process was gone before the limit.
func (p *Process) signal(sig syscall.Signal, limit <-chan time.Time) bool {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	if cmd != nil {
		if err := cmd.Process.Signal(sig); errors.Is(err, os.ErrProcessDone) {
			limit = nil
		}
	}
	p.mu.Unlock()
	if cmd == nil {
		return true
	}
	select {
	case <-ended:
		return true
	case <-limit:
		return false
	}
}

// Tail is the end of its output, for errors.
func (p *Process) Tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}
