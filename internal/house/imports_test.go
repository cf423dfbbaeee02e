package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// wing is a package with what lies below it. Its parts may import each other if it says why; Go forbids circles.
type wing struct {
	name   string
	inside string
}

// floors are from the ground up. An import goes down; wings of one floor do not know each other.
var floors = [][]wing{
	{{"api", "generated clients and handlers use the generated messages"}, {"internal/house", ""}, {"internal/mutants", ""}},
	{{"core/resource", ""}},
	{{"core/role", ""}},
	{{"core/lending", ""}, {"core/placement", ""}, {"core/waste", ""}},
	{{"core/reclaim", ""}, {"core/offer", ""}},
	{{"core/cluster", ""}},
	{
		{"planfile", ""}, {"auth", ""}, {"metrics", "its generator is its own"},
		{"store", "implementations use the interface, and its suite"},
		{"agent/runtime", "implementations use the interface, the cgroup tree and the suite"},
	},
	{{"server", "its tables are its own"}, {"agent", "its journal and health checks are its own"}, {"sim", "scenarios and reports"}},
	{{"door", ""}},
	{{"door/mesos", "a door's own parts"}, {"door/docker", "a door's own parts"}, {"kube", "the Kubernetes door's own parts"}, {"web", "the console's own parts"}},
	{{"cmd", "a program is put together from its own parts"}, {"e2e", "stories share their stage"}, {"bench", "measurements share their stage"}},
}

// upwards are imports that do not go down. There is none so far: say here why, as "importer imports imported".
var upwards = map[string]string{}

// place finds the floor and the wing of a package; the longest name counts.
func place(pkg string) (floor int, w wing, ok bool) {
	for i, f := range floors {
		for _, candidate := range f {
			if within(pkg, candidate.name) && len(candidate.name) > len(w.name) {
				floor, w, ok = i, candidate, true
			}
		}
	}
	return floor, w, ok
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// outside reports whether an import is of another module; std whether it is of the standard library.
func outside(imported string) bool { return strings.Contains(strings.Split(imported, "/")[0], ".") }
func std(imported string) bool {
	return !outside(imported) && !slices.ContainsFunc(floors, func(f []wing) bool {
		return slices.ContainsFunc(f, func(w wing) bool { return within(imported, w.name) })
	})
}

// importsGoDown checks every import of one of our packages by code that is not a test.
func importsGoDown(ss []*source, except *exceptions) []string {
	var out []string
	for _, s := range ss {
		from, here, ok := place(s.pkg())
		if !ok {
			out = append(out, fmt.Sprintf("package %s is on no floor: give it a place in floors and in docs/house.md", s.pkg()))
			continue
		}
		for _, imported := range s.imports() {
			to, there, ours := place(imported)
			if !ours || s.test || to < from || except.has(s.pkg()+" imports "+imported) {
				continue
			}
			if there != here || here.inside == "" {
				out = append(out, fmt.Sprintf("%s imports %s, which is not below it: see floors in docs/house.md", s.path, imported))
			}
		}
	}
	return slices.Compact(out)
}

func TestImportsGoDown(t *testing.T) { keep(t, importsGoDown, upwards) }

// nothingImportsCommands checks, tests included, that cmd is the roof, and that suites and fakes are for tests.
func nothingImportsCommands(ss []*source, except *exceptions) []string {
	var out []string
	for _, s := range ss {
		for _, imported := range s.imports() {
			if within(imported, "cmd") && !within(s.pkg(), "cmd") {
				out = append(out, s.path+" imports "+imported+": a command is the roof; move what is needed down")
			}
			for _, suite := range []string{"store/storetest", "server/servertest", "agent/runtime/runtimetest", "agent/runtime/fake"} {
				if imported == suite && !s.test && !except.has(s.pkg()+" imports "+imported) {
					out = append(out, s.path+" imports "+imported+", which is for tests")
				}
			}
		}
	}
	return out
}

func TestNothingImportsCommands(t *testing.T) { keep(t, nothingImportsCommands, nil) }

// pure is what the core may use of the standard library: what computes and does nothing else.
var pure = []string{
	"bytes", "cmp", "container/heap", "encoding/json", "errors", "fmt", "iter", "maps", "math", "math/bits", "regexp", "slices", "sort",
	"strconv", "strings", "time", "unicode", "unicode/utf8",
}

// coreStandsAlone checks that the core imports nothing but itself and what is pure. Its tests may use the whole standard
// library and the two modules that help to say what is expected.
func coreStandsAlone(ss []*source, except *exceptions) []string {
	var out []string
	for _, s := range ss {
		if !within(s.pkg(), "core") {
			continue
		}
		for _, imported := range s.imports() {
			fine := within(imported, "core") || slices.Contains(pure, imported)
			if s.test {
				fine = fine || std(imported) || imported == "pgregory.net/rapid" || within(imported, "github.com/google/go-cmp/cmp")
			}
			if !fine && !except.has(s.pkg()+" imports "+imported) {
				out = append(out, s.path+" imports "+imported+": the core is pure, so that every decision can be replayed")
			}
		}
	}
	return out
}

func TestCoreStandsAlone(t *testing.T) {
	keep(t, coreStandsAlone, map[string]string{
		"core/role imports time/tzdata": "the rules of time zones are data; built in, windows open on time on machines that have none",
	})
}
