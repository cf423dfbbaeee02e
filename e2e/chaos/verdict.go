package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"polder.dev/polder/e2e/witness"
)

// verdict is what happened to the tasks, by their own account.
type verdict struct {
	asks, instances, runs int
	notices, withdrawn    int
	ends                  map[string]int // how runs under notice ended

	early      []string // ended, or told to stop, before their time
	lost       []string // instances that never finished
	duplicates []string
	robbed     []string // notice for a task on its own role's guarantee
	trouble    []string

	late  []time.Duration // from the deadline until a task that stayed was gone
	blind []time.Duration // from the last proof of life until the deadline
	told  []time.Duration // notice by the file's own time, less the notice promised

	kills *kills
	took  time.Duration
}

// bad reports whether anything happened that must not.
func (v *verdict) bad() bool {
	return len(v.early)+len(v.lost)+len(v.duplicates)+len(v.robbed)+len(v.trouble) > 0
}

// judge goes through everything that was witnessed.
func judge(runs []witness.Run, asks map[string]*asked) *verdict {
	v := &verdict{asks: len(asks), runs: len(runs), ends: map[string]int{}}
	finished := map[witness.Instance]int{}
	for i := range runs {
		r := &runs[i]
		v.words(r, finished)
		a := asks[r.Instance.Ask]
		switch {
		case a == nil:
			v.trouble = append(v.trouble, r.Task+" is of an ask nobody made")
		case a.offline:
			v.borrower(r, a)
		case len(r.Notices()) > 0:
			v.robbed = append(v.robbed, r.Task+" had notice on its own guarantee")
		case !a.cancelled && !ended(r):
			v.early = append(v.early, r.Task+" was killed on its own guarantee")
		}
	}
	for id, a := range asks {
		v.instances += a.count
		for i := range a.count {
			if !a.cancelled && finished[witness.Instance{Ask: id, Index: i}] == 0 {
				v.lost = append(v.lost, fmt.Sprintf("%s.%d never finished", id, i))
			}
		}
	}
	slices.Sort(v.lost)
	v.overlaps(runs)
	return v
}

// words collects what a worker itself complains about.
func (v *verdict) words(r *witness.Run, finished map[witness.Instance]int) {
	for _, w := range r.Words {
		switch w.Kind {
		case witness.Finished:
			finished[r.Instance]++
		case witness.Duplicate:
			v.duplicates = append(v.duplicates, r.Task+": "+w.Text)
		case witness.Again:
			v.duplicates = append(v.duplicates, r.Task+" did work that was finished before")
		case witness.Trouble:
			v.trouble = append(v.trouble, r.Task+": "+w.Text)
		}
	}
}

// ended reports whether a worker said its last word itself.
func ended(r *witness.Run) bool {
	_, ok := r.First(witness.Exited)
	return ok
}

// noticed is the newest notice of a run.
type noticed struct {
	witness.Document           // with the time its file was first written
	withdrawn        time.Time // when its file said so; zero when it is in force
}

// noticesOf lists the notices of a run, each as it was last. It complains about a deadline that moved forward.
func (v *verdict) noticesOf(r *witness.Run) (out []*noticed) {
	byID := map[string]*noticed{}
	for _, d := range r.Notices() {
		n := byID[d.ID]
		if n == nil {
			n = &noticed{Document: d}
			byID[d.ID] = n
			out = append(out, n)
			v.notices++
		}
		if d.Deadline.Before(n.Deadline) {
			v.early = append(v.early, fmt.Sprintf("%s: the deadline of %s was moved from %s to %s", r.Task, d.ID, clock(n.Deadline), clock(d.Deadline)))
		} else {
			n.Deadline = d.Deadline
		}
		if d.State == "withdrawn" && n.withdrawn.IsZero() {
			n.withdrawn = d.Written
			v.withdrawn++
		}
	}
	return out
}

// borrower judges one run of a borrower.
func (v *verdict) borrower(r *witness.Run, a *asked) {
	notices := v.noticesOf(r)
	for _, n := range notices {
		if n.Deadline.Sub(n.Issued) < a.grace {
			v.early = append(v.early, fmt.Sprintf("%s: notice of %v, promised %v", r.Task, n.Deadline.Sub(n.Issued), a.grace))
		}
	}
	answered, done := r.First(witness.Answered)
	if term, ok := r.First(witness.Termed); ok && !(done && answered.At.Before(term.At)) {
		v.onTime(r, "SIGTERM", term.At, notices, func(n *noticed) time.Time { return n.due(a.kill) })
	}
	v.ends[how(r, done, len(notices) > 0)]++
	if r.Gone.IsZero() || ended(r) || done {
		return
	}
	v.onTime(r, "SIGKILL", r.Gone, notices, func(n *noticed) time.Time { return n.Deadline })
	if len(notices) > 0 {
		n := notices[len(notices)-1]
		v.late = append(v.late, r.Gone.Sub(n.Deadline))
		v.blind = append(v.blind, n.Deadline.Sub(lastSign(r, n.Deadline)))
		v.told = append(v.told, r.Gone.Sub(n.Written)-a.grace)
	}
}

