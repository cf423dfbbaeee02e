package waste

import (
	"time"

	"polder.dev/polder/core/resource"
)

// meter adds up amounts that stand still between changes.
type meter struct {
	rate  resource.Vector
	sum   []Quantity
	since int64
}

// read brings the sum up to an instant.
func (m *meter) read(at int64) {
	if at <= m.since {
		return
	}
	d := time.Duration(at - m.since)
	for i, a := range m.rate {
		if a > 0 {
			m.sum[i] = m.sum[i].Plus(Over(a, d))
		}
	}
	m.since = at
}

// widen makes room for n kinds.
func (m *meter) widen(n int) {
	if len(m.rate) < n {
		m.rate = m.rate.Clone(n)
		m.sum = append(m.sum, make([]Quantity, n-len(m.sum))...)
	}
}

// add changes the rate from an instant on.
func (m *meter) add(x resource.Vector, at int64) {
	m.widen(len(x))
	m.read(at)
	m.rate.Inc(x)
}

// sub is the opposite of add.
func (m *meter) sub(x resource.Vector, at int64) {
	m.widen(len(x))
	m.read(at)
	m.rate.Dec(x)
}

// set replaces the rate of one kind; read it first.
func (m *meter) set(i int, a resource.Amount) { m.rate[i] = a }

// at returns what was added up of one kind.
func (m *meter) at(i int) Quantity {
	if i < len(m.sum) {
		return m.sum[i]
	}
	return Quantity{}
}

// restart forgets what was added up.
func (m *meter) restart() { clear(m.sum) }
