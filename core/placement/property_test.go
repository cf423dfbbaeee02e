package placement

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

// world runs an index beside its oracle.
type world struct {
	kinds  *resource.Kinds
	ix     *Index
	oracle *oracle
	shapes []*Compiled
}

const largestID = 3*blockSize + 5

var (
	groupNames = []string{"web", "db", "batch"}
	zones      = []string{"a", "b", "c"}
)

func newWorld(t *rapid.T) *world {
	o := Options{
		Strategy: rapid.SampledFrom([]Strategy{"", Pack, Even}).Draw(t, "strategy"),
		Sample:   rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "sample"),
	}
	w := &world{kinds: resource.NewKinds(), oracle: &oracle{nodes: map[NodeID]*oracleNode{}}}
	w.ix = NewIndex(w.kinds, o)
	for range rapid.IntRange(0, 30).Draw(t, "nodes") {
		w.setNode(t)
	}
	return w
}

func drawID(t *rapid.T) NodeID {
	return NodeID(rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, largestID)).Draw(t, "id"))
}

// drawKnown is the id of a node that is there, most of the time.
func (w *world) drawKnown(t *rapid.T) NodeID {
	if ids := w.oracle.ids(); len(ids) > 0 && rapid.IntRange(0, 9).Draw(t, "absent") > 0 {
		return rapid.SampledFrom(ids).Draw(t, "known")
	}
	return drawID(t)
}

func drawVector(t *rapid.T, low int) resource.Vector {
	v := make(resource.Vector, rapid.IntRange(0, 6).Draw(t, "kinds"))
	for i := range v {
		v[i] = resource.Amount(rapid.IntRange(low, 8).Draw(t, "amount"))
	}
	return v
}

func (w *world) intern(n int) {
	for i := range n {
		_, _ = w.kinds.Intern(fmt.Sprintf("kind-%d", i))
	}
}

func drawAttributes(t *rapid.T) resource.Attributes {
	out := resource.Attributes{}
	if z := rapid.SampledFrom(append([]string{""}, zones...)).Draw(t, "zone"); z != "" {
		out["zone"] = z
	}
	if c := rapid.IntRange(0, 3).Draw(t, "cores"); c > 0 {
		out["cores"] = fmt.Sprint(c * 4)
	}
	return out
}

func (w *world) setNode(t *rapid.T) {
	id := drawID(t)
	w.intern(2)
	n := Node{
		Name: fmt.Sprintf("n%d", id), Attributes: drawAttributes(t), Capacity: drawVector(t, 0),
		Schedulable: rapid.IntRange(0, 4).Draw(t, "cordoned") > 0,
	}
	for range rapid.IntRange(0, 2).Draw(t, "ranges") {
		first := uint16(rapid.IntRange(1, 20).Draw(t, "port"))
		n.Ports.AddRange(resource.PortRange{First: first, Last: first + uint16(rapid.IntRange(0, 4).Draw(t, "length"))})
	}
	w.ix.Set(id, n)
	old := w.oracle.nodes[id]
	if old == nil {
		old = &oracleNode{available: n.Capacity.Clone(0), taken: map[uint16]bool{}, tasks: map[string]int{}}
		w.oracle.nodes[id] = old
	}
	old.Node = n
}

func (w *world) removeNode(t *rapid.T) {
	id := w.drawKnown(t)
	w.ix.Remove(id)
	delete(w.oracle.nodes, id)
}

func (w *world) cordon(t *rapid.T) {
	id, on := w.drawKnown(t), rapid.Bool().Draw(t, "schedulable")
	w.ix.SetSchedulable(id, on)
	if n := w.oracle.nodes[id]; n != nil {
		n.Schedulable = on
	}
}

func (w *world) setAvailable(t *rapid.T) {
	id, v := w.drawKnown(t), drawVector(t, -1)
	w.ix.SetAvailable(id, v)
	if n := w.oracle.nodes[id]; n != nil {
		n.available = v
	}
}

func (w *world) addTask(t *rapid.T) {
	id, g := w.drawKnown(t), rapid.SampledFrom(groupNames).Draw(t, "group")
	w.ix.AddTask(id, g)
	if n := w.oracle.nodes[id]; n != nil {
		n.tasks[g]++
	}
}

func (w *world) removeTask(t *rapid.T) {
	id, g := w.drawKnown(t), rapid.SampledFrom(groupNames).Draw(t, "group")
	w.ix.RemoveTask(id, g)
	if n := w.oracle.nodes[id]; n != nil && n.tasks[g] > 0 {
		n.tasks[g]--
	}
}

