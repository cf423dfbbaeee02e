package cgroup

import (
	"runtime"

	polder "polder.dev/polder/agent/runtime"
)

// share is a weight before it is put into the units of a cgroup version: a guaranteed thousandth of a core is 100
// points, a borrowed one is 1. low is memory the kernel should spare.
type share struct {
	points int64
	low    int64
}

const guaranteedPoints = 100

func shareOf(t Task) share {
	cpu := max(t.CPU, 1)
	if t.Funded == polder.Guaranteed {
		return share{points: cpu * guaranteedPoints, low: t.MemoryBytes}
	}
	return share{points: cpu}
}

func machineShare() share {
	return share{points: int64(runtime.NumCPU()) * 1000 * guaranteedPoints}
}

func (s share) plus(o share) share { return share{s.points + o.points, s.low + o.low} }

// shares is cpu.shares of v1: 1024 for a guaranteed core.
func (s share) shares() int64 { return min(max(s.points*1024/(1000*guaranteedPoints), 2), 262144) }

// weight is cpu.weight of v2: 100 for a guaranteed core, so that a machine of 100 cores fits.
func (s share) weight() int64 { return min(max(s.points/1000, 1), 10000) }

// Shares is the weight a container engine gives a task, in units of cpu.shares.
func Shares(t Task) int64 { return shareOf(t).shares() }
