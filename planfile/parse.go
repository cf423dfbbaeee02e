package planfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"polder.dev/polder/core/role"
)

// MaxSize is the largest file in bytes.
const MaxSize = 4 << 20

// Parse reads a plan and validates it. The error is an [*Error]. Aliases may be used; merge keys and a second document may
// not.
func Parse(data []byte) (*role.Plan, error) {
	var plan role.Plan
	if err := Decode(data, "plan", &plan, func() []role.Problem { return role.Validate(&plan) }); err != nil {
		return nil, err
	}
	return &plan, nil
}

// Decode reads another file of the house as strictly as a plan: into, a pointer to a struct, is filled by its json tags, and
// check, if it is not nil, then says what does not add up. What is the file's name in complaints, such as "plan". The error is
// an [*Error].
func Decode(data []byte, what string, into any, check func() []role.Problem) error {
	root, err := parseYAML(data, what)
	if err != nil {
		return errorOf([]Problem{syntaxProblem(err)})
	}
	d := decoder{what: what, lines: map[string]int{}, budget: maxValues}
	d.decode(root, reflect.ValueOf(into).Elem(), "")
	if len(d.problems) == 0 && check != nil {
		for _, p := range check() {
			d.problems = append(d.problems, Problem{d.lineOf(p.Path), p})
		}
	}
	return errorOf(d.problems)
}

// parseYAML returns the content of the only document.
func parseYAML(data []byte, what string) (*yaml.Node, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("the %s has %d bytes, more than the %d a %[1]s may have", what, len(data), MaxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, extra yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, fmt.Errorf("the %s is empty%s", what, hint(what))
	}
	if err != nil {
		return nil, err
	}
	if err := dec.Decode(&extra); err == nil {
		return nil, fmt.Errorf("line %d: a second document starts; a %s is one document", extra.Line, what)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return doc.Content[0], nil
}

// hint says how the smallest file of a kind looks.
func hint(what string) string {
	if what == "plan" {
		return "; write at least roles: {}"
	}
	return ""
}

var atLine = regexp.MustCompile(`^line (\d+): `)

// grammar matches the YAML errors that come from the grammar rather than from single characters: the library counts
// their lines from 0, and leaves out line 0.
var grammar = regexp.MustCompile(`^did not find expected (<|node content|'-' indicator|key$|',' or)`)

// syntaxProblem takes the line out of a YAML error.
func syntaxProblem(err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := atLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	if grammar.MatchString(text) {
		line++
	}
	return Problem{line, role.Problem{Message: text}}
}

// lineOf returns the line of the value at path or of the nearest one around it that is written.
func (d *decoder) lineOf(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = parent(path)
	}
	return d.lines[""]
}

// parent cuts the last step off a path as [role.JoinKey] and [role.JoinIndex] build it.
func parent(path string) string {
	if !strings.HasSuffix(path, "]") {
		return path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	if open := strings.LastIndexByte(path, '['); path[open+1] != '"' {
		return path[:open]
	}
	for i := len(path) - 2; i >= 0; i-- { // a quoted key may hold brackets: take the shortest suffix that unquotes
		if path[i] != '[' {
			continue
		}
		if _, err := strconv.Unquote(path[i+1 : len(path)-1]); err == nil {
			return path[:i]
		}
	}
	return ""
}
