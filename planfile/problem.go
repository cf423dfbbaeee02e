package planfile

import (
	"fmt"
	"sort"
	"strings"

	"polder.dev/polder/core/role"
)

// Problem is one thing wrong with a plan file.
type Problem struct {
	Line int `json:"line"` // from 1; of the nearest enclosing value that is written; 0 when unknown
	role.Problem
}

// String writes the problem on one line: line 12: roles["corp/search"].guarantee.cpu: what is wrong.
func (p Problem) String() string {
	text := p.Message
	if p.Path != "" {
		text = p.Path + ": " + text
	}
	if p.Line == 0 {
		return text
	}
	return fmt.Sprintf("line %d: %s", p.Line, text)
}

// Error is every problem of a plan file, by line. There is at least one.
type Error struct{ Problems []Problem }

// shown is how many problems the text of an Error spells out.
const shown = 20

// Error writes one problem a line, the first twenty.
func (e *Error) Error() string {
	var lines []string
	for i, p := range e.Problems {
		if i == shown {
			lines = append(lines, fmt.Sprintf("and %d more", len(e.Problems)-shown))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// errorOf returns the problems as an error, sorted by line, or nil when there are none.
func errorOf(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	sort.SliceStable(problems, func(i, j int) bool { return problems[i].Line < problems[j].Line })
	return &Error{problems}
}
