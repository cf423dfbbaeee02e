package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is the runs of one player.
type row struct {
	each   []time.Duration // CPU for a placement
	wall   []time.Duration
	tasks  int
	rss    int64
	faults []string
}

func (r *row) add(o Outcome, rss int64) {
	r.each = append(r.each, o.CPU/time.Duration(max(1, o.Tasks)))
	r.wall = append(r.wall, o.Wall)
	r.tasks, r.rss = o.Tasks, max(r.rss, rss)
	r.faults = append(r.faults, o.Faults...)
}

// report writes the table; a player that the referee objects to has no figure, and makes the program fail.
func report(s Shape, rows map[string]*row) error {
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%d machines, %d leaf roles, %.0f %% of all cpus asked for, deep=%v, seed %d; %d cores, %s, load %s\n\n", s.Agents, s.Leaves, 100*s.Share, s.Deep, s.Seed,
		runtime.NumCPU(), runtime.Version(), strings.Join(strings.Fields(string(load))[:1], ""))
	fmt.Println("| | placements | CPU for each: median (least to most) | placements/CPU-s | wall | most memory |")
	fmt.Println("|---|---:|---:|---:|---:|---:|")
	var refused []string
	for _, p := range players {
		r := rows[p.name]
		switch {
		case r == nil:
		case len(r.faults) > 0:
			fmt.Printf("| %s | %d | **REFUSED by the referee:** %s | 0 | | |\n", p.name, r.tasks, strings.Join(r.faults[:min(3, len(r.faults))], "; "))
			refused = append(refused, p.name)
		default:
			slices.Sort(r.each)
			slices.Sort(r.wall)
			mid := r.each[len(r.each)/2]
			fmt.Printf("| %s | %d | %s (%s to %s) | %.0f | %.2f s | %d MiB |\n", p.name, r.tasks, micro(mid), micro(r.each[0]), micro(r.each[len(r.each)-1]),
				1/mid.Seconds(), r.wall[len(r.wall)/2].Seconds(), r.rss>>20)
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("the referee objects to %s", strings.Join(refused, ", "))
	}
	return nil
}

func micro(d time.Duration) string {
	return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
}
