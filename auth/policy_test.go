package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatchesPath(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"corp/search", "corp/search", true},
		{"corp/search", "corp/search/rank", false},
		{"corp/search", "corp", false},
		{"corp/search/**", "corp/search", true},
		{"corp/search/**", "corp/search/rank", true},
		{"corp/search/**", "corp/searching", false},
		{"corp/search/**", "corp", false},
		{"corp/search/**", "", false},
		{"**", "", true},
		{"**", "corp/search/rank", true},
		{"/", "", true},
		{"/", "corp", false},
	} {
		if got := matchesPath(c.pattern, c.path); got != c.want {
			t.Errorf("matchesPath(%q, %q) = %v", c.pattern, c.path, got)
		}
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	for _, r := range []Rule{
		{Subject: "alice", Verbs: []Verb{View}, Role: "corp"},
		{Subject: "agent:node-1", Verbs: []Verb{View}, Role: "corp"},
		{Subject: "user:", Verbs: []Verb{View}, Role: "corp"},
		{Subject: "user:*", Verbs: []Verb{View}, Role: "corp"},
		{Subject: "", Verbs: []Verb{View}, Role: "corp"},
		{Subject: "user:alice", Role: "corp"},
		{Subject: "user:alice", Verbs: []Verb{"*"}, Role: "corp"},
		{Subject: "user:alice", Verbs: []Verb{View, ""}, Role: "corp"},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: ""},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: "/**"},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: "/corp"},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: "corp/"},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: "corp/*"},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: "**/rank"},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: "corp/../x"},
		{Subject: "user:alice", Verbs: []Verb{View}, Role: "corp/.self"},
	} {
		_, err := NewPolicy([]Rule{{Subject: "*", Verbs: []Verb{View}, Role: "**"}, r})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "rule 2") {
			t.Errorf("%+v: err = %v, want ErrInvalid that names rule 2", r, err)
		}
	}
}

func TestDenialSaysHow(t *testing.T) {
	p, err := NewPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Check(Identity{Kind: User, Name: "alice"}, Run, "corp/search/.self")
	if !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	for _, part := range []string{"user:alice", "run", "role corp/search;", `{subject: "user:alice", verbs: [run], role: "corp/search"}`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not hold %q", err, part)
		}
	}
}

func TestCheckBadPathsAndVerbs(t *testing.T) {
	p, err := NewPolicy([]Rule{{Subject: "*", Verbs: Verbs, Role: "**"}})
	if err != nil {
		t.Fatal(err)
	}
	alice := Identity{Kind: User, Name: "alice"}
	for _, path := range []string{"/", "corp/", "/corp", "corp//x", "corp/*", "corp/**", "..", "corp/../x", "corp/.self/x", "a\x00b", "a\nb"} {
		if err := p.Check(alice, View, path); !errors.Is(err, ErrDenied) {
			t.Errorf("%q: %v, want a denial", path, err)
		}
	}
	for _, verb := range []Verb{"", "*", "root", "View"} {
		if err := p.Check(alice, verb, "corp"); !errors.Is(err, ErrDenied) {
			t.Errorf("verb %q: %v, want a denial", verb, err)
		}
	}
}

// oracle decides as the package comment says, in the plainest way.
func oracle(rules []Rule, id Identity, verb Verb, path string) bool {
	if id.Kind == Agent || id.Name == "" {
		return false
	}
	for _, r := range append(rules, Rule{"group:admin", []Verb{Admin}, "**"}) {
		subject := r.Subject == "*" || r.Subject == string(id.Kind)+":"+id.Name
		for _, g := range id.Groups {
			subject = subject || r.Subject == "group:"+g
		}
		verbs := false
		for _, v := range r.Verbs {
			verbs = verbs || v == verb || v == Admin
		}
		elements, pattern := strings.Split(path, "/"), strings.Split(r.Role, "/")
		covers := r.Role == path || r.Role == "/" && path == ""
		if pattern[len(pattern)-1] == "**" {
			top := pattern[:len(pattern)-1]
			covers = len(elements) >= len(top) && slices.Equal(elements[:len(top)], top)
		}
		if subject && verbs && covers {
			return true
		}
	}
	return false
}

