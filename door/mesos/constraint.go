package mesos

import (
	"regexp"
	"slices"
	"strings"

	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// maxRegexp is the longest regular expression of a constraint, in bytes; Mesos bounds the compiled program instead.
const maxRegexp = 4 << 10

// constraint says which nodes a role wants to see: those that one of its groups accepts; none accepts all.
type constraint [][]predicate

// predicate accepts a node.
type predicate func(*node) bool

func (c constraint) accepts(n *node) bool {
	return len(c) == 0 || slices.ContainsFunc(c, func(group []predicate) bool {
		return !slices.ContainsFunc(group, func(p predicate) bool { return !p(n) })
	})
}

func compileConstraint(rc *schedulerv1.OfferConstraints_RoleConstraints) (constraint, error) {
	var out constraint
	for _, g := range rc.GetGroups() {
		var group []predicate
		for _, c := range g.GetAttributeConstraints() {
			p, err := compilePredicate(c)
			if err != nil {
				return nil, err
			}
			group = append(group, p)
		}
		if len(group) == 0 {
			return nil, refusal("Offer constraints: a group without constraints")
		}
		out = append(out, group)
	}
	return out, nil
}

// selector reads an attribute of a node.
type selector func(*node) (string, bool)

func compilePredicate(c *schedulerv1.AttributeConstraint) (predicate, error) {
	get, err := compileSelector(c.GetSelector())
	if err != nil {
		return nil, err
	}
	text := func(test func(string) bool, want bool) predicate {
		return func(n *node) bool { v, ok := get(n); return ok && test(v) == want || !ok && !want }
	}
	switch p := c.GetPredicate().GetPredicate().(type) {
	case *schedulerv1.AttributeConstraint_Predicate_Exists_:
		return func(n *node) bool { _, ok := get(n); return ok }, nil
	case *schedulerv1.AttributeConstraint_Predicate_NotExists_:
		return func(n *node) bool { _, ok := get(n); return !ok }, nil
	case *schedulerv1.AttributeConstraint_Predicate_TextEquals_:
		return text(func(v string) bool { return v == p.TextEquals.GetValue() }, true), nil
	case *schedulerv1.AttributeConstraint_Predicate_TextNotEquals_:
		return text(func(v string) bool { return v == p.TextNotEquals.GetValue() }, false), nil
	case *schedulerv1.AttributeConstraint_Predicate_TextMatches_:
		re, err := compileRegexp(p.TextMatches.GetRegex())
		return text(re, true), err
	case *schedulerv1.AttributeConstraint_Predicate_TextNotMatches_:
		re, err := compileRegexp(p.TextNotMatches.GetRegex())
		return text(re, false), err
	}
	return nil, refusal("Offer constraints: an attribute constraint without a predicate that is known")
}

func compileSelector(s *schedulerv1.AttributeConstraint_Selector) (selector, error) {
	switch x := s.GetSelector().(type) {
	case *schedulerv1.AttributeConstraint_Selector_AttributeName:
		return func(n *node) (string, bool) { v, ok := n.attributes[x.AttributeName]; return v, ok }, nil
	case *schedulerv1.AttributeConstraint_Selector_PseudoattributeType_:
		name := strings.ToLower(x.PseudoattributeType.String())
		switch x.PseudoattributeType {
		case schedulerv1.AttributeConstraint_Selector_HOSTNAME:
			return func(n *node) (string, bool) { return n.name, true }, nil
		case schedulerv1.AttributeConstraint_Selector_REGION, schedulerv1.AttributeConstraint_Selector_ZONE:
			return func(n *node) (string, bool) { v, ok := n.attributes[name]; return v, ok }, nil
		}
	}
	return nil, refusal("Offer constraints: a selector that is not known")
}

func compileRegexp(text string) (func(string) bool, error) {
	if len(text) > maxRegexp {
		return nil, refusal("Offer constraints: a regular expression of more than %d bytes", maxRegexp)
	}
	re, err := regexp.Compile(`^(?:` + text + `)$`)
	if err != nil {
		return nil, refusal("Offer constraints: %v", err)
	}
	return re.MatchString, nil
}
