package placement

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
)

func TestParseConstraint(t *testing.T) {
	for _, tc := range []struct{ in, text string }{
		{"zone==a", "zone==a"},
		{"  zone  ==  a ", "zone==a"},
		{"zone!=a=b", "zone!=a=b"},
		{`os=="Debian 12"`, `os=="Debian 12"`},
		{`os=="debian"`, "os==debian"},
		{`os==""`, `os==""`},
		{"rack in (r1,r2)", "rack in (r1,r2)"},
		{"rack in( r1 , \"r 2\" )", `rack in (r1,"r 2")`},
		{"rack  not   in (r1)", "rack not in (r1)"},
		{"gpu exists", "gpu exists"},
		{"gpu not  exists", "gpu not exists"},
		{"os=~debian|ubuntu", "os=~debian|ubuntu"},
		{"os=~a{1,2}", `os=~"a{1,2}"`},
		{"os!~win.*", "os!~win.*"},
		{"kernel>=5.10", "kernel>=5.10"},
		{"cores<8", "cores<8"},
		{"node==n1", "node==n1"},
	} {
		c, err := ParseConstraint(tc.in)
		if err != nil || c.String() != tc.text {
			t.Errorf("ParseConstraint(%q) = %q, %v; want %q", tc.in, c, err, tc.text)
		}
	}
}

func TestParseConstraintRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "write it like",
		"zone":                              "write it like",
		"zone=a":                            "write it like",
		"==a":                               "name an attribute",
		"Zone==a":                           "write it like",
		"zone==":                            "a value is missing",
		"zone==a b":                         "follows the value",
		`zone=="a`:                          "not a quoted string",
		"zone in ()":                        "a value is missing",
		"zone in (a":                        "does not end",
		"zone in (a) b":                     "does not end",
		"zone in a":                         "write it like",
		"gpu exists (a)":                    "write it like",
		"os=~(":                             "missing closing",
		"cores>many":                        "not a number or version",
		"cores>5.10-rc":                     "not a number or version",
		"cores>1.2.3.4.5.6.7.8.9":           "not a number or version",
		"zone==" + strings.Repeat("x", 257): "257 bytes",
		strings.Repeat("z", 64) + "==a":     "name an attribute",
		"z in (a" + strings.Repeat(",a", 64) + ")": "1 to 64 values",
	} {
		if c, err := ParseConstraint(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseConstraint(%q) = %v, %v; want an error with %q", in, c, err, want)
		}
	}
}

func TestMatch(t *testing.T) {
	attributes := resource.Attributes{"zone": "a", "cores": "16", "kernel": "5.10.0-21-amd64", "os": "debian", "odd": "x5", "empty": ""}
	for _, tc := range []struct {
		text string
		want bool
	}{
		{"zone==a", true}, {"zone==b", false}, {"none==a", false}, {`none==""`, false}, {`empty==""`, true},
		{"zone!=a", false}, {"zone!=b", true}, {"none!=a", true},
		{"zone in (a,b)", true}, {"zone in (b,c)", false}, {"none in (a)", false},
		{"zone not in (a,b)", false}, {"zone not in (b)", true}, {"none not in (a)", true},
		{"zone exists", true}, {"none exists", false}, {"none not exists", true}, {"zone not exists", false},
		{"os=~deb", false}, {"os=~deb.*", true}, {"os=~x|debian", true}, {"none=~.*", false},
		{"os!~deb", true}, {"os!~deb.*", false}, {"none!~.*", true},
		{"cores>=16", true}, {"cores>16", false}, {"cores<16.1", true}, {"cores<=9", false}, {"cores<=16.0", true},
		{"kernel>5.9", true}, {"kernel<5.11", true}, {"kernel>=5.10.1", false},
		{"odd>1", false}, {"odd<9", false}, {"none<9", false}, {"empty<9", false},
		{"node==n7", true}, {"node!=n7", false}, {"node=~n[0-9]", true},
	} {
		c, err := ParseConstraint(tc.text)
		if err != nil {
			t.Fatal(err)
		}
		m, _ := c.matcher()
		n := node{Node: Node{Name: "n7", Attributes: attributes}}
		if got := m.match(n.value(c.Attribute)); got != tc.want {
			t.Errorf("%s on %s: %v", tc.text, attributes, got)
		}
	}
}

func TestConstraintTextRoundTrips(t *testing.T) {
	ops := []Op{Equals, NotEquals, In, NotIn, Exists, NotExists, Matches, NotMatches, Less, LessOrEqual, Greater, GreaterOrEqual}
	rapid.Check(t, func(t *rapid.T) {
		c := Constraint{
			Attribute: rapid.StringMatching(`[a-z][a-z0-9._-]{0,5}`).Draw(t, "attribute"),
			Op:        rapid.SampledFrom(ops).Draw(t, "op"),
			Values:    rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }), rapid.Just("5.1")), 0, 3).Draw(t, "values"),
		}
		if c.Validate() != nil {
			t.Skip("not a constraint")
		}
		text, _ := c.MarshalText()
		var again Constraint
		if err := again.UnmarshalText(text); err != nil || again.String() != c.String() || again.Op != c.Op {
			t.Fatalf("%q reads back as %+v, %v", text, again, err)
		}
		for i, v := range c.Values {
			if again.Values[i] != v {
				t.Fatalf("%q: value %q became %q", text, v, again.Values[i])
			}
		}
	})
}

func FuzzParseConstraint(f *testing.F) {
	for _, s := range []string{"zone==a", `os=="Debian 12"`, "rack in (r1,\"r 2\")", "rack not in (r1)", "gpu exists", "gpu not exists", "os=~a|b", "kernel>=5.10", "a in(", "a==\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseConstraint(s)
		if err != nil {
			return
		}
		again, err := ParseConstraint(c.String())
		if err != nil || again.String() != c.String() {
			t.Fatalf("%q reads as %q, which reads as %q, %v", s, c, again, err)
		}
		m, err := c.matcher()
		if err != nil {
			t.Fatal(err)
		}
		m.match(s, true)
		m.match("", false)
	})
}
