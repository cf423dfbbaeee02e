package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// module is this repository's; its packages are named without it here.
const module = "polder.dev/polder/"

// repository is the root of the checkout.
var repository = os.DirFS("../..")

// source is one Go file.
type source struct {
	path      string // from the root, with slashes
	test      bool
	generated bool
	lines     int
	set       *token.FileSet
	file      *ast.File
}

// pkg is the package the file belongs to, without the module.
func (s *source) pkg() string { return path.Dir(s.path) }

// at is the file and line of a node.
func (s *source) at(n ast.Node) string { return s.path + ":" + strconv.Itoa(s.line(n.Pos())) }

func (s *source) line(p token.Pos) int { return s.set.Position(p).Line }

// imports lists what the file imports; packages of this module without the module's name.
func (s *source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		out = append(out, strings.TrimPrefix(strings.Trim(i.Path.Value, `"`), module))
	}
	return out
}

// hidden reports whether a directory holds nothing of the repository's own.
func hidden(name string) bool {
	return name != "." && strings.HasPrefix(name, ".") || name == "bin" || name == "testdata" || name == "node_modules"
}

// readAll visits every file of the repository with an extension.
func readAll(root fs.FS, ext string, visit func(name string, data []byte) error) error {
	return fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && hidden(d.Name()):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ext:
			return nil
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return visit(name, data)
	})
}

// parse reads every Go file below root.
func parse(root fs.FS) ([]*source, error) {
	var out []*source
	set := token.NewFileSet()
	err := readAll(root, ".go", func(name string, data []byte) error {
		f, err := parser.ParseFile(set, name, data, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, &source{name, strings.HasSuffix(name, "_test.go"), ast.IsGenerated(f), bytes.Count(data, []byte("\n")), set, f})
		return nil
	})
	return out, err
}

var parseOnce = sync.OnceValues(func() ([]*source, error) { return parse(repository) })

// sources are the repository's Go files.
func sources(t *testing.T) []*source {
	t.Helper()
	ss, err := parseOnce()
	if err != nil {
		t.Fatal(err)
	}
	if len(ss) < 100 {
		t.Fatalf("found %d Go files: this is not the repository", len(ss))
	}
	return ss
}

// rule looks at files and returns its complaints. Exceptions are by what the complaint is about, with their reasons.
type rule func(ss []*source, except *exceptions) []string

// exceptions are things a rule lets pass, each with its reason.
type exceptions struct {
	reasons map[string]string
	used    map[string]bool
}

func newExceptions(reasons map[string]string) *exceptions {
	return &exceptions{reasons, map[string]bool{}}
}

// has reports whether a thing is excepted, and remembers that it was asked for.
func (e *exceptions) has(thing string) bool {
	_, ok := e.reasons[thing]
	e.used[thing] = e.used[thing] || ok
	return ok
}

// idle complains about exceptions that excuse nothing or say no reason.
func (e *exceptions) idle() []string {
	var out []string
	for thing, reason := range e.reasons {
		if !e.used[thing] {
			out = append(out, "the exception for "+thing+" is not needed any more: remove it")
		}
		if len(reason) < 10 {
			out = append(out, "the exception for "+thing+" has no reason")
		}
	}
	slices.Sort(out)
	return out
}

// keep runs a rule on the repository.
func keep(t *testing.T, r rule, reasons map[string]string) {
	t.Helper()
	except := newExceptions(reasons)
	for _, complaint := range append(r(sources(t), except), except.idle()...) {
		t.Error(complaint)
	}
}
