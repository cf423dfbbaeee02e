package agent

import (
	"fmt"
	"maps"
	"runtime"

	"golang.org/x/sys/unix"

	"polder.dev/polder/core/resource"
)

// What a machine keeps for its system and the agent when its capacity is detected: a twentieth of everything, at least
// a tenth of a core and 256 MiB of memory, but never more than a quarter of the memory.
const (
	reserveShare  = 20
	reserveCPU    = resource.Milli / 10
	reserveMemory = resource.Amount(256 << 20)
)

// Detect measures what this machine can offer: its cores, its memory and the space that is free on the disk of dir, each
// less a reserve of a twentieth (at least 0.1 cpu and 256Mi).
func Detect(dir string) (resource.Resources, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, fmt.Errorf("detecting memory: %w", err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return nil, fmt.Errorf("detecting disk space of %s: %w", dir, err)
	}
	cpu := resource.Amount(runtime.NumCPU()) * resource.Milli
	memory := resource.Amount(uint64(info.Totalram) * uint64(info.Unit))
	space := resource.Amount(disk.Bavail * uint64(disk.Bsize))
	return resource.Resources{
		"cpu":    cpu - max(cpu/reserveShare, reserveCPU),
		"memory": memory - min(max(memory/reserveShare, reserveMemory), memory/4),
		"disk":   space - space/reserveShare,
	}, nil
}

// capacity is what was declared, completed by what was detected.
func capacity(declared resource.Resources, dir string) (resource.Resources, error) {
	out, err := Detect(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; declare cpu, memory and disk instead", err)
	}
	maps.Copy(out, declared)
	return out, nil
}
