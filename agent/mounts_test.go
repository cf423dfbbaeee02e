package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func TestMountsStayInsideWhatIsAllowed(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"data/team", "data2", "secret"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{"data/escape": "../secret", "alias": "data"}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	allowed := []string{filepath.Join(dir, "data"), filepath.Join(dir, "gone")}
	for path, want := range map[string]string{
		"data": "data", "data/team": "data/team", "alias/team": "data/team",
		"data/escape": "", "data2": "", "secret": "", "data/../secret": "", ".": "", "data/missing": "",
	} {
		got, err := mountable{allowed: allowed}.of([]*polderv1.Mount{{Source: dir + "/" + path, Target: "/in"}})
		switch {
		case want == "" && err == nil:
			t.Errorf("%s was allowed as %v", path, got)
		case want == "" && !strings.Contains(err.Error(), "mount "):
			t.Errorf("%s: %v", path, err)
		case want != "" && (err != nil || got[0].Source != filepath.Join(dir, want)):
			t.Errorf("%s gave %v, %v", path, got, err)
		}
	}
	if _, err := (mountable{}).of([]*polderv1.Mount{{Source: dir, Target: "/in"}}); err == nil {
		t.Error("an agent that allows nothing allowed a mount")
	}
}
