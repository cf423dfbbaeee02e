package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	var s Shape
	flag.IntVar(&s.Agents, "agents", 10_000, "machines")
	flag.IntVar(&s.Leaves, "leaves", 300, "leaf roles: a multiple of 25")
	flag.Float64Var(&s.Share, "share", 0.1, "how much of all cpus is asked for; 0.9 fills the machines and takes peers minutes")
	flag.BoolVar(&s.Deep, "deep", false, "one leaf asks for half of everything")
	flag.Uint64Var(&s.Seed, "seed", 1, "what the work is made from")
	repeat := flag.Int("repeat", 3, "how often each plays")
	only := flag.String("only", "", "those whose name has this in it")
	play := flag.String("play", "", "be this player, once, and write the outcome as JSON")
	flag.Parse()
	err := errors.New("unexpected argument " + flag.Arg(0))
	switch {
	case flag.NArg() > 0:
	case *play != "":
		err = playOnce(*play, s)
	default:
		err = compare(s, *only, *repeat)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// playOnce is one player's run in this process.
func playOnce(name string, s Shape) error {
	for _, p := range players {
		if p.name != name {
			continue
		}
		w := s.work()
		out, err := p.play(w)
		out.Tasks, out.Faults = len(out.Placed), w.judge(out.Placed)
		if err != nil {
			out.Faults = append([]string{err.Error()}, out.Faults...)
		}
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	return fmt.Errorf("there is no player %q", name)
}

// compare lets the players take turns, each time in a process of its own, and prints a table.
func compare(s Shape, only string, repeat int) error {
	rows := map[string]*row{}
	for round := range repeat {
		for _, p := range players {
			if !strings.Contains(p.name, only) {
				continue
			}
			if rows[p.name] == nil {
				rows[p.name] = &row{}
			}
			out, rss, err := child(p.name, s)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			fmt.Fprintf(os.Stderr, "%d/%d %s: %d placements in %.2f s of CPU, %.2f s of wall\n", round+1, repeat, p.name, out.Tasks, out.CPU.Seconds(), out.Wall.Seconds())
			rows[p.name].add(out, rss)
		}
	}
	return report(s, rows)
}

// child is one player's run in a process of its own, and the most memory that had.
func child(name string, s Shape) (out Outcome, rss int64, err error) {
	cmd := exec.Command(os.Args[0], "-play", name, "-agents", strconv.Itoa(s.Agents), "-leaves", strconv.Itoa(s.Leaves), "-share", fmt.Sprint(s.Share),
		"-deep="+strconv.FormatBool(s.Deep), "-seed", strconv.FormatUint(s.Seed, 10))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return out, 0, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return out, 0, fmt.Errorf("its outcome: %w", err)
	}
	return out, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024, nil
}
