package cluster

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/core/waste"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories in testdata do now as what they should do")

// TestStories plays every testdata/*.txt. A story is blocks of a comment, a command with its lines, "----" and what came of it:
// what happened, with the time since the story began, or a table. Read them: each is a promise of the contract.
func TestStories(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("there are no stories")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s tells another story now (if it is right, run with -rewrite):\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			from := max(0, i-6)
			return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1, strings.Join(a[from:min(len(a), i+6)], "\n"), strings.Join(b[from:min(len(b), i+6)], "\n"))
		}
	}
	return "one is longer"
}

// play runs a story and returns it with what happened.
func play(text string) string {
	s := &script{}
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		input, _, _ := strings.Cut(block, "\n----")
		var lines []string
		for l := range strings.SplitSeq(input, "\n") {
			if !strings.HasPrefix(l, "#") && l != "" {
				lines = append(lines, l)
			}
		}
		if len(lines) > 0 {
			input += "\n----\n" + s.block(lines)
		}
		out = append(out, strings.TrimSpace(input))
	}
	return strings.Join(out, "\n\n") + "\n"
}

// script is a story being told: a world and what its commands have shown.
type script struct {
	*world
	revision int64
	out      strings.Builder
}

// block runs the commands of one block; what happened comes before a table.
func (s *script) block(lines []string) string {
	s.out.Reset()
	if lines[0] == "plan" {
		s.setPlan(lines[1:])
		lines = nil
	}
	for _, l := range lines {
		if err := s.command(strings.Fields(l)); err != nil {
			s.told()
			s.refused(err)
		}
	}
	s.told()
	return s.out.String()
}

func (s *script) refused(err error) {
	var r *Refusal
	if errors.As(err, &r) {
		fmt.Fprintf(&s.out, "refused: %s: %s; %s\n", r.Reason.Code, r.Reason.Message, r.Reason.UnblockedBy)
		return
	}
	fmt.Fprintf(&s.out, "error: %v\n", err)
}

// told writes down what has happened since it was last called, and every broken promise.
func (s *script) told() {
	if s.world == nil {
		return
	}
	s.checkWaste()
	for _, h := range s.history {
		fmt.Fprintln(&s.out, sinceEpoch(strings.TrimRight(h, " ")))
	}
	for _, f := range s.faults {
		fmt.Fprintln(&s.out, "BROKEN", f)
	}
	s.history, s.faults = nil, nil
}

var instant = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// sinceEpoch writes instants as times since the story began.
func sinceEpoch(text string) string {
	return instant.ReplaceAllStringFunc(text, func(at string) string {
		t, _ := time.Parse(time.RFC3339, at)
		return t.Sub(epoch).String()
	})
}

// options are a command's words of the form key=value; words without "=" are true.
type options map[string]string

func optionsOf(words []string) options {
	out := options{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			v = "true"
		}
		out[k] = v
	}
	return out
}

func (o options) amounts(names ...string) resource.Resources {
	out := resource.Resources{}
	for _, n := range names {
		if v, ok := o[n]; ok {
			out[n] = must(resource.ParseValue(n, v))
		}
	}
	return out
}

func (o options) number(name string, def int) int {
	if v, ok := o[name]; ok {
		return must(strconv.Atoi(v))
	}
	return def
}

