package offer

import (
	"time"

	"polder.dev/polder/core/lending"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// pencil is what the open exclusive offers to one leaf's takers come to. It stands in the ledger during a cycle and is rubbed
// out after it, so that offers bind each other and nobody else.
type pencil []sum

// sum is all of a leaf's open offers that one role would pay for with one hold.
type sum struct {
	at     role.ID
	hold   time.Duration
	amount resource.Vector
	offers int
}

// note adds an offer's parts to the sums, or takes them away.
func (p *pencil) note(o *Offer, hold time.Duration, sign int) {
	for _, part := range o.Paid {
		s := p.sum(part.At, hold, len(part.Amount))
		s.offers += sign
		if sign > 0 {
			s.amount.Inc(part.Amount)
		} else {
			s.amount.Dec(part.Amount)
		}
	}
}

func (p *pencil) sum(at role.ID, hold time.Duration, kinds int) *sum {
	for i := range *p {
		if s := &(*p)[i]; s.at == at && s.hold == hold {
			return s
		}
	}
	*p = append(*p, sum{at, hold, make(resource.Vector, kinds), 0})
	return &(*p)[len(*p)-1]
}

// write puts every sum into the ledger.
func (b *Book) write() {
	b.eachSum(func(c lending.Charge) {
		b.ledger.Add(c)
		b.ledger.Occupy(c.Leaf, c.Amount)
	})
}

// rub takes them out again, with what was added since.
func (b *Book) rub() {
	b.eachSum(func(c lending.Charge) {
		b.ledger.Remove(c)
		b.ledger.Vacate(c.Leaf, c.Amount)
	})
}

func (b *Book) eachSum(f func(lending.Charge)) {
	for _, leaf := range b.leaves {
		for _, s := range leaf.pencil {
			if s.offers > 0 {
				f(lending.Charge{Leaf: leaf.id, At: s.at, Amount: s.amount, Hold: s.hold, Count: s.offers})
			}
		}
	}
}
