package orchestrator

import (
	"fmt"
	"regexp"
	"strings"
)

// Constraint is a rule about nodes, such as node.labels.zone==a.
type Constraint struct {
	Key   string
	Not   bool `json:",omitempty"`
	Value string
}

var (
	constraintKey   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/-]*$`)
	constraintValue = regexp.MustCompile(`^[a-zA-Z0-9:\-_\s.*()?+\[\]\\^$|/]+$`)
)

// ParseConstraint reads a constraint as the Engine API has it.
func ParseConstraint(s string) (Constraint, error) {
	key, value, not := "", "", false
	if k, v, ok := strings.Cut(s, "=="); ok {
		key, value = k, v
	} else if k, v, ok := strings.Cut(s, "!="); ok {
		key, value, not = k, v, true
	} else {
		return Constraint{}, fmt.Errorf("constraint %q: write KEY==VALUE or KEY!=VALUE", s)
	}
	c := Constraint{Key: strings.TrimSpace(key), Not: not, Value: strings.TrimSpace(value)}
	switch {
	case !constraintKey.MatchString(c.Key) || !constraintValue.MatchString(c.Value):
		return Constraint{}, fmt.Errorf("constraint %q: key or value has characters that it cannot have", s)
	case !known(c.Key):
		return Constraint{}, fmt.Errorf("constraint %q: the keys are node.id, node.hostname, node.role, node.platform.os, node.platform.arch, node.labels.NAME, engine.labels.NAME", s)
	}
	return c, nil
}

func known(key string) bool {
	switch strings.ToLower(key) {
	case "node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch":
		return true
	}
	_, ok := labelOf(key)
	return ok
}

// labelOf is the label that a key names. Labels of nodes and of engines are both what the agent says of its node.
func labelOf(key string) (string, bool) {
	for _, prefix := range []string{"node.labels.", "engine.labels."} {
		if len(key) > len(prefix) && strings.EqualFold(key[:len(prefix)], prefix) {
			return key[len(prefix):], true
		}
	}
	return "", false
}

// value is what a node has under a key.
func (n *Node) value(key string) string {
	switch strings.ToLower(key) {
	case "node.id":
		return n.ID
	case "node.hostname":
		return n.Name
	case "node.role":
		return "worker"
	case "node.platform.os":
		return "linux"
	case "node.platform.arch":
		return n.Arch
	}
	name, _ := labelOf(key)
	return n.label(name)
}

func (n *Node) label(name string) string {
	if v, ok := n.Labels[name]; ok {
		return v
	}
	return n.Attributes[name]
}

// Holds reports whether a node keeps to the rule. Case does not matter; a label that is not there is empty.
func (c Constraint) Holds(n *Node) bool {
	return strings.EqualFold(n.value(c.Key), c.Value) != c.Not
}

// String writes it as it was read.
func (c Constraint) String() string {
	if c.Not {
		return c.Key + "!=" + c.Value
	}
	return c.Key + "==" + c.Value
}