var drawPorts = rapid.SliceOfNDistinct(rapid.Uint16Range(1, 24), 0, 3, func(p uint16) uint16 { return p })

func (w *world) takePorts(t *rapid.T) {
	id, s := w.drawKnown(t), Shape{HostPorts: drawPorts.Draw(t, "fixed"), DynamicPorts: rapid.IntRange(0, 3).Draw(t, "dynamic")}
	got, ok := w.ix.TakePorts(id, s.HostPorts, s.DynamicPorts)
	n := w.oracle.nodes[id]
	if want := n != nil && portsFit(&s, n.freePorts()); ok != want {
		t.Fatalf("TakePorts(%d, %v, %d) = %v, want %v", id, s.HostPorts, s.DynamicPorts, ok, want)
	}
	if !ok {
		return
	}
	if len(got) != len(s.HostPorts)+s.DynamicPorts || !slices.Equal(got[:len(s.HostPorts)], s.HostPorts) {
		t.Fatalf("TakePorts gave %v for %v and %d", got, s.HostPorts, s.DynamicPorts)
	}
	for _, p := range got {
		if n.taken[p] || !n.Ports.Contains(p) {
			t.Fatalf("TakePorts gave port %d, which is not free", p)
		}
		n.taken[p] = true
	}
}

func (w *world) holdPorts(t *rapid.T) {
	id, ports := w.drawKnown(t), drawPorts.Draw(t, "held")
	w.ix.HoldPorts(id, ports)
	if n := w.oracle.nodes[id]; n != nil {
		for _, p := range ports {
			n.taken[p] = true
		}
	}
}

func (w *world) releasePorts(t *rapid.T) {
	id, ports := w.drawKnown(t), drawPorts.Draw(t, "released")
	w.ix.ReleasePorts(id, ports)
	if n := w.oracle.nodes[id]; n != nil {
		for _, p := range ports {
			delete(n.taken, p)
		}
	}
}

var drawConstraint = rapid.OneOf(
	rapid.Map(rapid.SampledFrom(zones), func(z string) Constraint { return Constraint{"zone", Equals, []string{z}, ""} }),
	rapid.Map(rapid.SampledFrom(zones), func(z string) Constraint { return Constraint{"zone", NotEquals, []string{z}, ""} }),
	rapid.Just(Constraint{"zone", In, []string{"a", "c"}, ""}),
	rapid.Just(Constraint{"cores", Exists, nil, ""}),
	rapid.Map(rapid.SampledFrom([]string{"4", "8", "12"}), func(n string) Constraint { return Constraint{"cores", GreaterOrEqual, []string{n}, ""} }),
	rapid.Just(Constraint{"node", NotEquals, []string{"n1"}, ""}),
)

func drawShape(t *rapid.T) Shape {
	s := Shape{
		Need:         drawVector(t, 0),
		HostPorts:    drawPorts.Draw(t, "ports"),
		DynamicPorts: rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "dynamic"),
		Constraints:  rapid.SliceOfN(drawConstraint, 0, 2).Draw(t, "constraints"),
		Group:        rapid.SampledFrom(groupNames).Draw(t, "group"),
		AntiAffinity: rapid.SliceOfNDistinct(rapid.SampledFrom(groupNames), 0, 2, rapid.ID).Draw(t, "anti"),
	}
	for i := range s.Need {
		s.Need[i] /= 2 // so that it often fits
	}
	if rapid.IntRange(0, 2).Draw(t, "plain") > 0 {
		s.HostPorts = nil
	}
	for range rapid.IntRange(0, 2).Draw(t, "preferences") {
		s.Preferences = append(s.Preferences, Preference{drawConstraint.Draw(t, "preference"), rapid.IntRange(1, 100).Draw(t, "weight")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "spreads") {
		s.Spread = append(s.Spread, Spread{
			rapid.SampledFrom([]string{"zone", "node", "cores"}).Draw(t, "over"),
			rapid.IntRange(1, 3).Draw(t, "skew"), rapid.Bool().Draw(t, "hard"),
		})
	}
	return s
}

func (w *world) compile(t *rapid.T) {
	w.intern(2)
	c, err := w.ix.Compile(drawShape(t))
	if err != nil {
		t.Fatal(err)
	}
	w.shapes = append(w.shapes, c)
}

func (w *world) release(t *rapid.T) {
	if len(w.shapes) == 0 {
		t.Skip("nothing compiled")
	}
	i := rapid.IntRange(0, len(w.shapes)-1).Draw(t, "shape")
	w.ix.Release(w.shapes[i])
	w.shapes = slices.Delete(w.shapes, i, i+1)
}

func TestIndexAgreesWithScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"set": w.setNode, "remove": w.removeNode, "cordon": w.cordon, "available": w.setAvailable, "more": w.setAvailable,
			"add": w.addTask, "drop": w.removeTask, "take": w.takePorts, "hold": w.holdPorts, "give": w.releasePorts,
			"compile": w.compile, "release": w.release, "gang": w.gang,
			"": func(t *rapid.T) {
				for _, c := range w.shapes {
					w.checkShape(t, c)
				}
				w.checkInside(t)
			},
		})
		for _, c := range w.shapes {
			w.ix.Release(c)
		}
		for range maxIdle {
			w.ix.idle.keep(w.ix, &Compiled{refs: 1}) // pushes out what is kept
		}
		w.ix.trim(0)
		if ix := w.ix; len(ix.classes)+len(ix.attributes)+len(ix.watches)+len(ix.compiled) > 0 {
			t.Fatalf("released shapes left %d classes, %d attributes, %d ports", len(ix.classes), len(ix.attributes), len(ix.watches))
		}
	})
}

