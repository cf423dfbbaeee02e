package placement

import (
	"math/bits"
	"slices"
)

// tracker knows the least count of a tally over the values of a domain.
type tracker struct {
	tally  *tally
	domain *domain
	least  int32
	atLow  int // values with the least count, or unknown
	stale  bool
	refs   int
}

func (ix *Index) tracker(c *class, groupKey, attribute string) *tracker {
	t, d := ix.tally(groupKey, attribute), ix.domain(c, attribute)
	for _, k := range t.trackers {
		if k.domain == d {
			k.refs++
			return k
		}
	}
	k := &tracker{tally: t, domain: d, stale: true, refs: 1}
	t.trackers, d.trackers = append(t.trackers, k), append(d.trackers, k)
	return k
}

func (ix *Index) releaseTracker(c *class, k *tracker) {
	if k.refs--; k.refs == 0 {
		same := func(x *tracker) bool { return x == k }
		k.tally.trackers = slices.DeleteFunc(k.tally.trackers, same)
		k.domain.trackers = slices.DeleteFunc(k.domain.trackers, same)
	}
	ix.releaseTally(k.tally)
	ix.releaseDomain(c, k.domain)
}

// unknown says of atLow that it is at least one.
const unknown = -1

// moved follows one count. The least is searched anew only when a value leaves it and others may or may not be there.
func (k *tracker) moved(v, before, after int32) {
	if k.stale || int(v) >= len(k.domain.members) || k.domain.members[v] == 0 {
		return
	}
	switch {
	case after < k.least:
		k.least, k.atLow = after, 1
	case after == k.least:
		if k.atLow != unknown {
			k.atLow++
		}
	case before > k.least:
	case k.atLow > 1:
		k.atLow--
	case k.atLow == 1 && after == before+1:
		k.least, k.atLow = after, unknown // nobody is lower than the one that just left the least
	default:
		k.stale = true
	}
}

// skew is how many more tasks than the least value the node's value has once one more task runs there. It is not ok when
// the node lacks the attribute.
func (k *tracker) skew(id NodeID) (int32, bool) {
	v := k.tally.attribute.of[id]
	if v == absent {
		return 0, false
	}
	if k.stale {
		k.search()
	}
	return k.tally.at(v) + 1 - k.least, true
}

func (k *tracker) search() {
	k.stale, k.least, k.atLow = false, 0, 0
	for v, members := range k.domain.members {
		if members == 0 {
			continue
		}
		switch n := k.tally.at(int32(v)); {
		case k.atLow == 0 || n < k.least:
			k.least, k.atLow = n, 1
		case n == k.least:
			k.atLow++
		}
	}
}

// spread is one rule of one shape.
type spread struct {
	*tracker
	maxSkew int32
	hard    bool
	limit   int32 // the largest count a value may have before one more task; see refresh
}

// refresh prepares admit for the counts of now.
func (sp *spread) refresh() {
	if sp.stale {
		sp.search()
	}
	sp.limit = sp.least + sp.maxSkew - 1
	sp.tally.counts = resize(sp.tally.counts, len(sp.tally.attribute.values))
}

// admit is those of the given nodes of a block where one more task keeps the spread. It asks for a refresh after changes.
func (sp *spread) admit(block int, w uint64) uint64 {
	of, counts, out := sp.tally.attribute.of[block*blockSize:][:blockSize], sp.tally.counts, w
	for ; w != 0; w &= w - 1 {
		v := of[bits.TrailingZeros64(w)%blockSize]
		if uint32(v) >= uint32(len(counts)) || counts[v] > sp.limit { // absent is out of range too
			out &^= w & -w
		}
	}
	return out
}

// broken reports whether one more task on a node breaks the spread.
func (sp *spread) broken(id NodeID) bool {
	skew, ok := sp.skew(id)
	return !ok || skew > sp.maxSkew
}
