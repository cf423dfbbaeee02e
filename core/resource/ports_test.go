package resource

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePorts(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "80": "80", "8000-8999,30000-32767": "8000-8999,30000-32767", "5, 1-3 4": "1-5", "1-65535": "1-65535",
		"10-20,15-30": "10-30", "65535,65534": "65534-65535",
	} {
		p, err := ParsePorts(in)
		if err != nil || p.String() != want {
			t.Errorf("ParsePorts(%q) = %q, %v; want %q", in, p.String(), err, want)
		}
	}
	for _, in := range []string{"0", "0-5", "65536", "9-8", "a", "1-2-3", "-5", "5-"} {
		if p, err := ParsePorts(in); err == nil {
			t.Errorf("ParsePorts(%q) = %q", in, p.String())
		}
	}
}

// TestPortSetAgainstMap runs random changes on a set and on a plain map, near both ends of the range of ports.
func TestPortSetAgainstMap(t *testing.T) {
	port := rapid.OneOf(rapid.Uint16Range(1, 24), rapid.Uint16Range(65520, 65535))
	rapid.Check(t, func(t *rapid.T) {
		var p PortSet
		oracle := map[uint16]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n := port.Draw(t, "port")
				p.Add(n)
				oracle[n] = true
			},
			"add range": func(t *rapid.T) {
				a, n := port.Draw(t, "first"), rapid.Uint16Range(0, 9).Draw(t, "more")
				last := min(int(a)+int(n), 65535)
				p.AddRange(PortRange{a, uint16(last)})
				for i := int(a); i <= last; i++ {
					oracle[uint16(i)] = true
				}
			},
			"remove": func(t *rapid.T) {
				n := port.Draw(t, "port")
				before := p.Clone()
				if got := p.Remove(n); got != oracle[n] {
					t.Fatalf("Remove(%d) = %v", n, got)
				}
				if before.Contains(n) != oracle[n] {
					t.Fatal("a clone changed with its original")
				}
				delete(oracle, n)
			},
			"take": func(t *rapid.T) {
				n := rapid.IntRange(0, 5).Draw(t, "n")
				got, ok := p.Take(n)
				if want := sorted(oracle); ok != (n <= len(want)) || ok && !slices.Equal(got, want[:n]) {
					t.Fatalf("Take(%d) = %v, %v of %v", n, got, ok, want)
				}
				for _, n := range got {
					delete(oracle, n)
				}
			},
			"": func(t *rapid.T) { checkPorts(t, p, oracle) },
		})
	})
}

func checkPorts(t *rapid.T, p PortSet, oracle map[uint16]bool) {
	if p.Len() != len(oracle) {
		t.Fatalf("%d ports in %s, want %v", p.Len(), p, sorted(oracle))
	}
	for n := range uint16(65535) {
		if (n < 40 || n > 65500) && p.Contains(n) != oracle[n] {
			t.Fatalf("Contains(%d) = %v in %s", n, p.Contains(n), p)
		}
	}
	for i, r := range p.ranges {
		if r.Last < r.First || i > 0 && int(p.ranges[i-1].Last)+1 >= int(r.First) {
			t.Fatalf("ranges %v are not sorted, disjoint and apart", p.ranges)
		}
	}
	again, err := ParsePorts(p.String())
	if err != nil || again.String() != p.String() {
		t.Fatalf("%s reads back as %s, %v", p, again, err)
	}
}

func sorted(set map[uint16]bool) []uint16 {
	out := []uint16{}
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"80", "8000-8999,30000-32767", "1-65535", "5 4,3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePorts(s)
		if err != nil {
			return
		}
		again, err := ParsePorts(p.String())
		if err != nil || fmt.Sprint(again.ranges) != fmt.Sprint(p.ranges) {
			t.Fatalf("%q: %v reads back as %v, %v", s, p.ranges, again.ranges, err)
		}
	})
}
