package bench

import (
	"runtime"
	"syscall"
	"time"
)

// Cost is what a piece of work took.
type Cost struct {
	CPU, Wall time.Duration
}

// Measure runs f and says what it cost. What happened before is collected first, so that it is not paid for here.
func Measure(f func()) Cost {
	runtime.GC()
	cpu, wall := cpuTime(), time.Now()
	f()
	return Cost{cpuTime() - cpu, time.Since(wall)}
}

// stopwatch measures work that is done in short turns, too short to collect before each.
type stopwatch struct{ Cost }

func (w *stopwatch) time(f func()) {
	cpu, wall := cpuTime(), time.Now()
	f()
	w.CPU += cpuTime() - cpu
	w.Wall += time.Since(wall)
}

// cpuTime is the user and system time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail with these arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap is the memory in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