func (o options) duration(name string) *time.Duration {
	if v, ok := o[name]; ok {
		return dur(must(time.ParseDuration(v)))
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var kindNames = []string{"cpu", "memory", "disk", "gpu"}

func (s *script) command(words []string) error {
	name, o := "", options{}
	if len(words) > 1 {
		name, o = words[1], optionsOf(words[2:])
	}
	switch words[0] {
	case "node":
		return s.node(name, o)
	case "submit":
		return s.step(Submit{s.ask(name, o)})
	case "commit":
		return s.commit(name, o)
	case "transit": // of notices, from now on
		s.transit = must(time.ParseDuration(name))
	case "run":
		s.run(must(time.ParseDuration(name)))
	case "kill":
		return s.step(Kill{Task: name, Force: o["force"] != ""})
	case "cancel":
		return s.step(Cancel{Ask: name, KeepRunning: o["keep"] != ""})
	case "done":
		return s.step(Answer{Task: name, Done: true})
	case "release":
		return s.step(Answer{Task: name, Released: o.amounts(kindNames...)})
	case "resize":
		return s.step(Resize{Task: name, Resources: o.amounts(kindNames...)})
	case "cost":
		return s.step(SetCost{Task: name, Cost: Cost{o["guarded"] != "", int64(o.number("cost", 0))}})
	case "end":
		s.ends(name, State(slices.Index(stateNames[:], words[2])))
	case "disconnect":
		s.nodes[name].up = false
		return s.step(Disconnect{name})
	case "register":
		s.nodes[name].up = true
		s.register(name)
	case "remove":
		if o["away"] == "" { // the machine may come back
			delete(s.nodes, name)
		}
		return s.step(RemoveNode{Node: name, LoseVolumes: o["volumes"] != ""})
	case "drain":
		by := time.Duration(0)
		if d := o.duration("deadline"); d != nil {
			by = *d
		}
		return s.step(Drain{Node: name, Deadline: by, Force: o["force"] != ""})
	case "cordon", "uncordon":
		return s.step(Cordon{name, words[0] == "cordon"})
	case "failover":
		s.failover()
	default:
		return s.show(words[0], name)
	}
	return nil
}

func (s *script) node(name string, o options) error {
	m := &machine{tasks: map[string]*process{}, up: true, info: NodeInfo{Name: name, Capacity: o.amounts(kindNames...), Attributes: map[string]string{}}}
	for k, v := range o {
		if k == "ports" {
			m.info.Ports = must(resource.ParsePorts(v))
		} else if !slices.Contains(kindNames, k) {
			m.info.Attributes[k] = v
		}
	}
	s.nodes[name] = m
	s.register(name)
	return nil
}

func (s *script) ask(id string, o options) AskSpec {
	a := AskSpec{ID: id, Role: o["role"], Count: o.number("count", 1), Gang: o["gang"] != "", Earmark: o["earmark"] != "", Submitted: s.now}
	a.Shape = Shape{
		Resources: o.amounts(kindNames...), Pool: o["pool"], Exclusive: o["exclusive"] != "", Priority: o.number("priority", 0), Pinned: o["pinned"] != "",
		ReclaimGrace: o.duration("grace"), MinRuntime: o.duration("minRuntime"), Requeue: o["requeue"] != "false",
	}
	if o["volume"] != "" {
		a.Shape.Volume, a.Shape.Pinned, a.Shape.Requeue = true, true, false
	}
	if o["reserve"] != "" {
		a.Shape.Reserve, a.Shape.Volume, a.Shape.Pinned, a.Shape.Requeue = true, true, true, false
	}
	if o["from"] != "" {
		a.Shape.From, a.Shape.Pinned = o["from"], true
	}
	if attr, ok := o["spread"]; ok {
		a.Shape.Spread = []placement.Spread{{Attribute: attr, MaxSkew: 1, Hard: true}}
	}
	if text, ok := o["on"]; ok {
		attr, value, _ := strings.Cut(text, ":")
		a.Shape.Constraints = []placement.Constraint{must(placement.ParseConstraint(attr + "==" + value))}
	}
	for _, p := range strings.FieldsFunc(o["ports"], func(r rune) bool { return r == ',' }) {
		port, host, _ := strings.Cut(p, ":")
		n, _ := strconv.Atoi(host)
		a.Shape.Ports = append(a.Shape.Ports, Port{port, uint16(n)})
	}
	if d := o.duration("backoff"); d != nil {
		a.Shape.Restart = Restart{Policy: RestartOnFailure, Backoff: *d, Max: o.number("max", 0)}
	}
	return a
}

// commit claims a place that a scheduler chose.
func (s *script) commit(id string, o options) error {
	e := Commit{Tasks: []Claim{{s.ask(id, o), o["place"]}}, LeaveDemand: o["leave"] != ""}
	if ask, ok := o["instead-of"]; ok {
		e.GiveUp = []Kept{{ask, o["place"], o.number("places", 0)}}
	}
	effects, err := s.c.Step(e, s.now)
	for _, e := range effects {
		s.do(e)
		if r, ok := e.(Committed); ok {
			if c := r.Results[0].Conflict; c != nil {
				s.note("%s conflicts: %s", id, c.Message)
			} else {
				s.note("%s is committed as %s", id, r.Results[0].Task)
			}
		}
	}
	s.step(Tick{})
	return err
}

func (s *script) setPlan(lines []string) {
	plan := parsePlan(lines)
	if ps := role.Validate(plan); len(ps) > 0 {
		for _, p := range ps {
			fmt.Fprintf(&s.out, "refused: %v\n", p)
		}
		return
	}
	s.revision++
	if s.world == nil {
		s.world = newWorld(plan)
		s.history = nil
		return
	}
	if err := s.step(SetPlan{plan, s.revision}); err != nil {
		s.told()
		s.refused(err)
		return
	}
	s.plan = plan
}

// parsePlan reads lines such as "role a/b guarantee=cpu=2 lendGrace=10s", "window w daily=22:00-07:00 lead=auto" with its
// "set a guarantee=cpu=4" after it, "pool gpu has=a100", "cluster reclaimDelay=1s".
func parsePlan(lines []string) *role.Plan {
	p := &role.Plan{Roles: map[string]role.RoleSpec{}}
	for _, l := range lines {
		words := strings.Fields(l)
		switch words[0] {
		case "role":
			p.Roles[words[1]] = decode[role.RoleSpec](words[2:])
		case "window":
			w := decode[role.Window](words[2:])
			w.Name, w.When, w.Set = words[1], decode[role.When](words[2:]), map[string]role.RoleSpec{}
			p.Windows = append(p.Windows, w)
		case "set":
			p.Windows[len(p.Windows)-1].Set[words[1]] = decode[role.RoleSpec](words[2:])
		case "pool":
			k, v, _ := strings.Cut(words[2], "=")
			p.Pools = append(p.Pools, role.PoolSpec{Name: words[1], Selector: resource.Attributes{k: v}})
		case "cluster":
			p.Cluster = decode[role.ClusterSpec](words[1:])
		}
	}
	return p
}

// decode fills a value from key=value words through its JSON form; "cpu=2,memory=1Gi" and "cpu=2" are resources.
func decode[T any](words []string) (out T) {
	m := map[string]any{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
		if r, err := resource.Parse(v); err == nil && strings.Contains(v, "=") {
			m[k] = r
		} else if n, err := strconv.Atoi(v); err == nil {
			m[k] = n
		}
	}
	if err := json.Unmarshal(must(json.Marshal(m)), &out); err != nil {
		panic(fmt.Sprintf("%v: %v", words, err))
	}
	return out
}

// show prints a table.
func (s *script) show(what, name string) error {
	s.told()
	w := tabwriter.NewWriter(&s.out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	switch what {
	case "tasks":
		for _, t := range s.c.Tasks() {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\tpaid by %s%s\n", t.Task, t.Node, t.Resources, t.State, t.Funding, s.extras(t))
		}
	case "asks":
		for _, a := range s.c.Asks() {
			fmt.Fprintf(w, "%s\t%d waiting\t%d running\t%s\n", a.ID, a.Pending, a.Running, a.Reason.Code)
		}
	case "roles":
		for _, r := range s.c.Roles()[1:] {
			fmt.Fprintf(w, "%s\tuses %s\tfunded %s\tborrowed %s\tlent %s\tdue %s\n", r.Path, r.Usage, r.Funded, r.Borrowed, r.Lent, r.Entitlement)
		}
	case "nodes":
		for _, n := range s.c.Nodes() {
			fmt.Fprintf(w, "%s\t%s\tused %s\tfree %s\tkept %s\n", n.Name, n.State, n.Used, n.Available, n.Earmarked)
		}
	case "packages":
		for _, r := range s.c.Roles() {
			for _, x := range r.Packages {
				fmt.Fprintf(w, "%s\t%d × %s\ton %s", r.Path, x.Count, x.Unit, strings.Join(x.Nodes, " "))
				if x.Homeless > 0 {
					fmt.Fprintf(w, "\t%d without a node", x.Homeless)
				}
				fmt.Fprintln(w)
			}
		}
	case "waste":
		for _, r := range s.c.Waste(time.Time{}, s.now).Rows {
			fmt.Fprintf(w, "%s\t%s s\tguarantee %s\tborrowed %s\tused %s\tlent %s%s\n", orAll(r.Role), r.Resource,
				r.Guarantee.Text(1000), r.Borrowed.Text(1000), r.Used.Text(1000), r.Lent.Text(1000), idled(r.Account))
		}
	case "why":
		r, _, ok := s.c.Explain(name)
		if !ok {
			return fmt.Errorf("nothing is called %s", name)
		}
		fmt.Fprintf(w, "%s: %s\nuntil %s", r.Code, sinceEpoch(r.Message), r.UnblockedBy)
		if !r.Expected.IsZero() {
			fmt.Fprintf(w, ", expected at %s", r.Expected.Sub(epoch))
		}
		fmt.Fprintln(w)
	default:
		return fmt.Errorf("unknown command %q", what)
	}
	return nil
}

func orAll(path string) string {
	if path == "" {
		return "all"
	}
	return path
}

func idled(a waste.Account) string {
	out := ""
	for _, r := range waste.Reasons() {
		if q := a.Idle[r]; !q.IsZero() {
			out += fmt.Sprintf("\t%s %s", r, q.Text(1000))
		}
	}
	return out
}

func (s *script) extras(t TaskView) string {
	out := ""
	for _, p := range t.Shape.Ports {
		out += fmt.Sprintf("\t%s=%d", p.Name, t.Ports[p.Name])
	}
	if t.Notice != nil {
		out += fmt.Sprintf("\tleaves by %s for %s", t.Notice.Deadline.Sub(epoch), t.Notice.Claimant)
	}
	return out
}
