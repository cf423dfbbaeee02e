package cli

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
)

var fencedYAML = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// TestPlanReference checks that the examples of the plan's reference are plans and that it and the help name every field.
func TestPlanReference(t *testing.T) {
	data, err := os.ReadFile("../../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := fencedYAML.FindAllStringSubmatch(string(data), -1)
	if len(examples) == 0 {
		t.Error("no example")
	}
	for _, m := range examples {
		if _, err := planfile.Parse([]byte(m[1])); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
	for _, of := range []any{role.Plan{}, role.RoleSpec{}, role.Window{}, role.When{}, role.PoolSpec{}, role.ClusterSpec{}} {
		for i := range reflect.TypeOf(of).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(of).Field(i).Tag.Get("json"), ",")
			if !strings.Contains(string(data), "`"+name+"`") {
				t.Errorf("docs/plan.md does not say what %s is", name)
			}
			if !strings.Contains(planLong, name) {
				t.Errorf("polder plan --help does not name %s", name)
			}
		}
	}
}