func (w *world) checkShape(t *rapid.T, c *Compiled) {
	s := c.Shape()
	fitting := w.oracle.fitting(&s)
	for _, id := range append(w.oracle.ids(), -1, largestID+1) {
		want := w.oracle.reason(&s, id)
		if ok, got := w.ix.Fits(c, id); got != want || ok != (want == "") {
			t.Fatalf("Fits(%+v, %d) = %v %q, want %q", s, id, ok, got, want)
		}
	}
	got, ok := w.ix.Place(c)
	if ok != (len(fitting) > 0) || ok && !slices.Contains(fitting, got) {
		t.Fatalf("Place(%+v) = %d %v, these fit: %v", s, got, ok, fitting)
	}
	if ok && len(fitting) < w.ix.options.Sample {
		w.checkBest(t, c, got, fitting)
	}
	var feasible []NodeID
	w.ix.EachFeasible(c, func(id NodeID) bool { feasible = append(feasible, id); return true })
	if want := w.oracle.feasible(&s); !slices.Equal(feasible, want) {
		t.Fatalf("EachFeasible(%+v) = %v, want %v", s, feasible, want)
	}
	if why, got := w.ix.Impossible(c); got != w.oracle.impossible(&s) || got != (why != "") {
		t.Fatalf("Impossible(%+v) = %q %v", s, why, got)
	}
	w.checkExplanation(t, c, len(fitting))
}

// checkBest holds when all that fit were compared: none scores higher, and none as high has a lower id.
func (w *world) checkBest(t *rapid.T, c *Compiled, got NodeID, fitting []NodeID) {
	for _, id := range fitting {
		have, other := w.ix.scoreOf(c, got), w.ix.scoreOf(c, id)
		if other > have || other == have && id < got {
			t.Fatalf("placed on %d (score %d) although %d scores %d", got, have, id, other)
		}
	}
}

func (w *world) checkExplanation(t *rapid.T, c *Compiled, fit int) {
	e, s := w.ix.Explain(c), c.Shape()
	want, got := map[Reason]int{}, map[Reason]int{}
	for id := range w.oracle.nodes {
		if r := w.oracle.reason(&s, id); r != "" {
			want[r]++
		}
	}
	sum := e.Fit
	for _, r := range e.Rejections {
		got[r.Reason] += r.Count
		sum += r.Count
		if r.Reason == ReasonResources && r.Most >= r.Asked {
			t.Fatalf("%s: refused for %s although %d is there", e, r.Subject, r.Most)
		}
	}
	if e.Fit != fit || e.Nodes != len(w.oracle.nodes) || sum != e.Nodes || !maps.Equal(got, want) {
		t.Fatalf("Explain(%+v) = %+v, want %d fit and %v", s, e, fit, want)
	}
	if (e.Reason == "") != (fit > 0) {
		t.Fatalf("Explain: reason %q although %d fit", e.Reason, fit)
	}
}

