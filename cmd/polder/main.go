package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"polder.dev/polder/agent/runtime/process"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/cmd/polder/start"
)

func main() {
	process.MaybeInit() // does not return in a process that is to become a task
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	m := cli.Main{
		Streams:   cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		Processes: cli.Processes{Up: start.Up, Server: start.Server, Agent: start.Agent, Demo: start.Demo},
		Version:   start.Version,
		Getenv:    os.Getenv,
	}
	os.Exit(m.Run(ctx, os.Args[1:]))
}
