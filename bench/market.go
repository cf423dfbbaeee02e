package bench

import (
	"fmt"
	"math"
	"math/rand/v2"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

const gib = 1 << 30

// Market is the standard cluster of the suite: machines of five classes in racks and zones, and a tree of three levels with
// guarantees, limits and weights.
type Market struct {
	Nodes  []cluster.NodeInfo
	Plan   *role.Plan
	Leaves []string
	rng    *rand.Rand
	cpu    resource.Amount // of all machines
	memory resource.Amount
}

// machineClass is a kind of machine and how many of a hundred are of it.
type machineClass struct {
	name              string
	of100             int
	cpus, memory, gpu int64
}

var machineClasses = []machineClass{
	{"small", 45, 16, 64, 0}, {"medium", 30, 32, 128, 0}, {"large", 15, 64, 256, 0}, {"huge", 5, 96, 1024, 0}, {"gpu", 5, 64, 512, 8},
}

// NewMarket makes the machines and the plan. The leaves are tops × 5 × 5: guarantees on 60 % of them add up to 90 % of the cpus, 30 %
// have a limit, and weights are 1, 2 and 4. The first leaf has neither, for the one that takes half of everything.
func NewMarket(agents, leaves int, seed uint64) *Market {
	m := &Market{rng: rand.New(rand.NewPCG(seed, 1))}
	for i := range agents {
		m.Nodes = append(m.Nodes, m.machine(i))
	}
	m.plant(leaves)
	return m
}

func (m *Market) machine(i int) cluster.NodeInfo {
	class, at := machineClasses[0], m.rng.IntN(100)
	for _, c := range machineClasses {
		if class = c; at < c.of100 {
			break
		}
		at -= c.of100
	}
	rack := i / 40
	n := cluster.NodeInfo{
		Name: fmt.Sprintf("n%05d", i),
		Capacity: resource.Resources{"cpu": resource.Amount(class.cpus) * resource.Milli, "memory": resource.Amount(class.memory) * gib,
			"gpu": resource.Amount(class.gpu) * resource.Milli},
		Attributes: map[string]string{"class": class.name, "rack": fmt.Sprintf("r%04d", rack), "zone": fmt.Sprintf("z%d", rack%3),
			"arch": pick(m.rng, "amd64", "amd64", "amd64", "arm64"), "kernel": pick(m.rng, "5.10", "6.1"), "disk": pick(m.rng, "ssd", "hdd")},
	}
	n.Ports.AddRange(resource.PortRange{First: 20000, Last: 20999})
	m.cpu += n.Capacity["cpu"]
	m.memory += n.Capacity["memory"]
	return n
}

func pick(rng *rand.Rand, from ...string) string { return from[rng.IntN(len(from))] }

// plant makes a tree of three levels. Guarantees follow Zipf's law, as the sizes of tenants do.
func (m *Market) plant(leaves int) {
	m.Plan = &role.Plan{Roles: map[string]role.RoleSpec{}}
	sizes, sum := make([]float64, leaves), 0.0
	for i := range sizes {
		m.Leaves = append(m.Leaves, fmt.Sprintf("t%d/m%d/l%d", i/25, i/5%5, i%5))
		if i%5 > 1 { // 60 % of them
			sizes[i] = math.Pow(float64(m.rng.IntN(leaves)+1), -1.1)
			sum += sizes[i]
		}
	}
	for i, path := range m.Leaves {
		w := role.Weight(int64(1000) << m.rng.IntN(3))
		s := role.RoleSpec{Weight: &w}
		if sizes[i] > 0 {
			s.Guarantee = m.part(0.9 * sizes[i] / sum)
		}
		if i%10 == 1 || i%10 == 3 || i%10 == 5 { // 30 % of them
			s.Limit = m.part(max(1.2*0.9*sizes[i]/sum, 4/float64(leaves)))
		}
		m.Plan.Roles[path] = s
	}
}

// part is a share of all machines.
func (m *Market) part(share float64) resource.Resources {
	return resource.Resources{"cpu": resource.Amount(share * float64(m.cpu)), "memory": resource.Amount(share * float64(m.memory))}
}

// Open makes the cluster with all its machines.
func (m *Market) Open() *Stage {
	s := &Stage{Cluster: cluster.New(), market: m, now: epoch}
	s.Must(cluster.SetPlan{Plan: m.Plan, Revision: 1})
	for _, n := range m.Nodes {
		s.Must(cluster.Register{Node: n})
	}
	s.Must(cluster.Tick{})
	return s
}

// Asks are asks that come to a share of all cpus: equal parts for every leaf, or half for the first. Mixed ones carry
// constraints as clusters see them; plain ones none.
func (m *Market) Asks(share float64, deep, mixed bool) []cluster.AskSpec {
	var out []cluster.AskSpec
	each := share * float64(m.cpu) / float64(len(m.Leaves))
	for i, leaf := range m.Leaves {
		want := each
		if deep {
			if want = each / 2; i == 0 {
				want = each/2 + share*float64(m.cpu)/2
			}
		}
		for want > 0 {
			a := m.ask(fmt.Sprintf("a%d", len(out)), leaf, mixed)
			if most := int(want/float64(a.Shape.Resources["cpu"])) + 1; !a.Gang {
				a.Count = min(a.Count, most)
			}
			want -= float64(a.Shape.Resources["cpu"]) * float64(a.Count)
			out = append(out, a)
		}
	}
	m.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// ask draws one ask: cpus are lognormal about 1, memory half a GiB to 8 GiB a cpu.
func (m *Market) ask(id, leaf string, mixed bool) cluster.AskSpec {
	cpu := math.Exp(m.rng.NormFloat64()*0.8) * 0.8
	milli := resource.Amount(min(4000, max(100, math.Round(cpu*10)*100)))
	perCPU := []resource.Amount{1, 2, 2, 3, 4, 4, 5, 8}[m.rng.IntN(8)]
	a := cluster.AskSpec{ID: id, Role: leaf, Count: 1 + int(m.rng.ExpFloat64()*50), Payload: nil}
	a.Count = min(a.Count, 300)
	a.Shape.Resources = resource.Resources{"cpu": milli, "memory": perCPU * gib / 1000 * milli / 2}
	if mixed {
		m.constrain(&a)
	}
	return a
}

// constrain gives an ask what it is particular about: of a hundred 20 an attribute, 8 racks to spread over, 5 a node each, 4 a host
// port, 3 a gpu; 2 start together or not at all.
func (m *Market) constrain(a *cluster.AskSpec) {
	s := &a.Shape
	switch at := m.rng.IntN(100); {
	case at < 20:
		c := placement.Constraint{Op: placement.Equals}
		switch m.rng.IntN(3) {
		case 0:
			c.Attribute, c.Values = "zone", []string{pick(m.rng, "z0", "z1", "z2")}
		case 1:
			c.Attribute, c.Values = "arch", []string{pick(m.rng, "amd64", "arm64")}
		default:
			c.Attribute, c.Values = "disk", []string{"ssd"}
		}
		s.Constraints = []placement.Constraint{c}
	case at < 28:
		s.Spread = []placement.Spread{{Attribute: "rack", MaxSkew: 2, Hard: true}}
	case at < 33:
		s.Exclusive = true
	case at < 37:
		s.Ports = []cluster.Port{{Name: "http", Host: uint16(20000 + m.rng.IntN(50))}}
	case at < 40:
		s.Resources["gpu"] = resource.Milli / 4
		a.Count = min(a.Count, 8)
	}
	if len(s.Spread) == 0 && !s.Exclusive && len(s.Ports) == 0 && m.rng.IntN(50) == 0 {
		a.Gang, a.Count = true, 8<<m.rng.IntN(5)
	}
}
