package auth

import (
	"fmt"
	"slices"
	"strings"

	"polder.dev/polder/core/role"
)

// Verb is something one may be allowed to do on a role; the package comment has the table.
type Verb string

// The closed list of verbs.
const (
	View     Verb = "view"
	Logs     Verb = "logs"
	Run      Verb = "run"
	Exec     Verb = "exec"
	Host     Verb = "host"
	Plan     Verb = "plan"
	Node     Verb = "node"
	TokenUse Verb = "token"
	Admin    Verb = "admin"
)

// Verbs lists every verb.
var Verbs = []Verb{View, Logs, Run, Exec, Host, Plan, Node, TokenUse, Admin}

// AdminGroup is the group that holds admin on everything, by a rule that cannot be removed.
const AdminGroup = "admin"

// Anyone is the subject of a rule for every authenticated user and door.
const Anyone = "*"

// Rule is one line of the permission table.
type Rule struct {
	Subject string `json:"subject"` // "user:<name>", "door:<name>", "group:<name>" or "*"
	Verbs   []Verb `json:"verbs"`
	Role    string `json:"role"` // "corp/search", "corp/search/**", "**", or "/" for the root alone
}

// Policy is a checked, immutable permission table.
type Policy struct {
	rules     []Rule
	bySubject map[string][]Rule
}

var builtin = Rule{Subject: "group:" + AdminGroup, Verbs: []Verb{Admin}, Role: "**"}

// NewPolicy checks the rules and builds the table, the built-in rule included. Errors are [ErrInvalid] and name the rule.
func NewPolicy(rules []Rule) (*Policy, error) {
	p := &Policy{rules: slices.Clone(rules), bySubject: map[string][]Rule{builtin.Subject: {builtin}}}
	for i, r := range rules {
		if err := r.validate(); err != nil {
			return nil, fmt.Errorf("rule %d (%s): %w", i+1, r.Subject, err)
		}
		p.bySubject[r.Subject] = append(p.bySubject[r.Subject], r)
	}
	return p, nil
}

// Rules returns the rules in the order given, without the built-in one.
func (p *Policy) Rules() []Rule { return slices.Clone(p.rules) }

// Check returns nil if id may do verb on the role, else an [ErrDenied] that says who, what, where, and how to get it. For
// nobody it is [ErrNoCredentials]. rolePath is as in the plan, "" for the root; a trailing "/.self" means its parent.
func (p *Policy) Check(id Identity, verb Verb, rolePath string) error {
	if id.IsZero() {
		return ErrNoCredentials
	}
	path := role.Display(rolePath)
	if id.Kind == Agent {
		return fmt.Errorf("%w: %s may not %s on role %s: an agent acts only for its own node", ErrDenied, id, verb, show(path))
	}
	if !slices.Contains(Verbs, verb) || checkPath(path) != nil {
		return fmt.Errorf("%w: %s may not %q on role %q: no such verb or path", ErrDenied, id, verb, path)
	}
	if p.allows(id, verb, path) {
		return nil
	}
	return fmt.Errorf("%w: %s may not %s on role %s; an admin can allow it with the rule {subject: %q, verbs: [%s], role: %q}",
		ErrDenied, id, verb, show(path), id, verb, show(path))
}

func (p *Policy) allows(id Identity, verb Verb, path string) bool {
	if matchesAny(p.bySubject[id.String()], verb, path) || matchesAny(p.bySubject[Anyone], verb, path) {
		return true
	}
	return slices.ContainsFunc(id.Groups, func(g string) bool {
		return matchesAny(p.bySubject["group:"+g], verb, path)
	})
}

// CheckToken returns nil if id may issue or revoke a user token of that name and those groups: an admin of the root any,
// others (with the verb token on the root) only one that grants nothing they do not have themselves.
func (p *Policy) CheckToken(id Identity, name string, groups []string) error {
	if p.Check(id, Admin, "") == nil {
		return nil
	}
	if err := p.Check(id, TokenUse, ""); err != nil {
		return err
	}
	foreign := slices.ContainsFunc(groups, func(g string) bool { return !id.InGroup(g) })
	if id.Kind != User || id.Name != name || foreign {
		return fmt.Errorf("%w: %s may issue and revoke tokens only for itself and its own groups; ask an admin", ErrDenied, id)
	}
	return nil
}

// CheckNode returns nil if id is the agent of that node. People act on nodes by Check(id, Node, "").
func CheckNode(id Identity, node string) error {
	switch {
	case id.IsZero():
		return ErrNoCredentials
	case id.Kind != Agent:
		return fmt.Errorf("%w: %s is not an agent; only the agent of node %s may do this", ErrDenied, id, node)
	case id.Name != node:
		return fmt.Errorf("%w: %s may not act for node %s: an agent acts only for its own node", ErrDenied, id, node)
	}
	return nil
}

func matchesAny(rules []Rule, verb Verb, path string) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		return (slices.Contains(r.Verbs, verb) || slices.Contains(r.Verbs, Admin)) && matchesPath(r.Role, path)
	})
}

// matchesPath reports whether the pattern covers the role.
func matchesPath(pattern, path string) bool {
	if pattern == "**" {
		return true
	}
	if top, ok := strings.CutSuffix(pattern, "/**"); ok {
		return path == top || strings.HasPrefix(path, top+"/")
	}
	return show(path) == pattern
}

func (r Rule) validate() error {
	if err := checkSubject(r.Subject); err != nil {
		return err
	}
	if len(r.Verbs) == 0 {
		return fmt.Errorf("%w: no verbs; choose from %v", ErrInvalid, Verbs)
	}
	for _, v := range r.Verbs {
		if !slices.Contains(Verbs, v) {
			return fmt.Errorf("%w: unknown verb %q; choose from %v", ErrInvalid, v, Verbs)
		}
	}
	if r.Role == "**" || r.Role == "/" {
		return nil
	}
	top := strings.TrimSuffix(r.Role, "/**")
	if top == "" {
		return fmt.Errorf("%w: role %q: write \"**\" for everything, \"/\" for the root alone", ErrInvalid, r.Role)
	}
	return checkPath(top)
}

func checkSubject(s string) error {
	if s == Anyone {
		return nil
	}
	kind, name, _ := strings.Cut(s, ":")
	if kind != string(User) && kind != string(Door) && kind != "group" {
		return fmt.Errorf("%w: subject %q: write user:<name>, door:<name>, group:<name> or *", ErrInvalid, s)
	}
	return checkName(name)
}

// checkPath accepts "" and paths of non-empty elements without wildcards, control characters, "." and "..".
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	for element := range strings.SplitSeq(path, "/") {
		bad := strings.ContainsFunc(element, func(c rune) bool { return c == '*' || c < ' ' || c == 0x7f })
		if element == "" || element == "." || element == ".." || element == role.Self || bad {
			return fmt.Errorf("%w: role path %q: write it as corp/search, or corp/search/** for the subtree", ErrInvalid, path)
		}
	}
	return nil
}

// show writes the root as "/".
func show(path string) string {
	if path == "" {
		return "/"
	}
	return path
}
