package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"polder.dev/polder/cmd/polder/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	m := cli.Main{
		Streams: cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		Getenv:  os.Getenv,
	}
	os.Exit(m.Run(ctx, os.Args[1:]))
}
