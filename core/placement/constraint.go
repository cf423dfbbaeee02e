package placement

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"polder.dev/polder/core/resource"
)

// NodeAttribute is the attribute that every node has: its own name. A node's attribute of that name is ignored.
const NodeAttribute = "node"

// Op is what a [Constraint] asks of an attribute, spelled as in its text.
type Op string

// The operators. A node that lacks the attribute fails all of them except NotEquals, NotIn, NotExists and NotMatches.
const (
	Equals         Op = "=="
	NotEquals      Op = "!="
	In             Op = "in"
	NotIn          Op = "not in"
	Exists         Op = "exists"
	NotExists      Op = "not exists"
	Matches        Op = "=~" // RE2, the whole value
	NotMatches     Op = "!~"
	Less           Op = "<" // numbers and versions, see [Constraint]
	LessOrEqual    Op = "<="
	Greater        Op = ">"
	GreaterOrEqual Op = ">="
)

// Bounds on one constraint, so that an ask cannot make placement slow.
const (
	maxValues      = 64
	maxValueBytes  = 256
	maxNumberParts = 8
)

// Constraint is a condition on one node attribute. Values holds one value, none for Exists and NotExists, and one or more
// for In and NotIn.
//
// The comparisons <, <=, > and >= read dotted numbers and compare them part by part, as versions are: 5.10 is more than
// 5.9, and 5 equals 5.0. Of a node's value the leading dotted number counts ("5.10.0-21-amd64" is 5.10.0); a value that
// does not start with a digit fails all four.
type Constraint struct {
	Attribute string
	Op        Op
	Values    []string
	// Passing, when set, says in a few words what is wrong where this fails, and that it may be over by itself: such a
	// constraint makes nothing impossible. It is not part of the text.
	Passing string
}

// Validate reports what is wrong with c: a name that no attribute can have, an unknown operator, a wrong number of values,
// a value longer than 256 bytes, a pattern that is not RE2, or a bound that is not a dotted number.
func (c Constraint) Validate() error {
	if !resource.ValidName(c.Attribute) {
		return fmt.Errorf("constraint on %q: name an attribute in lower-case letters, digits, '-', '_' and '.'", c.Attribute)
	}
	low, high := 1, 1
	switch c.Op {
	case Exists, NotExists:
		low, high = 0, 0
	case In, NotIn:
		high = maxValues
	case Equals, NotEquals, Matches, NotMatches, Less, LessOrEqual, Greater, GreaterOrEqual:
	default:
		return fmt.Errorf("constraint on %s: %q is no operator; use ==, !=, in, not in, exists, not exists, =~, !~, <, <=, > or >=", c.Attribute, c.Op)
	}
	if n := len(c.Values); n < low || n > high {
		return fmt.Errorf("constraint on %s: %q takes %d to %d values, not %d", c.Attribute, c.Op, low, high, n)
	}
	for _, v := range c.Values {
		if len(v) > maxValueBytes {
			return fmt.Errorf("constraint on %s: a value has %d bytes, the most is %d", c.Attribute, len(v), maxValueBytes)
		}
	}
	_, err := c.matcher()
	return err
}

// matcher is a constraint made ready to be tried on values.
type matcher struct {
	Constraint
	pattern *regexp.Regexp
	bound   version
}

func (c Constraint) matcher() (matcher, error) {
	m := matcher{Constraint: c}
	var err error
	switch c.Op {
	case Matches, NotMatches:
		if m.pattern, err = regexp.Compile(`\A(?:` + c.Values[0] + `)\z`); err != nil {
			return m, fmt.Errorf("constraint on %s: pattern %q: %w", c.Attribute, c.Values[0], err)
		}
	case Less, LessOrEqual, Greater, GreaterOrEqual:
		bound, rest, ok := parseVersion(c.Values[0])
		if !ok || rest != "" {
			return m, fmt.Errorf("constraint on %s: %q is not a number or version such as 8 or 5.10", c.Attribute, c.Values[0])
		}
		m.bound = bound
	}
	return m, nil
}

// match tries the value of a node's attribute; ok is false when the node lacks the attribute.
func (m *matcher) match(value string, ok bool) bool {
	switch m.Op {
	case Equals:
		return ok && value == m.Values[0]
	case NotEquals:
		return !ok || value != m.Values[0]
	case In:
		return ok && slices.Contains(m.Values, value)
	case NotIn:
		return !ok || !slices.Contains(m.Values, value)
	case Exists:
		return ok
	case NotExists:
		return !ok
	case Matches:
		return ok && m.pattern.MatchString(value)
	case NotMatches:
		return !ok || !m.pattern.MatchString(value)
	}
	return ok && m.compare(value)
}

func (m *matcher) compare(value string) bool {
	v, _, ok := parseVersion(value)
	if !ok {
		return false
	}
	switch order := v.compare(m.bound); m.Op {
	case Less:
		return order < 0
	case LessOrEqual:
		return order <= 0
	case Greater:
		return order > 0
	default:
		return order >= 0
	}
}

// version is a dotted number; parts that are not written are zero.
type version [maxNumberParts]uint64

func (v version) compare(w version) int {
	for i := range v {
		if d := cmp.Compare(v[i], w[i]); d != 0 {
			return d
		}
	}
	return 0
}

// parseVersion reads the leading dotted number of s and returns what follows it. It is not ok when s does not start with a
// digit or a part is too large.
func parseVersion(s string) (v version, rest string, ok bool) {
	for i := range v {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		part, err := strconv.ParseUint(s[:n], 10, 64)
		if err != nil {
			return v, s, false
		}
		v[i], s = part, s[n:]
		if len(s) < 2 || s[0] != '.' || s[1] < '0' || s[1] > '9' {
			break
		}
		if i < len(v)-1 {
			s = s[1:]
		}
	}
	return v, s, true
}

// constraintsKey puts the constraints of a shape into one text, the same for the same set.
func constraintsKey(cs []Constraint) string {
	texts := make([]string, len(cs))
	for i, c := range cs {
		texts[i] = c.String()
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), "\n")
}
