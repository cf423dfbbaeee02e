package mesos

import (
	"maps"
	"math"
	"slices"
	"strings"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// Mesos' names of resources and the pool's. Mesos counts memory and disk in MiB.
var (
	kindOf = map[string]string{"cpus": "cpu", "mem": "memory", "gpus": "gpu"}
	nameOf = map[string]string{"cpu": "cpus", "memory": "mem", "gpu": "gpus"}
)

const mebi = 1 << 20

// kindName is the pool's name of a resource.
func kindName(mesos string) string {
	if k, ok := kindOf[mesos]; ok {
		return k
	}
	return mesos
}

// mesosName is Mesos' name of a resource.
func mesosName(kind string) string {
	if n, ok := nameOf[kind]; ok {
		return n
	}
	return kind
}

// unit is how much of the pool's amount is one of Mesos'.
func unit(kind string) float64 {
	if resource.Scale(kind) == 1 {
		return mebi
	}
	return float64(resource.Scale(kind))
}

// toScalar is an amount as Mesos counts it, rounded down to thousandths.
func toScalar(kind string, a resource.Amount) float64 {
	return math.Floor(float64(a)/unit(kind)*1000) / 1000
}

// fromScalar is an amount as the pool counts it. Mesos compares in thousandths; so is rounded here.
func fromScalar(kind string, f float64) resource.Amount {
	return resource.Amount(math.Round(math.Round(f*1000) / 1000 * unit(kind)))
}

// amounts are resources by kind, without a pool.
type amounts = resource.Resources

// ofKind strips the pool from the names of a node's amounts.
func ofKind(in map[string]string) amounts {
	out := amounts{}
	for name, text := range in {
		_, kind := resource.SplitName(name)
		if a, err := resource.ParseValue(name, text); err == nil {
			out[kind] += a
		}
	}
	return out
}

// texts are amounts as a TaskSpec has them.
func texts(r amounts) map[string]string {
	out := map[string]string{}
	for kind, a := range r {
		if a > 0 {
			out[kind] = resource.FormatValue(kind, a)
		}
	}
	return out
}

// fits reports whether a is within b.
func fits(a, b amounts) bool {
	for kind, x := range a {
		if x > b[kind] {
			return false
		}
	}
	return true
}

func plus(a, b amounts) amounts {
	out := maps.Clone(a)
	if out == nil {
		out = amounts{}
	}
	for kind, x := range b {
		out[kind] = out[kind].Add(x)
	}
	return out
}

// minus is a less b, nothing below zero.
func minus(a, b amounts) amounts {
	out := maps.Clone(a)
	less(out, b)
	return out
}

// less takes b off a, nothing below zero.
func less(a, b amounts) {
	for kind, x := range a {
		a[kind] = max(0, x.Sub(b[kind]))
	}
}

// least is the smaller of each.
func least(a, b amounts) amounts {
	out := amounts{}
	for kind, x := range a {
		if y := min(x, b[kind]); y > 0 {
			out[kind] = y
		}
	}
	return out
}

// form is how a framework wants its resources written.
type form struct {
	role      string // the role of Mesos the resources are allocated to; empty in agents' totals
	multi     bool   // it knows allocation_info
	refined   bool   // it knows reservations as a stack
	revocable bool   // these are revocable
}

// resources writes amounts and ports in Mesos' way, in order of name.
func (f form) resources(r amounts, ports resource.PortSet) []*mesosv1.Resource {
	kinds := make([]string, 0, 8)
	for kind := range r {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b string) int { return strings.Compare(mesosName(a), mesosName(b)) })
	out := make([]*mesosv1.Resource, 0, len(kinds)+1)
	for _, kind := range kinds {
		v := toScalar(kind, r[kind])
		if kind == "gpu" {
			v = math.Floor(v)
		}
		if v > 0 {
			out = append(out, f.dress(&mesosv1.Resource{
				Name: new(mesosName(kind)), Type: scalarType, Scalar: &mesosv1.Value_Scalar{Value: &v},
			}))
		}
	}
	if ports.Len() > 0 && !f.revocable {
		out = append(out, f.dress(&mesosv1.Resource{Name: new("ports"), Type: mesosv1.Value_RANGES.Enum(), Ranges: rangesOf(ports)}))
	}
	return out
}

