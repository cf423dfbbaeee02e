package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"polder.dev/polder/agent/runtime/process"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/cmd/polder/start"
)

func main() {
	process.MaybeInit() // does not return in a process that is to become a task
	m := cli.Main{
		Streams:   cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		Processes: cli.Processes{Up: start.Up, Server: start.Server, Agent: start.Agent, Demo: start.Demo},
		Version:   start.Version,
		Getenv:    os.Getenv,
	}
	os.Exit(m.Run(untilTold(), os.Args[1:]))
}

// untilTold ends at the first Ctrl-C or order to end. One order may come twice, from the terminal and from a script that
// passes it on; a second one later than that ends the process at once.
func untilTold() context.Context {
	orders := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup means to outlive the terminal
		orders = append(orders, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), orders...)
	context.AfterFunc(ctx, func() { time.AfterFunc(start.OneOrder, stop) })
	return ctx
}
