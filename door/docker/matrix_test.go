package docker

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"polder.dev/polder/door/docker/fields"
)

var update = flag.Bool("update", false, "write the matrix into docs/docker.md")

const (
	document = "../../docs/docker.md"
	begin    = "<!-- matrix: go test ./door/docker -run Matrix -update -->\n"
	end      = "<!-- end of the matrix -->\n"
)

// matrix is what works and what does not, from the tables that decide it.
func matrix() string {
	var b strings.Builder
	b.WriteString("### Endpoints\n\n| call | served | |\n|---|---|---|\n")
	list := slices.Clone(Endpoints)
	slices.SortStableFunc(list, func(x, y Endpoint) int { return strings.Compare(x.Path, y.Path) })
	served := 0
	for _, e := range list {
		if e.Refused == "" {
			served++
			fmt.Fprintf(&b, "| `%s %s` | %s | |\n", e.Method, e.Path, e.Mode)
		} else {
			fmt.Fprintf(&b, "| `%s %s` | refused | %s |\n", e.Method, e.Path, e.Refused)
		}
	}
	fmt.Fprintf(&b, "\n%d of %d are served.\n", served, len(list))
	for _, t := range []struct {
		title string
		table fields.Table
	}{
		{"Fields of `POST /containers/create`", fields.Create}, {"Fields of `POST /containers/{id}/exec`", fields.Exec},
		{"Fields of `POST /containers/{id}/update`", fields.Update},
		{"Fields of `POST /networks/create`", fields.Network}, {"Fields of `POST /volumes/create`", fields.Volume},
		{"Fields of `POST /services/create` and `/services/{id}/update`", fields.Service}, {"Fields of `POST /secrets/create`", fields.Secret},
		{"Fields of `POST /configs/create`", fields.Config}, {"Fields of `POST /nodes/{id}/update`", fields.Node},
		{"Fields of `POST /swarm/update`", fields.Cluster},
	} {
		fmt.Fprintf(&b, "\n### %s\n\n| field | | |\n|---|---|---|\n", t.title)
		for _, name := range slices.Sorted(maps.Keys(t.table)) {
			if row := t.table[name]; row.Treatment != fields.Nested {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, row.Treatment, row.Note)
			}
		}
	}
	return b.String()
}

// TestMatrix: the document says what the tables say.
func TestMatrix(t *testing.T) {
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the matrix", document)
	}
	now := "\n" + matrix() + "\n"
	if *update {
		if err := os.WriteFile(document, []byte(head+begin+now+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != now {
		t.Errorf("%s is not what the tables say; run go test ./door/docker -run Matrix -update", document)
	}
}

// TestEveryEndpointIsWhole: a line is served by something, or says why it is not.
func TestEveryEndpointIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Endpoints {
		if (e.serve == nil) != (e.Refused != "") {
			t.Errorf("%s %s is neither served nor refused with a reason", e.Method, e.Path)
		}
		if seen[e.Method+" "+e.Path] {
			t.Errorf("%s %s is there twice", e.Method, e.Path)
		}
		seen[e.Method+" "+e.Path] = true
	}
}

// TestNoEndpointIsMissing: whatever the Engine API's own description has is in the table, and what engines have besides.
func TestNoEndpointIsMissing(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		t.Fatalf("where is the Engine API's description? %v", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "swagger.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	described, path := map[string]bool{"POST /grpc": true, "POST /build/cancel": true}, ""
	for line := range strings.Lines(string(text)) {
		if m := regexp.MustCompile(`^  (/\S+):\s*$`).FindStringSubmatch(line); m != nil {
			path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(m[1], "{}")
		}
		if m := regexp.MustCompile(`^    (get|post|put|delete|head):\s*$`).FindStringSubmatch(line); m != nil && path != "" {
			described[strings.ToUpper(m[1])+" "+path] = true
		}
	}
	for _, e := range Endpoints {
		name := e.Method + " " + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(e.Path, "{}")
		if !described[name] {
			t.Errorf("the Engine API has no %s", name)
		}
		delete(described, name)
	}
	if len(described) > 0 {
		t.Errorf("in the table there is no %v", slices.Sorted(maps.Keys(described)))
	}
}
