package resource

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKinds(t *testing.T) {
	k := NewKinds()
	if k.Len() != int(wellKnown) || k.Name(CPU) != "cpu" || k.Name(GPU) != "gpu" {
		t.Fatalf("a new table has %d kinds, %q first", k.Len(), k.Name(CPU))
	}
	licences, err := k.Intern("licences")
	if again, _ := k.Intern("licences"); err != nil || licences != wellKnown || again != licences {
		t.Errorf("Intern = %d, %d, %v", licences, again, err)
	}
	if i, ok := k.Lookup("licences"); !ok || i != licences {
		t.Errorf("Lookup = %d, %v", i, ok)
	}
	for _, bad := range []string{"", "CPU", "1st", "a b", "a/b", "-a", "ä", strings.Repeat("a", 64)} {
		if _, err := k.Intern(bad); err == nil {
			t.Errorf("Intern(%q) is accepted", bad)
		}
	}
	for k.Len() < MaxKinds {
		if _, err := k.Intern(fmt.Sprint("kind", k.Len())); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Intern("straw"); err == nil || k.Len() != MaxKinds {
		t.Errorf("beyond the most: %v", err)
	}
	if i, err := k.Intern("gpu"); i != GPU || err != nil {
		t.Errorf("a full table forgets what it has: %v", err)
	}
}

func TestParseResources(t *testing.T) {
	for in, want := range map[string]Resources{
		"":                           {},
		"cpu=2,memory=4Gi":           {"cpu": 2000, "memory": 4 << 30},
		"cpu=2 memory=4Gi\n\tdisk=1": {"cpu": 2000, "memory": 4 << 30, "disk": 1},
		"gpu-a100/gpu=8,licences=.5": nil,
		"gpu-a100/gpu=8":             {"gpu-a100/gpu": 8000},
		"fast/disk=1Gi":              {"fast/disk": 1 << 30},
		"cpu":                        nil, "cpu=": nil, "=2": nil, "cpu=2,cpu=3": nil, "CPU=2": nil, "a/b/c=1": nil, "/cpu=1": nil, "cpu=-1": nil, "cpu=1=2": nil,
	} {
		got, err := Parse(in)
		if (err != nil) != (want == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestResourcesJSON(t *testing.T) {
	var r Resources
	if err := json.Unmarshal([]byte(`{"cpu": 0.5, "memory": "4Gi", "gpus/gpu": 2, "licences": "unlimited"}`), &r); err != nil {
		t.Fatal(err)
	}
	want := Resources{"cpu": 500, "memory": 4 << 30, "gpus/gpu": 2000, "licences": Unlimited}
	if !reflect.DeepEqual(r, want) {
		t.Fatalf("read %v, want %v", r, want)
	}
	data, err := json.Marshal(r)
	if err != nil || string(data) != `{"cpu":"0.5","gpus/gpu":"2","licences":"unlimited","memory":"4Gi"}` {
		t.Errorf("written %s, %v", data, err)
	}
	for _, bad := range []string{`[]`, `2`, `{"cpu": null}`, `{"cpu": true}`, `{"cpu": 1e3}`, `{"cpu": -1}`, `{"cpu": {}}`, `{"Cpu": 1}`, `{"cpu": "\u00"}`} {
		if err := json.Unmarshal([]byte(bad), &r); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func drawResources(t *rapid.T, k *Kinds, pool string) Resources {
	return rapid.Map(rapid.MapOf(rapid.IntRange(0, k.Len()-1), rapid.Map(rapid.Int64Range(1, 1<<50), func(i int64) Amount { return Amount(i) })),
		func(m map[int]Amount) Resources {
			r := Resources{}
			for i, a := range m {
				r[JoinName(pool, k.Name(Kind(i)))] = a
			}
			return r
		}).Draw(t, "resources")
}

func TestResourcesRoundTrips(t *testing.T) {
	k := NewKinds()
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.SampledFrom([]string{"", "gpus"}).Draw(t, "pool")
		r := drawResources(t, k, pool)
		if got, err := Parse(r.String()); err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%v is written %q and read %v, %v", map[string]Amount(r), r, got, err)
		}
		if got := r.Vector(k, pool).Resources(k, pool); !reflect.DeepEqual(got, r) {
			t.Fatalf("%v becomes %v on the way through a vector", r, got)
		}
		if !r.Vector(k, "other").IsZero() {
			t.Fatal("resources of one pool show up in another")
		}
		data, err := json.Marshal(r)
		var got Resources
		if err != nil || json.Unmarshal(data, &got) != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%s reads back as %v", data, got)
		}
	})
}

func TestVectorText(t *testing.T) {
	k := NewKinds()
	v := Resources{"memory": 4 << 30, "cpu": 2000}.Vector(k, "")
	if got := v.Text(k, ""); got != "cpu=2,memory=4Gi" {
		t.Errorf("Text = %q", got)
	}
	if got := v.Text(k, "gpus"); got != "gpus/cpu=2,gpus/memory=4Gi" {
		t.Errorf("Text = %q", got)
	}
	if got := (Vector{}).Text(k, ""); got != "nothing" {
		t.Errorf("Text = %q", got)
	}
}

// TestVectorAgainstFull compares operations on vectors of any length with the same on vectors padded with zeros.
func TestVectorAgainstFull(t *testing.T) {
	const n = 6
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.SliceOfN(rapid.Map(rapid.Int64Range(-3, 3), func(i int64) Amount { return Amount(i) }), 0, n)
		v, w := Vector(draw.Draw(t, "v")), Vector(draw.Draw(t, "w"))
		fv, fw := v.Clone(n), w.Clone(n)
		fits, equal, zero := true, true, true
		for i := range n {
			a, b := fv[i], fw[i]
			fits, equal, zero = fits && a <= b, equal && a == b, zero && a == 0
			if v.At(i) != a || v.Plus(w).At(i) != a+b || v.Minus(w).At(i) != a-b || v.Min(w).At(i) != min(a, b) || v.Max(w).At(i) != max(a, b) {
				t.Fatalf("%v and %v differ from full vectors at %d", v, w, i)
			}
		}
		if v.Fits(w) != fits || v.Equal(w) != equal || v.IsZero() != zero {
			t.Fatalf("%v fits %v: %v, equals it: %v, is zero: %v", v, w, v.Fits(w), v.Equal(w), v.IsZero())
		}
		if i := v.Negative(); i >= 0 && v[i] >= 0 || i < 0 && !fits && v.Max(nil).Equal(v) == false {
			t.Fatalf("%v: Negative = %d", v, i)
		}
		fv.Inc(w)
		fv.Dec(w)
		if !fv.Equal(v) {
			t.Fatalf("%v plus and minus %v is %v", v, w, fv)
		}
	})
}

