package placement

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// symbols are the operators between attribute and value, longer ones before their prefixes.
var symbols = []Op{Equals, NotEquals, Matches, NotMatches, LessOrEqual, GreaterOrEqual, Less, Greater}

// ParseConstraint reads a constraint as a person writes it:
//
//	zone==a   zone!=a   rack in (r1,r2)   rack not in (r1,r2)   gpu exists   gpu not exists
//	os=~debian|ubuntu   os!~windows.*   cores>=8   kernel<6.1
//
// Space around the parts does not matter. A value with spaces, commas, quotes or parentheses is written as a quoted Go
// string: os=="Debian 12". The attribute "node" is the node's name.
func ParseConstraint(s string) (Constraint, error) {
	text := strings.TrimSpace(s)
	n := strings.IndexFunc(text, func(r rune) bool { return !attributeRune(r) })
	if n < 0 {
		n = len(text)
	}
	c := Constraint{Attribute: text[:n]}
	if err := c.parseCondition(strings.TrimSpace(text[n:])); err != nil {
		return Constraint{}, fmt.Errorf("constraint %q: %w", s, err)
	}
	if err := c.Validate(); err != nil {
		return Constraint{}, err
	}
	return c, nil
}

func attributeRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// parseCondition reads what follows the attribute.
func (c *Constraint) parseCondition(s string) error {
	for _, op := range symbols {
		if rest, ok := strings.CutPrefix(s, string(op)); ok {
			return c.parseOne(op, strings.TrimSpace(rest))
		}
	}
	head, list, hasList := strings.Cut(s, "(")
	op := Op(strings.Join(strings.Fields(head), " "))
	switch {
	case (op == Exists || op == NotExists) && !hasList:
		c.Op = op
		return nil
	case (op == In || op == NotIn) && hasList:
		c.Op = op
		return c.parseList(list)
	}
	return fmt.Errorf("write it like zone==a, zone!=a, rack in (r1,r2), gpu exists, os=~debian.*, kernel>=5.10")
}

func (c *Constraint) parseOne(op Op, s string) error {
	value, rest, err := parseValue(s, "")
	if err != nil {
		return err
	}
	if rest != "" {
		return fmt.Errorf("%q follows the value; a value with spaces, commas or parentheses is written in double quotes", rest)
	}
	c.Op, c.Values = op, []string{value}
	return nil
}

// parseList reads "r1, r2)".
func (c *Constraint) parseList(s string) error {
	for {
		value, rest, err := parseValue(strings.TrimSpace(s), ",)")
		if err != nil {
			return err
		}
		c.Values = append(c.Values, value)
		switch rest = strings.TrimSpace(rest); {
		case rest == ")":
			return nil
		case strings.HasPrefix(rest, ","):
			s = rest[1:]
		default:
			return fmt.Errorf("the list of values does not end in ')'")
		}
	}
}

// parseValue reads a quoted value, or a plain one up to one of the stop characters. Outside lists a plain value may hold
// anything but spaces and quotes, so that patterns are seldom quoted.
func parseValue(s, stop string) (value, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", fmt.Errorf("%s is not a quoted string", s)
		}
		value, err = strconv.Unquote(quoted)
		return value, s[len(quoted):], err
	}
	n := strings.IndexFunc(s, func(r rune) bool { return !plainRune(r) || strings.ContainsRune(stop, r) })
	if n < 0 {
		n = len(s)
	}
	if n == 0 {
		return "", "", fmt.Errorf("a value is missing; write an empty one as \"\"")
	}
	return s[:n], s[n:], nil
}

func plainRune(r rune) bool {
	return r != utf8.RuneError && r != '"' && unicode.IsGraphic(r) && !unicode.IsSpace(r)
}

// String writes c as [ParseConstraint] reads it: zone==a, rack in (r1,r2), gpu exists.
func (c Constraint) String() string {
	switch c.Op {
	case Exists, NotExists:
		return c.Attribute + " " + string(c.Op)
	case In, NotIn:
		return c.Attribute + " " + string(c.Op) + " (" + joinValues(c.Values) + ")"
	}
	return c.Attribute + string(c.Op) + joinValues(c.Values)
}

func joinValues(values []string) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v
		if v == "" || strings.ContainsAny(v, ",()") || strings.ContainsFunc(v, func(r rune) bool { return !plainRune(r) }) {
			texts[i] = strconv.Quote(v)
		}
	}
	return strings.Join(texts, ",")
}

// MarshalText writes c as its text.
func (c Constraint) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what [ParseConstraint] reads.
func (c *Constraint) UnmarshalText(text []byte) error {
	parsed, err := ParseConstraint(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}
