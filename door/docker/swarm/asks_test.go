package swarm

import "testing"

// TestAsksToldEarly: what is told of an ask before anybody knows whose it is, is known when it turns out to be somebody's; not what there is
// nothing to know of, and nothing is kept when nobody asks for a place.
func TestAsksToldEarly(t *testing.T) {
	a := newAsks()
	a.about("stranger", true)
	a.begin()
	a.begin()
	a.about("early", true)
	a.about("quiet", false)
	for ask, want := range map[string]bool{"early": true, "quiet": false, "stranger": false} {
		if told := a.own(ask, "task of "+ask); told != want {
			t.Errorf("%s was told of: %v", ask, told)
		}
		if task, ours := a.about(ask, true); !ours || task != "task of "+ask {
			t.Errorf("%s is of %q", ask, task)
		}
	}
	if !a.own("early", "task of early") {
		t.Error("an ask that is known is not told of")
	}
	a.about("another's", true)
	a.end()
	if !a.early["another's"] {
		t.Error("what was told while somebody else still asks is forgotten")
	}
	a.end()
	if len(a.early) > 0 {
		t.Errorf("kept with nobody asking: %v", a.early)
	}
	a.forget("early")
	if _, ours := a.of("early"); ours {
		t.Error("an ask that is over is still somebody's")
	}
}