// due is when the stop signal of a notice may come: a kill policy's own grace before the deadline, but not in the first half.
func (n *noticed) due(own time.Duration) time.Time {
	return n.Deadline.Add(-min(own, n.Deadline.Sub(n.Issued)/2))
}

// onTime judges a signal: one of the notices must have been due for it, and in force until then.
func (v *verdict) onTime(r *witness.Run, signal string, at time.Time, notices []*noticed, due func(*noticed) time.Time) {
	why := "without a notice"
	for _, n := range notices {
		switch {
		case at.Before(due(n)):
			why = fmt.Sprintf("%v before %s, notice %s", due(n).Sub(at), clock(due(n)), n.ID)
		case !n.withdrawn.IsZero() && n.withdrawn.Before(due(n)):
			why = fmt.Sprintf("although notice %s was withdrawn at %s", n.ID, clock(n.withdrawn))
		default:
			return
		}
	}
	v.early = append(v.early, fmt.Sprintf("%s: %s at %s %s", r.Task, signal, clock(at), why))
}

// lastSign is the last proof of life before or at a moment.
func lastSign(r *witness.Run, by time.Time) time.Time {
	last := r.Words[0].At
	for _, w := range r.Words {
		if !w.At.After(by) {
			last = w.At
		} else {
			return by // it spoke after that moment
		}
	}
	return last
}

// how names the way a run ended.
func how(r *witness.Run, done, noticed bool) string {
	_, termed := r.First(witness.Termed)
	_, finished := r.First(witness.Finished)
	switch {
	case r.Gone.IsZero():
		return "still running"
	case finished && noticed:
		return "finished its work after a notice"
	case finished:
		return "finished its work"
	case done:
		return "answered done"
	case ended(r) && termed:
		return "left at the stop signal"
	case ended(r):
		return "left by itself"
	}
	return "stayed until the deadline"
}

// overlaps finds two runs of one instance that lived at the same time, or two of one attempt.
func (v *verdict) overlaps(runs []witness.Run) {
	before := map[witness.Instance][]*witness.Run{}
	for i := range runs {
		r := &runs[i]
		for _, o := range before[r.Instance] {
			began := r.Words[0].At
			if o.Attempt == r.Attempt {
				v.duplicates = append(v.duplicates, fmt.Sprintf("%s ran twice, as processes %d and %d", r.Task, o.PID, r.PID))
			} else if lastWord(o).After(began) {
				v.duplicates = append(v.duplicates, fmt.Sprintf("%s began while %s lived", r.Task, o.Task))
			}
		}
		before[r.Instance] = append(before[r.Instance], r)
	}
}

func lastWord(r *witness.Run) time.Time { return r.Words[len(r.Words)-1].At }

func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }

// most is how many cases of a kind are printed.
const most = 20

// print writes the table.
func (v *verdict) print(out io.Writer, o options) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { fmt.Fprintf(w, "  %s\t%v\n", name, value) }
	fmt.Fprintf(out, "\nSeed %d, %s:\n", o.seed, v.took.Round(time.Second))
	row("notices delivered", v.notices)
	row("  withdrawn again", v.withdrawn)
	row("asks, instances, runs", fmt.Sprintf("%d, %d, %d", v.asks, v.instances, v.runs))
	for _, end := range sortedKeys(v.ends) {
		row("  borrowers: "+end, v.ends[end])
	}
	row("agents killed", v.kills.agent.Load())
	row("servers killed", v.kills.server.Load())
	row("gone after the deadline by", spread(v.late))
	row("last sign of life before the deadline", spread(v.blind))
	row("notice by the file's time, less what is promised", spread(v.told))
	row("EARLY KILLS", len(v.early))
	row("LOST TASKS", len(v.lost))
	row("DUPLICATES", len(v.duplicates))
	row("robbed", len(v.robbed))
	row("other trouble", len(v.trouble))
	w.Flush()
	for _, list := range [][]string{v.early, v.lost, v.duplicates, v.robbed, v.trouble} {
		if len(list) > 0 {
			fmt.Fprintf(out, "\n  %s\n", strings.Join(list[:min(most, len(list))], "\n  "))
		}
	}
}

func sortedKeys(m map[string]int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// spread shows the middle and the ends of a list.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	slices.Sort(d)
	at := func(percent int) time.Duration { return d[(len(d)*percent+99)/100-1].Round(100 * time.Microsecond) }
	return fmt.Sprintf("least %v, p50 %v, p99 %v, most %v (%d)", d[0].Round(100*time.Microsecond), at(50), at(99), at(100), len(d))
}
