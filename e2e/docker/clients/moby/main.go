// Command moby goes through a container's life with the client library of Docker's own engine, found by its environment. It says ok, or
// ends with what went wrong. The image is its argument.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.New(client.FromEnv)
	if err == nil {
		err = life(ctx, c, os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

const name = "moby-client"

// life makes a container that echoes its input, and does to it what programs do.
func life(ctx context.Context, c *client.Client, image string) error {
	told := c.Events(ctx, client.EventsListOptions{Filters: client.Filters{}.Add("container", name).Add("type", "container")})
	made, err := c.ContainerCreate(ctx, client.ContainerCreateOptions{Name: name,
		Config:     &container.Config{Image: image, Cmd: []string{"sh", "-c", "cat; sleep 600"}, OpenStdin: true, StdinOnce: true, AttachStdin: true},
		HostConfig: &container.HostConfig{Resources: container.Resources{Memory: 64 << 20, NanoCPUs: 100_000_000}}})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer c.ContainerRemove(context.WithoutCancel(ctx), made.ID, client.ContainerRemoveOptions{Force: true})
	ended := c.ContainerWait(ctx, made.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	return first(
		func() error { return echoed(ctx, c, made.ID) },
		func() error { return execed(ctx, c, made.ID) },
		func() error { return copied(ctx, c, made.ID) },
		func() error { return resized(ctx, c, made.ID) },
		func() error { return stopped(ctx, c, made.ID, ended) },
		func() error { return heard(told, "create", "start", "die") },
	)
}

// first runs steps until one fails.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func want(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s: %q, want %q", what, got, want)
	}
	return nil
}

// echoed attaches before the start, as docker run does, and ends the input while the output goes on.
func echoed(ctx context.Context, c *client.Client, id string) error {
	a, err := c.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer a.Close()
	if _, err := c.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	text := strings.Repeat("over and back ", 5000)
	if _, err := io.WriteString(a.Conn, text); err != nil {
		return err
	}
	if err := a.CloseWrite(); err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(demultiplexed(a.Reader), int64(len(text)))) // the container goes on
	return errors.Join(err, want("the echo", string(said), text))
}

// demultiplexed is the output in a stream of output and errors.
func demultiplexed(stream io.Reader) io.Reader {
	r, w := io.Pipe()
	go func() { // ends with the stream, or with the program
		_, err := stdcopy.StdCopy(w, io.Discard, stream)
		w.CloseWithError(err)
	}()
	return r
}

func execed(ctx context.Context, c *client.Client, id string) error {
	e, err := c.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: []string{"sh", "-c", "cat; echo wrong >&2; exit 3"}, AttachStdin: true, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	a, err := c.ExecAttach(ctx, e.ID, client.ExecAttachOptions{})
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	defer a.Close()
	text := strings.Repeat("typed ", 20_000)
	if _, err := io.WriteString(a.Conn, text); err != nil {
		return err
	}
	if err := a.CloseWrite(); err != nil {
		return err
	}
	var out, errOut bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errOut, a.Reader); err != nil {
		return fmt.Errorf("exec's output: %w", err)
	}
	state, err := c.ExecInspect(ctx, e.ID, client.ExecInspectOptions{})
	return errors.Join(err, want("exec", out.String(), text), want("exec's errors", errOut.String(), "wrong\n"), want("exec's code", fmt.Sprint(state.ExitCode), "3"))
}

func copied(ctx context.Context, c *client.Client, id string) error {
	var there bytes.Buffer
	w := tar.NewWriter(&there)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "note", Mode: 0o644, Size: 4}), text(w, "kept"), w.Close()); err != nil {
		return err
	}
	if _, err := c.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/tmp", Content: &there}); err != nil {
		return fmt.Errorf("copy into: %w", err)
	}
	back, err := c.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: "/tmp/note"})
	if err != nil {
		return fmt.Errorf("copy from: %w", err)
	}
	defer back.Content.Close()
	r := tar.NewReader(back.Content)
	if _, err := r.Next(); err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	return errors.Join(err, want("the file", string(data), "kept"))
}

func text(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

func resized(ctx context.Context, c *client.Client, id string) error {
	if _, err := c.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{Resources: &container.Resources{NanoCPUs: 200_000_000}}); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	now, err := c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	list, err := c.ContainerList(ctx, client.ContainerListOptions{Filters: client.Filters{}.Add("name", name)})
	if err != nil || len(list.Items) != 1 {
		return fmt.Errorf("list: %d containers, %w", len(list.Items), err)
	}
	return errors.Join(want("its cpus", fmt.Sprint(now.Container.HostConfig.NanoCPUs), "200000000"), want("its id", list.Items[0].ID, id))
}

func stopped(ctx context.Context, c *client.Client, id string, ended client.ContainerWaitResult) error {
	now := 0
	if _, err := c.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &now}); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	select {
	case res := <-ended.Result:
		return want("its code", fmt.Sprint(res.StatusCode), "137")
	case err := <-ended.Error:
		return fmt.Errorf("wait: %w", err)
	}
}

// heard waits until all of some events were told.
func heard(told client.EventsResult, actions ...events.Action) error {
	missing := map[events.Action]bool{}
	for _, a := range actions {
		missing[a] = true
	}
	for len(missing) > 0 {
		select {
		case m := <-told.Messages:
			delete(missing, m.Action)
		case err := <-told.Err:
			return fmt.Errorf("events: %w, without %v", err, missing)
		}
	}
	return nil
}
