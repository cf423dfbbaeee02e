package lending

import (
	"slices"
	"time"

	"polder.dev/polder/core/resource"
)

// market is the lending between the children of one role: what is funded at the role, and what may be funded there.
type market struct {
	private resource.Vector // guarantee of the role not promised to children; negative at the root when nodes are lost
	levels  []level         // ascending hold
	left    resource.Vector // private and what the children offer, less what is funded here; negative where charges were forced
	warm    resource.Vector // what the children keep warm while their guarantees are idle
}

// level is one hold value in use in a market. The supply of a level is what children with exactly that lend grace offer;
// used is what tasks with exactly that hold take.
type level struct {
	hold   time.Duration
	used   resource.Vector
	supply resource.Vector
	refs   int // charges with this hold plus children with this lend grace
}

func newMarket(k int) market {
	return market{private: make(resource.Vector, k), left: make(resource.Vector, k), warm: make(resource.Vector, k)}
}

// gain adds to what is private here, or takes it away.
func (m *market) gain(x resource.Vector, sign int) {
	if sign > 0 {
		m.private.Inc(x)
		m.left.Inc(x)
	} else {
		m.private.Dec(x)
		m.left.Dec(x)
	}
}

// at returns the level of a hold value, inserting it when it is new.
func (m *market) at(hold time.Duration) *level { return &m.levels[m.indexOf(hold)] }

func (m *market) indexOf(hold time.Duration) int {
	i, ok := m.find(hold)
	if !ok {
		k := len(m.private)
		m.levels = slices.Insert(m.levels, i, level{hold: hold, used: make(resource.Vector, k), supply: make(resource.Vector, k)})
	}
	return i
}

func (m *market) find(hold time.Duration) (int, bool) {
	return slices.BinarySearchFunc(m.levels, hold, func(l level, h time.Duration) int {
		switch {
		case l.hold < h:
			return -1
		case l.hold > h:
			return 1
		}
		return 0
	})
}

// charge adds n charges with sum x at a hold value; negative n takes them away again.
func (m *market) charge(hold time.Duration, x resource.Vector, n int) {
	i := m.indexOf(hold)
	l := &m.levels[i]
	if n < 0 {
		l.used.Dec(x)
		m.left.Inc(x)
	} else {
		l.used.Inc(x)
		m.left.Dec(x)
	}
	if l.refs += n; l.refs == 0 {
		m.levels = slices.Delete(m.levels, i, i+1)
	}
}

// breach finds, for resource kind i, the greatest hold value h with Σ used(≥h) > private + Σ supply(≥h), and by how much.
// A supply below zero (nodes lost) counts as zero: nothing may be borrowed, but what guarantees pay for is not in breach.
func (m *market) breach(i int) (hold time.Duration, excess resource.Amount, broken bool) {
	used, supply := resource.Amount(0), m.private[i]
	for j := len(m.levels) - 1; j >= 0; j-- {
		l := &m.levels[j]
		used += l.used[i]
		supply = supply.Add(l.supply[i])
		if over := used - max(supply, 0); used > 0 && over > 0 {
			return l.hold, over, true
		}
	}
	return 0, 0, false
}

// excess is the most by which kind i is over at any hold value: what has to leave, at least.
func (m *market) excess(i int) resource.Amount {
	used, supply, worst := resource.Amount(0), m.private[i], resource.Amount(0)
	for j := len(m.levels) - 1; j >= 0; j-- {
		used += m.levels[j].used[i]
		supply = supply.Add(m.levels[j].supply[i])
		worst = max(worst, used-max(supply, 0))
	}
	return worst
}

// broken returns the first kind in breach, or -1.
func (m *market) broken() int {
	for i := range m.private {
		if _, _, bad := m.breach(i); bad {
			return i
		}
	}
	return -1
}