// checkInside compares bitmaps, maxima and counters with what a scan finds.
func (w *world) checkInside(t *rapid.T) {
	for _, c := range w.shapes {
		w.checkMaybe(t, c)
	}
	for _, k := range w.ix.classes {
		for id := range w.ix.nodes {
			n := w.oracle.nodes[NodeID(id)]
			in := n != nil && !slices.ContainsFunc(k.matchers, func(m matcher) bool { return !n.satisfies(m.Constraint) })
			if k.bits.has(NodeID(id)) != in {
				t.Fatalf("class %q: node %d is in: %v", k.key, id, !in)
			}
			if b := id / blockSize; in && n.Schedulable && w.ix.news(b, k.tight[b])>>(id%blockSize)&1 == 0 {
				for kind, top := range k.top[b*w.ix.stride:][:w.ix.stride] {
					if n.available.At(kind) > top {
						t.Fatalf("class %q: node %d has %d of kind %d, the maximum says %d", k.key, id, n.available.At(kind), kind, top)
					}
				}
			}
		}
	}
	for _, c := range w.shapes {
		for _, sp := range c.spreads {
			for id, n := range w.oracle.nodes {
				s := c.Shape()
				want, wantOK := w.oracle.skew(&s, Spread{Attribute: sp.tally.attribute.name}, n)
				if got, ok := sp.skew(id); ok != wantOK || int(got) != want {
					t.Fatalf("skew of %s over %s on %d = %d, want %d", s.Group, sp.tally.attribute.name, id, got, want)
				}
			}
		}
	}
}

// checkMaybe holds when no node that holds the task is missing from maybe.
func (w *world) checkMaybe(t *rapid.T, c *Compiled) {
	for id, n := range w.oracle.nodes {
		b := int(id) / blockSize
		maybe := c.maybe[b] | w.ix.news(b, c.seen[b])
		s := c.Shape()
		if n.Schedulable && n.satisfiesAll(s.Constraints) && w.ix.holds(c, id) && maybe>>(id%blockSize)&1 == 0 {
			t.Fatalf("node %d holds %+v and is not thought of", id, s)
		}
	}
}

// gang places some of the shapes together, commits the result to a copy of the oracle, and checks that nothing changed.
func (w *world) gang(t *rapid.T) {
	if len(w.shapes) == 0 {
		t.Skip("nothing compiled")
	}
	members := rapid.SliceOfN(rapid.SampledFrom(w.shapes), 1, 6).Draw(t, "members")
	got, ok := w.ix.PlaceGang(members)
	if !ok {
		if got != nil {
			t.Fatalf("a gang that failed has nodes %v", got)
		}
		return
	}
	for id, on := range w.membersByNode(members, got) {
		w.checkTogether(t, id, on)
	}
}

func (w *world) membersByNode(members []*Compiled, at []NodeID) map[NodeID][]*Compiled {
	out := map[NodeID][]*Compiled{}
	for i, id := range at {
		out[id] = append(out[id], members[i])
	}
	return out
}

// checkTogether holds when a node can take all these members at once.
func (w *world) checkTogether(t *rapid.T, id NodeID, members []*Compiled) {
	n := w.oracle.nodes[id]
	total, ports := Shape{Need: resource.Vector{}}, map[uint16]bool{}
	for _, m := range members {
		s := m.Shape()
		total.Need = total.Need.Plus(s.Need)
		total.DynamicPorts += s.DynamicPorts
		for _, p := range s.HostPorts {
			if ports[p] {
				t.Fatalf("port %d of node %d goes to two members", p, id)
			}
			ports[p] = true
		}
		total.HostPorts = append(total.HostPorts, s.HostPorts...)
		for _, r := range []Reason{ReasonCordoned, ReasonConstraint} {
			if w.oracle.reason(&s, id) == r {
				t.Fatalf("gang member on node %d in spite of %s", id, r)
			}
		}
	}
	if !amountsFit(total.Need, n.available) || !portsFit(&total, n.freePorts()) {
		t.Fatalf("node %d does not hold %d members together", id, len(members))
	}
}

// TestGangOfEqualsIsExact checks that a gang of equal members is placed exactly when enough slots exist.
func TestGangOfEqualsIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		s := Shape{Need: resource.Vector{resource.Amount(rapid.IntRange(1, 4).Draw(t, "cpu")), resource.Amount(rapid.IntRange(0, 4).Draw(t, "memory"))}}
		alone := rapid.Bool().Draw(t, "alone")
		if alone {
			s.Group, s.AntiAffinity = "web", []string{"web"}
		}
		slots := 0
		for _, id := range w.oracle.fitting(&s) {
			n, have := 0, w.oracle.nodes[id].available.Clone(2)
			for ; s.Need.Fits(have); n++ {
				have.Dec(s.Need)
			}
			if alone {
				n = 1
			}
			slots += n
		}
		c, err := w.ix.Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		size := rapid.IntRange(1, slots+2).Draw(t, "size")
		got, ok := w.ix.PlaceGang(slices.Repeat([]*Compiled{c}, size))
		if ok != (size <= slots) || ok && len(got) != size {
			t.Fatalf("gang of %d in %d slots: %v %v", size, slots, got, ok)
		}
		w.checkShape(t, c)
	})
}
