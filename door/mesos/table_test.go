package mesos

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"polder.dev/polder/door/mesos/wire/agentv1"
	"polder.dev/polder/door/mesos/wire/masterv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// section reads the rows of a table of docs/mesos.md: what is said of each call.
func section(t *testing.T, title string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../../docs/mesos.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "### "+title+"\n")
	if !ok {
		t.Fatalf("docs/mesos.md has no section %q", title)
	}
	rest, _, _ = strings.Cut(rest, "\n#")
	out := map[string]string{}
	for line := range strings.Lines(rest) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			out[strings.TrimSpace(cells[1])] = strings.TrimSpace(cells[2])
		}
	}
	return out
}

// TestTable: docs/mesos.md says of every call whether it works, and says the truth.
func TestTable(t *testing.T) {
	said := section(t, "Scheduler: calls")
	for n, name := range schedulerv1.Call_Type_name {
		kind := schedulerv1.Call_Type(n)
		check(t, said, name, kind == schedulerv1.Call_SUBSCRIBE || calls[kind] != nil, n == 0)
	}
	said = section(t, "Operator: calls")
	for n, name := range masterv1.Call_Type_name {
		kind := masterv1.Call_Type(n)
		check(t, said, name, kind == masterv1.Call_SUBSCRIBE || queries[kind] != nil || orders[kind] != nil || reads[kind] != nil, n == 0)
	}
	said = section(t, "Agent: calls")
	for n, name := range agentv1.Call_Type_name {
		kind := agentv1.Call_Type(n)
		works := kind == agentv1.Call_ATTACH_CONTAINER_INPUT || agentCalls[kind] != nil || agentStreams[kind] != nil || agentQueries[kind] != nil
		check(t, said, name, works, n == 0)
	}
	var paths string
	for row := range section(t, "Documents") {
		paths += row + ","
	}
	for _, path := range slices.Concat(slices.Collect(maps.Keys(endpoints)), slices.Collect(maps.Keys(agentEndpoints))) {
		if !strings.Contains(paths+" ", strings.TrimSuffix(path, ".json")) {
			t.Errorf("docs/mesos.md does not mention %s", path)
		}
	}
}

// TestTableCounts: docs/mesos.md says how much works of what frameworks and tools need, and counts right.
func TestTableCounts(t *testing.T) {
	data, err := os.ReadFile("../../docs/mesos.md")
	if err != nil {
		t.Fatal(err)
	}
	all, works := 0, 0
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			continue
		}
		if need := strings.TrimSpace(cells[3]); need != "must" && need != "should" {
			continue
		}
		n := len(strings.Split(cells[1], ","))
		if all += n; strings.TrimSpace(cells[2]) == "works" {
			works += n
		}
	}
	want := fmt.Sprintf("of the %d that are *must* or *should*, %d work (%.1f %%).", all, works, 100*float64(works)/float64(all))
	if !strings.Contains(string(data), want) {
		t.Errorf("docs/mesos.md should say %q", want)
	}
}

func check(t *testing.T, said map[string]string, name string, works, unknown bool) {
	t.Helper()
	want := map[bool]string{true: "works", false: "refused"}[works]
	if got := said[name]; !unknown && got != want {
		t.Errorf("docs/mesos.md says of %s %q, it is %q", name, got, want)
	}
}