func TestAttributes(t *testing.T) {
	a, err := ParseAttributes("zone=a, rack=r=12,empty=")
	want := Attributes{"zone": "a", "rack": "r=12", "empty": ""}
	if err != nil || !reflect.DeepEqual(a, want) || a.String() != "empty=,rack=r=12,zone=a" {
		t.Fatalf("attributes %v (%s), %v", map[string]string(a), a, err)
	}
	if again, err := ParseAttributes(a.String()); err != nil || !reflect.DeepEqual(again, a) {
		t.Errorf("read back %v, %v", again, err)
	}
	for _, bad := range []string{"zone", "=a", "Zone=a", "zone=a,zone=b"} {
		if got, err := ParseAttributes(bad); err == nil {
			t.Errorf("ParseAttributes(%q) = %v", bad, got)
		}
	}
	for _, tc := range []struct {
		selector Attributes
		want     bool
	}{{nil, true}, {Attributes{"zone": "a"}, true}, {Attributes{"zone": "b"}, false}, {Attributes{"zone": "a", "host": ""}, false}, {Attributes{"empty": ""}, true}} {
		if got := a.Match(tc.selector); got != tc.want {
			t.Errorf("Match(%s) = %v", tc.selector, got)
		}
	}
}

func FuzzResourcesJSON(f *testing.F) {
	for _, s := range []string{`{"cpu": 0.5, "memory": "4Gi"}`, `{"gpus/gpu": 2}`, `{"licences": "unlimited"}`, `{}`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, again Resources
		if json.Unmarshal(data, &r) != nil {
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &again); err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%s becomes %s and %v, %v", data, out, again, err)
		}
	})
}
