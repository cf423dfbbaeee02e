package swarm

import "testing"

// TestAsksToldEarly: what is told of an ask before anybody knows whose it is, is known when it turns out to be somebody's; not what there is
// nothing to know of, and nothing is kept when nobody asks for a place.
func TestAsksToldEarly(t *testing.T) {
	a := newAsks()
	a.about("stranger", saidMore)
	a.begin()
	a.begin()
	a.about("early", saidMore)
	a.about("started", saidStarted)
	a.about("ended", saidStarted)
	a.about("ended", saidMore)
	a.about("twice", saidStarted)
	a.about("twice", saidStarted)
	a.about("quiet", saidNothing)
	for ask, want := range map[string]said{"early": saidMore, "started": saidStarted, "ended": saidMore, "twice": saidMore, "quiet": saidNothing, "stranger": saidNothing} {
		if told := a.told(ask); told != want {
			t.Errorf("of %s was told %v, not %v", ask, told, want)
		}
		if told := a.own(ask, whose{task: "task of " + ask}); told != want {
			t.Errorf("of %s was told %v, not %v", ask, told, want)
		}
		if x, ours := a.about(ask, saidMore); !ours || x.task != "task of "+ask {
			t.Errorf("%s is of %q", ask, x.task)
		}
	}
	if a.own("early", whose{task: "task of early"}) != saidMore {
		t.Error("an ask that is known is not told of")
	}
	a.about("another's", saidMore)
	a.end()
	if a.told("another's") != saidMore {
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
