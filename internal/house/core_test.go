package house

import (
	"go/ast"
	"slices"
	"testing"
)

// clock is what of package time looks at the machine.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation"}

// coreIsDeterministic checks that the core starts no goroutine, waits on no channel and looks at no clock. That it imports
// neither a source of chance nor a logger is [coreStandsAlone].
func coreIsDeterministic(ss []*source, except *exceptions) []string {
	var out []string
	for _, s := range ss {
		if s.test || !within(s.pkg(), "core") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			what := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				what = "a goroutine"
			case *ast.SelectStmt, *ast.ChanType:
				what = "a channel"
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					what = "time." + n.Sel.Name
				}
			}
			if what != "" && !except.has(s.path+" has "+what) {
				out = append(out, s.at(n)+" has "+what+": same events at the same times must give the same effects; take the time as an argument")
			}
			return true
		})
	}
	return out
}

func TestCoreIsDeterministic(t *testing.T) {
	keep(t, coreIsDeterministic, map[string]string{
		"core/role/schedule.go has time.LoadLocation": "a window's time zone is found by name, in the machine's database or the one built in; the same database gives the same rules",
	})
}
