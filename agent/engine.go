package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"polder.dev/polder/agent/runtime"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// engine is the runtime with a container engine behind it.
func (a *Agent) engine() (runtime.Engine, error) {
	for _, r := range a.c.Runtimes {
		if e, ok := r.(runtime.Engine); ok {
			return e, nil
		}
	}
	return nil, fmt.Errorf("node %s has no container engine", a.c.Node)
}

// relayEngine joins the server with the engine, both ways, until the engine has said everything or the server is gone.
func (a *Agent) relayEngine(ctx context.Context, stream relayStream, cancel func(), received chan<- struct{}) error {
	e, err := a.engine()
	var conn net.Conn
	if err == nil {
		conn, err = e.Dial(ctx)
	}
	if err != nil {
		a.drain(stream, received, cancel)
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	a.running.Go(func() {
		defer close(received)
		defer cancel()
		toEngine(stream, conn)
	})
	up := &relayWriters{stream: stream, turn: make(chan struct{}, 1)}
	if _, err = io.CopyBuffer(struct{ io.Writer }{up.writer(false)}, conn, make([]byte, relayChunk)); ctx.Err() != nil {
		return nil // the server has hung up
	}
	return err
}

// toEngine passes on what comes down, and the end of it, until the server is gone.
func toEngine(stream relayStream, conn net.Conn) {
	for {
		m, err := stream.Receive()
		if err != nil {
			return
		}
		if len(m.Stdin) > 0 {
			if _, err := conn.Write(m.Stdin); err != nil {
				continue // the engine takes no more; it may still have something to say
			}
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok && m.CloseStdin {
			_ = half.CloseWrite() // fails only when the connection is gone, which the other direction sees
		}
	}
}

// relayCreate makes a door's container and tells what the engine answered.
func (a *Agent) relayCreate(ctx context.Context, stream relayStream, m *polderv1.Container, cancel func(), received chan<- struct{}) error {
	a.drain(stream, received, cancel)
	e, err := a.engine()
	if err != nil {
		return err
	}
	c, err := containerOf(m, a.c.Node, containerSandbox(a.c.Dir, m.Id), a.mountable())
	if err != nil {
		return err
	}
	if err := makeContainerSandbox(c.Sandbox); err != nil {
		return err
	}
	status, body, err := e.Create(ctx, *c)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		_ = os.Remove(c.Sandbox) // it is empty, unless another container has it
	}
	return stream.Send(&polderv1.RelayUp{Data: body, Status: uint32(status)})
}

// containerOf translates a door's container for the runtime. The host directories it binds must be among those this agent
// allows, whatever its users may, and none is a volume's: the engine has that under its name.
func containerOf(m *polderv1.Container, node, sandbox string, mounts mountable) (*runtime.Container, error) {
	out := &runtime.Container{
		ID: m.Id, Role: m.Role, Name: m.Name, Version: m.Version, Platform: m.Platform, Node: node, Sandbox: sandbox,
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	var err error
	out.Create, err = bound(m.Create, mounts)
	return out, err
}

func containerSandbox(dir, id string) string { return filepath.Join(dir, "containers", id) }

func makeContainerSandbox(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !os.IsExist(err) {
		return err
	}
	return os.Chmod(dir, 0o777) // whatever the umask is; the directory above is root's
}

// renewContainerSandbox makes the directory for another task in the same container: notices to earlier ones are not its own.
func renewContainerSandbox(dir string) error {
	for _, name := range []string{noticeFile, answerFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return makeContainerSandbox(dir)
}

// bound checks the host directories that a create call binds, and puts the resolved ones in their place.
func bound(create []byte, mounts mountable) ([]byte, error) {
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(create))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		return nil, fmt.Errorf("the container's description: %w", err)
	}
	host, _ := body["HostConfig"].(map[string]any)
	binds, _ := host["Binds"].([]any)
	for i, b := range binds {
		text, _ := b.(string)
		source, rest, _ := strings.Cut(text, ":")
		if !path.IsAbs(source) {
			continue // a volume
		}
		resolved, err := mounts.directory(source)
		if err != nil {
			return nil, err
		}
		binds[i] = resolved + ":" + rest
	}
	list, _ := host["Mounts"].([]any)
	for _, x := range list {
		m, _ := x.(map[string]any)
		if source, _ := m["Source"].(string); m["Type"] == "bind" {
			resolved, err := mounts.directory(source)
			if err != nil {
				return nil, err
			}
			m["Source"] = resolved
		}
	}
	return json.Marshal(body)
}

// recorded tells the runtime that the end of a container's task is on disk.
func (t *task) recorded(ctx context.Context) {
	if e, ok := t.runtime.(runtime.Engine); ok && t.rec.Assignment.GetSpec().GetContainer() != nil {
		t.do(ctx, "removing the container", func(ctx context.Context) error { return e.Recorded(ctx, t.rec.Assignment.Spec.Container.Id) })
	}
}

// sweep removes the sandboxes of containers that their users have removed.
func (a *Agent) sweep(ctx context.Context) {
	e, err := a.engine()
	if err != nil {
		return
	}
	there, err := e.Containers(ctx)
	if err != nil {
		return // the engine is away: nothing is known
	}
	dirs, err := os.ReadDir(filepath.Join(a.c.Dir, "containers"))
	if err != nil {
		return // none was made yet
	}
	for _, d := range dirs {
		if (runtime.Container{ID: d.Name()}).Validate() != nil || slices.Contains(there, d.Name()) {
			continue
		}
		if err := os.RemoveAll(containerSandbox(a.c.Dir, d.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			a.c.Logger.Warn("the directory of a removed container stays", "error", err)
		}
	}
}
