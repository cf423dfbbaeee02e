package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options say how much chaos there is.
type options struct {
	notices int
	seed    uint64
	work    time.Duration // the longest a borrower works
	keep    bool
	patient time.Duration // how long nothing may happen
}

func main() {
	o := options{patient: 2 * time.Minute}
	flag.IntVar(&o.notices, "notices", 60, "notices to give")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of everything that is random")
	flag.DurationVar(&o.work, "work", 15*time.Second, "the longest a borrower works; the longer, the fewer notices are withdrawn because others end")
	flag.BoolVar(&o.keep, "keep", false, "keep the directory with logs and journals")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	v, err := play(ctx, os.Stdout, o)
	stop()
	if err == nil && v.bad() {
		err = errors.New("what must not happen has happened")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// play tells one story and returns the verdict on it.
func play(ctx context.Context, out io.Writer, o options) (v *verdict, err error) {
	s, err := open(ctx, out, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close(err != nil || v != nil && v.bad())) }()
	if err := s.act(ctx); err != nil {
		return nil, err
	}
	runs, err := s.witness.Runs()
	if err := errors.Join(err, s.write(runs)); err != nil {
		return nil, err
	}
	v = judge(runs, s.asks)
	v.kills, v.took = &s.kills, time.Since(s.began)
	v.print(out, o)
	return v, nil
}
