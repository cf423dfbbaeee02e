package resource

import (
	"fmt"
	"sort"
	"strings"
)

// Kind is the dense index of a resource kind inside a [Vector].
type Kind int

// The kinds every cluster has, in vector order. Named scalars ("licences") follow, in the order they were first seen.
const (
	CPU Kind = iota
	Memory
	Disk
	GPU
	wellKnown
)

// MaxKinds bounds how many kinds one cluster may know; every vector is that much memory at most.
const MaxKinds = 32

// Kinds maps kind names to dense indexes. It only grows, so an index stays valid for the life of the value. It is not
// safe for concurrent use; its owner serialises Intern with everything else.
type Kinds struct {
	names []string
	index map[string]Kind
}

// NewKinds returns a table that knows cpu, memory, disk and gpu.
func NewKinds() *Kinds {
	k := &Kinds{index: map[string]Kind{}}
	for _, n := range []string{"cpu", "memory", "disk", "gpu"} {
		k.index[n] = Kind(len(k.names))
		k.names = append(k.names, n)
	}
	return k
}

// Len is the number of kinds known: the length of a full vector.
func (k *Kinds) Len() int { return len(k.names) }

// Name returns the name of a kind.
func (k *Kinds) Name(i Kind) string { return k.names[i] }

// Lookup finds a kind by name.
func (k *Kinds) Lookup(name string) (Kind, bool) {
	i, ok := k.index[name]
	return i, ok
}

// Intern returns the index of name, adding it when it is new. It fails on a malformed name and beyond [MaxKinds].
func (k *Kinds) Intern(name string) (Kind, error) {
	if i, ok := k.index[name]; ok {
		return i, nil
	}
	if !ValidName(name) {
		return 0, fmt.Errorf("resource name %q: use lower-case letters, digits, '-', '_' and '.', starting with a letter", name)
	}
	if len(k.names) == MaxKinds {
		return 0, fmt.Errorf("resource %q: more than %d kinds of resources", name, MaxKinds)
	}
	i := Kind(len(k.names))
	k.names = append(k.names, name)
	k.index[name] = i
	return i, nil
}

// InternAll adds every new name, or none when one of them is refused as [Kinds.Intern] would.
func (k *Kinds) InternAll(names []string) error {
	fresh := map[string]bool{}
	for _, n := range names {
		if _, known := k.index[n]; !known {
			fresh[n] = true
		}
		if !ValidName(n) {
			return fmt.Errorf("resource name %q: use lower-case letters, digits, '-', '_' and '.', starting with a letter", n)
		}
	}
	if len(k.names)+len(fresh) > MaxKinds {
		return fmt.Errorf("%d new kinds of resources beside %d known ones: more than %d", len(fresh), len(k.names), MaxKinds)
	}
	for _, n := range names {
		if _, err := k.Intern(n); err != nil {
			return err
		}
	}
	return nil
}

// Scale returns the base units in one whole of the named kind: 1 for memory and disk (bytes), 1000 for all others.
func Scale(name string) int64 {
	if name == "memory" || name == "disk" {
		return 1
	}
	return int64(Milli)
}

// ValidName reports whether s may name a kind, a pool or an attribute: [a-z][a-z0-9._-]*, at most 63 bytes.
func ValidName(s string) bool {
	if s == "" || len(s) > 63 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// Resources is the written form of amounts: kind name, with "pool/" before it outside the default pool, to amount in
// base units. It is what plans, asks and nodes carry; the ledger works on [Vector]. A missing name means zero, except
// where a field says otherwise (a limit).
type Resources map[string]Amount

// Names returns the names in sorted order.
func (r Resources) Names() []string {
	out := make([]string, 0, len(r))
	for n := range r {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// SplitName separates "pool/kind" into pool and kind; a name without a slash is in the default pool "".
func SplitName(name string) (pool, kind string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// ValidResource reports whether name is a kind or pool/kind, both as [ValidName] has them.
func ValidResource(name string) bool {
	pool, kind, inPool := strings.Cut(name, "/")
	if !inPool {
		return ValidName(name)
	}
	return ValidName(pool) && ValidName(kind)
}

// JoinName is the inverse of [SplitName].
func JoinName(pool, kind string) string {
	if pool == "" {
		return kind
	}
	return pool + "/" + kind
}

// ParseValue reads the amount of the named resource in that kind's unit; see [ParseAmount].
func ParseValue(name, value string) (Amount, error) {
	_, kind := SplitName(name)
	if !ValidResource(name) {
		return 0, fmt.Errorf("resource name %q: use kind or pool/kind in lower-case letters, digits, '-', '_' and '.'", name)
	}
	a, err := ParseAmount(value, Scale(kind))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return a, nil
}

// Parse reads "cpu=2,memory=4Gi" (also with spaces or newlines between). An empty text is no resources.
func Parse(s string) (Resources, error) {
	out := Resources{}
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' }) {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%q: write name=amount, as in cpu=2,memory=4Gi", f)
		}
		if _, dup := out[name]; dup {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		a, err := ParseValue(name, value)
		if err != nil {
			return nil, err
		}
		out[name] = a
	}
	return out, nil
}

// String writes r as [Parse] reads it, names sorted.
func (r Resources) String() string {
	var b strings.Builder
	for i, n := range r.Names() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n + "=" + FormatValue(n, r[n]))
	}
	return b.String()
}

// FormatValue writes an amount in the unit of the named resource.
func FormatValue(name string, a Amount) string {
	_, kind := SplitName(name)
	return a.Format(Scale(kind))
}

// Vector turns the part of r that lies in the pool into a dense vector of length k.Len(). Names that k does not know are
// skipped: the owner of k interns them first when they matter.
func (r Resources) Vector(k *Kinds, pool string) Vector {
	v := make(Vector, k.Len())
	for name, a := range r {
		p, kind := SplitName(name)
		if i, ok := k.index[kind]; ok && p == pool {
			v[i] = a
		}
	}
	return v
}
