package house

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// What is longer does more than one thing; most are far shorter.
const (
	mostFile     = 1000
	mostFunction = 120
)

// thingsStaySmall checks files and functions, tests included. Generated code is exempt: nobody reads it from top to bottom.
func thingsStaySmall(ss []*source, except *exceptions) []string {
	var out []string
	for _, s := range ss {
		if s.generated {
			continue
		}
		if s.lines > mostFile && !except.has(s.path) {
			out = append(out, fmt.Sprintf("%s has %d lines, at most %d are allowed: split it by what its parts are about", s.path, s.lines, mostFile))
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.line(f.End()) - s.line(f.Pos()) + 1; n > mostFunction && !except.has(s.pkg()+"."+f.Name.Name) {
				out = append(out, fmt.Sprintf("%s: %s has %d lines, at most %d are allowed: give its steps names", s.at(f), f.Name.Name, n, mostFunction))
			}
		}
	}
	return out
}

func TestThingsStaySmall(t *testing.T) { keep(t, thingsStaySmall, nil) }

// drawers are names that say nothing about what is inside, so that everything ends up there.
var drawers = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}

// packagesHaveNames checks directories and package names.
func packagesHaveNames(ss []*source, except *exceptions) []string {
	var out []string
	for _, s := range ss {
		for _, name := range []string{path.Base(s.pkg()), strings.TrimSuffix(s.file.Name.Name, "_test")} {
			bad := slices.Contains(drawers, name) || strings.HasSuffix(name, "util") || strings.HasSuffix(name, "utils")
			if bad && !except.has(s.pkg()) {
				out = append(out, s.path+": "+name+" is a drawer, not a package: name what it is about")
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestPackagesHaveNames(t *testing.T) { keep(t, packagesHaveNames, nil) }