// What every resource says alike. Nobody changes a resource once it is made.
var (
	scalarType = mesosv1.Value_SCALAR.Enum()
	anyRole    = new("*")
)

func (f form) dress(r *mesosv1.Resource) *mesosv1.Resource {
	if !f.refined {
		r.Role = anyRole
	}
	if f.multi && f.role != "" {
		r.AllocationInfo = &mesosv1.Resource_AllocationInfo{Role: &f.role}
	}
	if f.revocable {
		r.Revocable = &mesosv1.Resource_RevocableInfo{}
	}
	return r
}

func rangesOf(ports resource.PortSet) *mesosv1.Value_Ranges {
	out := &mesosv1.Value_Ranges{}
	for _, r := range ports.Ranges() {
		out.Range = append(out.Range, &mesosv1.Value_Range{Begin: new(uint64(r.First)), End: new(uint64(r.Last))})
	}
	return out
}

// wanted is what a task or executor takes of an offer.
type wanted struct {
	amounts            // of both kinds together
	regular, revocable amounts
	ports              []uint16
}

// add adds what another takes.
func (w wanted) add(x wanted) wanted {
	return wanted{plus(w.amounts, x.amounts), plus(w.regular, x.regular), plus(w.revocable, x.revocable), slices.Concat(w.ports, x.ports)}
}

// shape is what a task spec is about.
func wantedOf(list []*mesosv1.Resource) (wanted, error) {
	w := wanted{amounts: amounts{}, regular: amounts{}, revocable: amounts{}}
	for _, r := range list {
		if err := w.take(r); err != nil {
			return w, err
		}
	}
	for kind := range w.revocable {
		if w.regular[kind] > 0 {
			return w, refusal("the task uses both revocable and non-revocable %s", mesosName(kind))
		}
	}
	return w, nil
}

func (w *wanted) take(r *mesosv1.Resource) error {
	switch {
	case r.GetReservation() != nil || len(r.GetReservations()) > 0 || r.GetRole() != "*":
		return refusal("resource %s is reserved for %q: nothing is reserved here, a role's guarantee takes the place of reservations", r.GetName(), r.GetRole())
	case r.GetDisk() != nil:
		return refusal("resource %s is a persistent volume, of which there are none: a volume of the pool is mounted by its name, with driver "+volumeDriver, r.GetName())
	case r.GetShared() != nil:
		return refusal("resource %s is shared: there are no shared resources", r.GetName())
	case r.GetName() == "ports":
		return w.takePorts(r)
	case r.GetType() != mesosv1.Value_SCALAR || r.Scalar == nil:
		return refusal("resource %s is not a scalar", r.GetName())
	}
	v, kind := r.Scalar.GetValue(), kindName(r.GetName())
	if !(v >= 0 && v < 1e15) {
		return refusal("resource %s is %v", r.GetName(), v)
	}
	if kind == "gpu" && v != math.Trunc(v) {
		return refusal("the 'gpus' resource must be a whole number, not %v", v)
	}
	a := fromScalar(kind, v)
	if a == 0 {
		return nil
	}
	w.amounts[kind] += a
	if r.Revocable != nil {
		w.revocable[kind] += a
	} else {
		w.regular[kind] += a
	}
	return nil
}

// maxPorts is how many ports a task may hold; the pool has the same bound.
const maxPorts = 64

func (w *wanted) takePorts(r *mesosv1.Resource) error {
	if r.GetType() != mesosv1.Value_RANGES {
		return refusal("resource ports is not ranges")
	}
	for _, x := range r.GetRanges().GetRange() {
		if x.GetBegin() > x.GetEnd() || x.GetEnd() > 65535 || x.GetBegin() == 0 {
			return refusal("ports [%d-%d] is not a range of ports", x.GetBegin(), x.GetEnd())
		}
		if uint64(len(w.ports))+x.GetEnd()-x.GetBegin()+1 > maxPorts {
			return refusal("the task takes more than %d ports", maxPorts)
		}
		for p := x.GetBegin(); p <= x.GetEnd(); p++ {
			w.ports = append(w.ports, uint16(p))
		}
	}
	return nil
}
