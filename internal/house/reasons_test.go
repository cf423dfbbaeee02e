package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// reasonsPage is where every reason code has its row.
const reasonsPage = "docs/reasons.md"

// speakers are the packages that give reasons; a door translates them into its own protocol's words.
var speakers = []string{"core/cluster", "core/lending", "core/placement", "core/reclaim", "server", "agent"}

// refusers are the functions that are given a code, and which argument it is.
var refusers = map[string]int{"refuse": 0, "refused": 0, "tell": 0}

// inner are outcomes that are constants beside codes and no reasons for anybody.
var inner = []string{"Planned", "NotGuaranteed"}

var (
	coded = regexp.MustCompile(`^[A-Z][A-Za-z]+$`)
	row   = regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\|")
)

// codesOf finds the reason codes that a file writes down: the Code of a reason, the code of a verdict, the first argument of what
// makes a refusal, and constants that are codes by their type or name.
func codesOf(s *source) map[string]string {
	out := map[string]string{}
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if code, err := strconv.Unquote(lit.Value); err == nil && coded.MatchString(code) && !slices.Contains(inner, code) {
				out[code] = s.at(lit)
			}
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && (key.Name == "Code" || key.Name == "code") {
				add(n.Value)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				field, isField := left.(*ast.SelectorExpr)
				local, isLocal := left.(*ast.Ident)
				if i < len(n.Rhs) && (isField && strings.EqualFold(field.Sel.Name, "code") || isLocal && local.Name == "code") {
					add(n.Rhs[i])
				}
			}
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if i, ok := refusers[name]; ok && i < len(n.Args) {
				add(n.Args[i])
				add(n.Args[min(2, len(n.Args)-1)]) // an agent's session says first which task, and how it ended
			}
		case *ast.ValueSpec:
			typed, _ := n.Type.(*ast.Ident)
			for i, name := range n.Names {
				if i < len(n.Values) && (strings.HasPrefix(name.Name, "code") || typed != nil && slices.Contains([]string{"Rule", "Reason", "Outcome"}, typed.Name)) {
					add(n.Values[i])
				}
			}
		}
		return true
	})
	return out
}

// reasonsAreDocumented compares the codes that are given with the rows of the page.
func reasonsAreDocumented(ss []*source, page string) []string {
	said := map[string]string{}
	for _, s := range ss {
		if !s.test && !s.generated && slices.ContainsFunc(speakers, func(p string) bool { return s.pkg() == p }) {
			maps.Copy(said, codesOf(s))
		}
	}
	written := map[string]bool{}
	var out []string
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		if written[m[1]] {
			out = append(out, fmt.Sprintf("%s has %s twice", reasonsPage, m[1]))
		}
		written[m[1]] = true
		if _, ok := said[m[1]]; !ok {
			out = append(out, fmt.Sprintf("%s has %s, which nobody gives as a reason any more", reasonsPage, m[1]))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(said)) {
		if !written[code] {
			out = append(out, fmt.Sprintf("%s: reason %s has no row in %s", said[code], code, reasonsPage))
		}
	}
	return out
}

func TestReasonsAreDocumented(t *testing.T) {
	page, err := fs.ReadFile(repository, reasonsPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range reasonsAreDocumented(sources(t), string(page)) {
		t.Error(complaint)
	}
}

func TestReasonRuleBites(t *testing.T) {
	ss := files{"server/a.go": "package server\nvar _ = Reason{Code: \"Odd\"}\nfunc f() { v.code = \"Strange\"; refused(\"Wrong\", \"x\") }\nconst codeNew = \"New\"\nvar a = \"Not\"\n"}.sources(t)
	got := reasonsAreDocumented(ss, "| `Odd` | x |\n| `Gone` | x |\n| `Odd` | y |\n")
	for _, want := range []string{"Odd twice", "Gone, which nobody", "Strange has no row", "Wrong has no row", "New has no row"} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%q is not told: %q", want, got)
		}
	}
	if len(got) != 5 {
		t.Errorf("told are %q", got)
	}
}
