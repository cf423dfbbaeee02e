package main

import (
	"fmt"
	"testing"
	"time"

	"polder.dev/polder/e2e/witness"
)

// at is a moment of a small story: its notice is issued at 10 s and ends at 12 s.
func at(seconds float64) time.Time {
	return time.Unix(0, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func word(kind string, seconds float64) witness.Word {
	return witness.Word{Kind: kind, At: at(seconds)}
}

func read(seconds float64, state string, deadline float64) witness.Word {
	w := word(witness.Noticed, seconds)
	w.Notice = &witness.Document{ID: "n", Issued: at(10), Deadline: at(deadline), State: state, Written: at(seconds)}
	return w
}

// TestVerdictBites gives the judge every way to go wrong, and something much like it that is fine.
func TestVerdictBites(t *testing.T) {
	open, withdrawn, finished := read(10.1, "open", 12), read(11, "withdrawn", 12), word(witness.Finished, 20)
	cases := []struct {
		name                                   string
		words                                  []witness.Word
		gone                                   float64
		kill                                   time.Duration // own grace of the kill policy
		early, lost, duplicates, robbed, other int
	}{
		{"finishes", []witness.Word{finished, word(witness.Exited, 20)}, 20, 0, 0, 0, 0, 0, 0},
		{"stays until the deadline", []witness.Word{open}, 12, 0, 0, 1, 0, 0, 0},
		{"is killed before it", []witness.Word{open}, 11.99, 0, 1, 1, 0, 0, 0},
		{"is killed without a notice", nil, 12, 0, 1, 1, 0, 0, 0},
		{"is killed after the withdrawal", []witness.Word{open, withdrawn}, 13, 0, 1, 1, 0, 0, 0},
		{"gets the signal too early", []witness.Word{open, word(witness.Termed, 11.5), word(witness.Exited, 11.5)}, 11.5, 0, 1, 1, 0, 0, 0},
		{"gets the signal as early as it wished", []witness.Word{open, word(witness.Termed, 11.5), word(witness.Exited, 11.5)}, 11.5, time.Second, 0, 1, 0, 0, 0},
		{"gets it before half of the notice", []witness.Word{open, word(witness.Termed, 10.9), word(witness.Exited, 10.9)}, 10.9, time.Minute, 1, 1, 0, 0, 0},
		{"gets it after it answered", []witness.Word{open, word(witness.Answered, 10.2), word(witness.Termed, 10.3)}, 10.4, 0, 0, 1, 0, 0, 0},
		{"has too short a notice", []witness.Word{read(10.1, "open", 11.9), word(witness.Exited, 11)}, 11, 0, 1, 1, 0, 0, 0},
		{"has its deadline moved forward", []witness.Word{open, read(10.5, "open", 11.5), word(witness.Exited, 12)}, 12, 0, 1, 1, 0, 0, 0},
		{"runs twice", []witness.Word{word(witness.Duplicate, 9), word(witness.Exited, 9)}, 9, 0, 0, 1, 1, 0, 0},
		{"works twice", []witness.Word{finished, word(witness.Again, 20), word(witness.Exited, 20)}, 20, 0, 0, 0, 1, 0, 0},
		{"cannot read its notice", []witness.Word{word(witness.Trouble, 9), finished, word(witness.Exited, 20)}, 20, 0, 0, 0, 0, 0, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			run := witness.Run{Task: "a.0", Instance: witness.Instance{Ask: "a"}, Words: append([]witness.Word{word(witness.Started, 8)}, c.words...), Gone: at(c.gone)}
			v := judge([]witness.Run{run}, map[string]*asked{"a": {count: 1, offline: true, grace: 2 * time.Second, kill: c.kill}})
			expect(t, v, c.early, c.lost, c.duplicates, c.robbed, c.other)
		})
	}
}

// TestVerdictOnTheGuaranteed judges a task that pays for itself, and two attempts that overlap.
func TestVerdictOnTheGuaranteed(t *testing.T) {
	mine := witness.Run{Task: "a.0", Instance: witness.Instance{Ask: "a"}, Words: []witness.Word{word(witness.Started, 8), read(10.1, "open", 12)}, Gone: at(13)}
	asks := map[string]*asked{"a": {count: 1}}
	expect(t, judge([]witness.Run{mine}, asks), 0, 1, 0, 1, 0)
	mine.Words = mine.Words[:1]
	expect(t, judge([]witness.Run{mine}, asks), 1, 1, 0, 0, 0)

	second := mine
	mine.Words = append(mine.Words, word(witness.Exited, 13))
	second.Task, second.Attempt = "a.0.1", 1
	second.Words = []witness.Word{word(witness.Started, 12), word(witness.Finished, 14), word(witness.Exited, 14)}
	expect(t, judge([]witness.Run{mine, second}, asks), 0, 0, 1, 0, 0)
	expect(t, judge([]witness.Run{second}, nil), 0, 0, 0, 0, 1)
}

func expect(t *testing.T, v *verdict, early, lost, duplicates, robbed, other int) {
	t.Helper()
	want := fmt.Sprint(early, lost, duplicates, robbed, other)
	if got := fmt.Sprint(len(v.early), len(v.lost), len(v.duplicates), len(v.robbed), len(v.trouble)); got != want {
		t.Errorf("early, lost, duplicates, robbed, other are %s, want %s: %+v", got, want, v)
	}
}
