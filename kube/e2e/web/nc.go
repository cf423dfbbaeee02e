package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// nc is as much of the program of this name as Kubernetes' own tests call: it connects, sends what it reads and prints what it gets.
func nc(args []string) error {
	f := flag.NewFlagSet("nc", flag.ContinueOnError)
	say, _, udp := f.Bool("v", false, "say what happens"), f.Bool("t", false, "TCP"), f.Bool("u", false, "UDP")
	look, wait := f.Bool("z", false, "connect and leave"), f.Int("w", 5, "seconds to wait")
	var words []string
	for len(args) > 0 { // flags may come behind the address
		if err := f.Parse(args); err != nil {
			return err
		}
		if args = f.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if len(words) != 2 {
		return fmt.Errorf("usage: nc [-v] [-t|-u] [-z] [-w SECONDS] HOST PORT")
	}
	kind, limit := "tcp", time.Duration(*wait)*time.Second
	if *udp {
		kind = "udp"
	}
	c, err := net.DialTimeout(kind, net.JoinHostPort(words[0], words[1]), limit)
	if err != nil {
		return err
	}
	defer c.Close()
	if *say { // some callers take whatever is said for a failure
		fmt.Fprintln(os.Stderr, "connected to", c.RemoteAddr())
	}
	if *look {
		return nil
	}
	if _, err := io.Copy(c, os.Stdin); err != nil {
		return err
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	_ = c.SetReadDeadline(time.Now().Add(limit))
	_, _ = io.Copy(os.Stdout, c) // the end of the wait is no error
	return nil
}
