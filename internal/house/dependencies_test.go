package house

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// required lists the modules of the go.mod in a directory of the repository.
func required(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = "../../" + dir
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod edit -json: %v", err)
	}
	var mod struct{ Require []struct{ Path string } }
	if err := json.Unmarshal(data, &mod); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range mod.Require {
		out = append(out, r.Path)
	}
	return out
}

// direct lists the modules our own files import, tests included, whatever go.mod calls indirect.
func direct(ss []*source, modules []string) []string {
	used := map[string]bool{}
	for _, s := range ss {
		for _, imported := range s.imports() {
			best := ""
			for _, m := range modules {
				if within(imported, m) && len(m) > len(best) {
					best = m
				}
			}
			if best != "" {
				used[best] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(used))
}

// defended checks the table of docs/dependencies.md: a row `module` | why | instead of | licence for each module.
func defended(doc string, modules []string) []string {
	rows := map[string][]string{}
	for line := range strings.Lines(doc) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if name := strings.TrimSpace(cells[0]); strings.Contains(name, "/") {
			rows[strings.Trim(name, "`")] = cells[1:]
		}
	}
	var out []string
	for _, m := range modules {
		cells, ok := rows[m]
		empty := slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) == "" })
		switch {
		case !ok:
			out = append(out, m+" has no row in docs/dependencies.md: why it, instead of what, which licence?")
		case len(cells) != 3 || empty:
			out = append(out, "the row of "+m+" in docs/dependencies.md must say why, instead of what, and the licence")
		}
	}
	for m := range maps.Keys(rows) {
		if !slices.Contains(modules, m) {
			out = append(out, m+" has a row in docs/dependencies.md but no file imports it: remove the row")
		}
	}
	slices.Sort(out)
	return out
}

func TestDependenciesAreDefended(t *testing.T) {
	doc, err := fs.ReadFile(repository, "docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	modules := slices.Concat(required(t, "."), required(t, "kube"), required(t, "bench/peers"))
	for _, complaint := range defended(string(doc), direct(sources(t), modules)) {
		t.Error(complaint)
	}
}
