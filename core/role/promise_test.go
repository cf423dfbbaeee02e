package role

import (
	"fmt"
	"strings"
	"testing"

	"polder.dev/polder/core/resource"
)

// TestValidateRefusesTooMuchToCheck: a plan that would take minutes to check is refused at once.
func TestValidateRefusesTooMuchToCheck(t *testing.T) {
	p := &Plan{Roles: map[string]RoleSpec{}}
	for i := range 8000 {
		p.Roles[fmt.Sprintf("r%d", i)] = RoleSpec{}
	}
	for i := range MaxWindows {
		p.Windows = append(p.Windows, Window{
			Name: fmt.Sprintf("w%d", i), When: When{Daily: fmt.Sprintf("%02d:%02d-%02d:%02d", i%24, i%60, (i+7)%24, i*7%60)},
			Set: map[string]RoleSpec{fmt.Sprintf("r%d", i): {Guarantee: resource.Resources{"cpu": 2000}}},
		})
	}
	problems := Validate(p)
	if len(problems) != 1 || problems[0].Path != "windows" || !strings.Contains(problems[0].Message, "more than can be checked") {
		t.Errorf("problems are %.300v", problems)
	}
}
