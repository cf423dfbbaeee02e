package metrics

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestGeneratedFilesAreCurrent compares what is in the repository with what follows from the table.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	for name, want := range Files() {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not current: run \"make generate\" (%v)", name, err)
		}
	}
}

// TestNames checks the conventions that make a name say what it is.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Table() {
		if seen[m.Name] || !regexp.MustCompile(`^polder_[a-z_]+[a-z]$`).MatchString(m.Name) {
			t.Errorf("%s is no name, or there twice", m.Name)
		}
		seen[m.Name] = true
		if strings.HasSuffix(m.Name, "_total") != (m.Type == Counter) {
			t.Errorf("%s is a %s", m.Name, m.Type)
		}
		if m.Unit == "seconds" && !strings.HasSuffix(m.Name, "_seconds") {
			t.Errorf("%s is in seconds and does not say so", m.Name)
		}
		if (m.Buckets != nil) != (m.Type == Histogram) || !slices.IsSorted(m.Buckets) {
			t.Errorf("%s has buckets %v", m.Name, m.Buckets)
		}
		if m.Help == "" || !strings.HasSuffix(m.Help, ".") || m.Part == "" || m.Group == "" {
			t.Errorf("%s lacks help, part or group", m.Name)
		}
		for _, l := range m.Labels {
			if slices.Contains([]string{"task", "ask", "user", "node", "id", "name"}, l) {
				t.Errorf("%s has a series for every %s", m.Name, l)
			}
		}
	}
}

// TestExpressionsNameMetrics checks that alerts and graphs name only what there is, and that other programs can read the files.
func TestExpressionsNameMetrics(t *testing.T) {
	known := map[string]bool{}
	for _, m := range Table() {
		known[m.Name] = true
	}
	files := Files()
	text := string(files["docs/monitoring/alerts.yaml"]) + string(files["docs/monitoring/dashboard.json"])
	for _, f := range Shown() {
		text += f.Expr + "\n"
		if strings.HasSuffix(f.Page+f.Name, ".") || !strings.Contains(f.Expr, "polder_") {
			t.Errorf("%s: %s", f.Page, f.Name)
		}
	}
	text = strings.ReplaceAll(text, `{__name__=~"polder_role_(used|funded|borrowed|lent|leaving)"}`, "polder_role_used polder_role_funded polder_role_lent")
	found := regexp.MustCompile(`polder_[a-z_]+[a-z]`).FindAllString(text, -1)
	for _, name := range found {
		base := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !known[name] && !known[base] {
			t.Errorf("%s is no metric", name)
		}
	}
	if len(found) < len(Table()) {
		t.Errorf("only %d names were found", len(found))
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.UnmarshalStrict(files["docs/monitoring/alerts.yaml"], &struct{ Groups any }{}); err != nil {
		t.Error(err)
	}
	if err := yaml.Unmarshal(files["docs/monitoring/alerts.yaml"], &rules); err != nil || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) != len(Rules()) {
		t.Errorf("the alerts are read as %v, %v", rules, err)
	}
	for i, r := range Rules() {
		if rules.Groups[0].Rules[i].Expr != r.Expr {
			t.Errorf("alert %s is read as %q", r.Name, rules.Groups[0].Rules[i].Expr)
		}
	}
	var board struct{ Panels []struct{ Title string } }
	if err := json.Unmarshal(files["docs/monitoring/dashboard.json"], &board); err != nil || len(board.Panels) < len(Table()) {
		t.Errorf("the dashboard is read as %v, %v", board, err)
	}
}
