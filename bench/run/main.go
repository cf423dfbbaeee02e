// Command run measures the core and prints one table. See package bench.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"

	"polder.dev/polder/bench"
)

func main() {
	size := flag.String("size", "standard", "small (seconds), standard (10,000 machines) or full (50,000 machines and the growth curves)")
	only := flag.String("only", "", "run only workloads whose name has this in it")
	seed := flag.Uint64("seed", 1, "what the workloads are made from")
	markdown := flag.String("markdown", "", "write the table to this file too")
	asJSON := flag.String("json", "", "write the results to this file too")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this file")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	results, err := run(*size, *only, *seed)
	if err == nil {
		err = write(results, *markdown, *asJSON)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(size, only string, seed uint64) ([]bench.Result, error) {
	suite, err := bench.Suite(size)
	if err != nil {
		return nil, err
	}
	var results []bench.Result
	for _, w := range suite {
		if !strings.Contains(w.Name, only) && !strings.HasPrefix(w.Name, "bounds") {
			continue // the rest is told in parts of the bounds
		}
		fmt.Fprintf(os.Stderr, "%s …\n", w.Name)
		rs := w.Run(seed)
		for _, r := range rs {
			fmt.Fprintf(os.Stderr, "  %s, %s: %d × %v\n", r.Workload, r.Case, r.Units, r.Per())
		}
		results = append(results, rs...)
		runtime.GC()
	}
	return results, nil
}

// write prints the table, and fails when the referee objected to anything.
func write(results []bench.Result, markdown, asJSON string) error {
	bench.WriteMarkdown(os.Stdout, results)
	if err := toFile(markdown, func(w io.Writer) error { bench.WriteMarkdown(w, results); return nil }); err != nil {
		return err
	}
	if err := toFile(asJSON, func(w io.Writer) error { return bench.WriteJSON(w, results) }); err != nil {
		return err
	}
	for _, r := range results {
		if len(r.Faults) > 0 {
			return fmt.Errorf("%s %s: the referee objects: %s", r.Workload, r.Case, r.Faults[0])
		}
	}
	return nil
}

func toFile(path string, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
