package house

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	link     = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)`")
	fenced   = regexp.MustCompile("(?ms)^```.*?^```")
	spans    = regexp.MustCompile("`[^`\n]*`")
)

// linksResolve checks that every link within the repository leads to a file, and to a heading where it names one.
func linksResolve(root fs.FS) []string {
	var out []string
	err := readAll(root, ".md", func(name string, data []byte) error {
		for _, m := range link.FindAllStringSubmatch(spans.ReplaceAllString(prose(data), ""), -1) {
			if why := broken(root, name, m[1]); why != "" {
				out = append(out, fmt.Sprintf("%s links to %s: %s", name, m[1], why))
			}
		}
		return nil
	})
	if err != nil {
		out = append(out, err.Error())
	}
	return out
}

// prose is a document without its code blocks.
func prose(data []byte) string { return fenced.ReplaceAllString(string(data), "") }

// broken says what is wrong with a link in a document, if anything.
func broken(root fs.FS, from, target string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	file, heading, _ := strings.Cut(target, "#")
	to := from
	if file != "" {
		to = path.Join(path.Dir(from), file)
	}
	if _, err := fs.Stat(root, to); err != nil {
		return "there is no " + to
	}
	if heading == "" || path.Ext(to) != ".md" {
		return ""
	}
	data, err := fs.ReadFile(root, to)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(prose(data)) {
		if title := strings.TrimLeft(line, "#"); title != line && anchor(title) == heading {
			return ""
		}
	}
	return "no heading of " + to + " has the anchor " + heading
}

// anchor is how a heading is linked to: lower case, spaces as dashes, without punctuation.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(title))
}

func TestLinksResolve(t *testing.T) {
	for _, complaint := range linksResolve(repository) {
		t.Error(complaint)
	}
}

// testsNamedExist checks that documents claim only tests there are.
func testsNamedExist(root fs.FS, ss []*source) []string {
	there := map[string]bool{}
	for _, s := range ss {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test {
				there[f.Name.Name] = true
			}
		}
	}
	var out []string
	err := readAll(root, ".md", func(name string, data []byte) error {
		for _, m := range testName.FindAllStringSubmatch(string(data), -1) {
			if !there[m[1]] {
				out = append(out, name+" names "+m[1]+", but there is no such test")
			}
		}
		return nil
	})
	if err != nil {
		out = append(out, err.Error())
	}
	return out
}

func TestTestsNamedExist(t *testing.T) {
	for _, complaint := range testsNamedExist(repository, sources(t)) {
		t.Error(complaint)
	}
}