func TestPolicyAgainstOracle(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "ab", "admin"})
	path := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "ab", "b"}), 1, 3).Draw(t, "elements"), "/")
	})
	verb := rapid.SampledFrom(Verbs)
	rule := rapid.Custom(func(t *rapid.T) Rule {
		subject := "*"
		if kind := rapid.SampledFrom([]string{"*", "user", "door", "group"}).Draw(t, "kind"); kind != "*" {
			subject = kind + ":" + name.Draw(t, "subject")
		}
		role := path.Draw(t, "role")
		role = rapid.SampledFrom([]string{role, role + "/**", "**", "/"}).Draw(t, "pattern")
		return Rule{subject, rapid.SliceOfN(verb, 1, 2).Draw(t, "verbs"), role}
	})
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rule, 0, 5).Draw(t, "rules")
		p, err := NewPolicy(rules)
		if err != nil {
			t.Fatal(err)
		}
		id := Identity{
			Kind:   rapid.SampledFrom([]Kind{User, Agent, Door}).Draw(t, "kind"),
			Name:   name.Draw(t, "name"),
			Groups: rapid.SliceOfN(name, 0, 2).Draw(t, "groups"),
		}
		where := rapid.OneOf(path, rapid.Just("")).Draw(t, "path")
		v := verb.Draw(t, "verb")
		err = p.Check(id, v, where)
		if want := oracle(rules, id, v, where); want != (err == nil) {
			t.Fatalf("%v %s %q under %v: %v, oracle says %v", id, v, where, rules, err, want)
		}
		if err != nil && !errors.Is(err, ErrDenied) {
			t.Fatalf("%v is no denial", err)
		}
		if where != "" && (p.Check(id, v, where+"/.self") == nil) != (err == nil) {
			t.Fatalf("%s/.self differs from its role", where)
		}
	})
}

func TestCheckNode(t *testing.T) {
	for _, c := range []struct {
		id   Identity
		want error
	}{
		{Identity{Kind: Agent, Name: "node-1"}, nil},
		{Identity{Kind: Agent, Name: "node-2"}, ErrDenied},
		{Identity{Kind: User, Name: "node-1"}, ErrDenied},
		{Identity{Kind: Door, Name: "node-1"}, ErrDenied},
		{Identity{Kind: User, Name: "root", Groups: []string{AdminGroup}}, ErrDenied},
		{Identity{}, ErrNoCredentials},
	} {
		if err := CheckNode(c.id, "node-1"); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.id, err, c.want)
		}
	}
}

// TestCheckToken is about not rising: nobody issues a token that may do what they may not.
func TestCheckToken(t *testing.T) {
	p, err := NewPolicy([]Rule{
		{Subject: "user:op", Verbs: []Verb{TokenUse}, Role: "/"},
		{Subject: "door:kube", Verbs: []Verb{TokenUse}, Role: "/"},
		{Subject: "user:lead", Verbs: []Verb{Admin}, Role: "corp/**"},
	})
	if err != nil {
		t.Fatal(err)
	}
	op := Identity{Kind: User, Name: "op", Groups: []string{"ops"}}
	for _, c := range []struct {
		id     Identity
		name   string
		groups []string
		ok     bool
	}{
		{op, "op", nil, true},
		{op, "op", []string{"ops"}, true},
		{op, "op", []string{"ops", AdminGroup}, false},
		{op, "alice", nil, false},
		{Identity{Kind: Door, Name: "kube"}, "kube", nil, false},
		{Identity{Kind: User, Name: "lead"}, "lead", nil, false},
		{Identity{Kind: User, Name: "root", Groups: []string{AdminGroup}}, "alice", []string{AdminGroup}, true},
		{Identity{Kind: Agent, Name: "n"}, "n", nil, false},
		{Identity{}, "", nil, false},
	} {
		if err := p.CheckToken(c.id, c.name, c.groups); (err == nil) != c.ok {
			t.Errorf("%v issuing for %s %v: %v", c.id, c.name, c.groups, err)
		}
	}
}
