package start

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/cmd/polder/cli"
	"polder.dev/polder/core/resource"
)

//go:embed worker.sh
var workerScript string

const (
	demoNodes   = 3
	demoDelay   = time.Second      // reclaimDelay: how long a claim must persist
	demoNotice  = 8 * time.Second  // the borrowers' notice
	demoLend    = 10 * time.Second // longest hold the lender tolerates
	demoBorrow  = 8 * time.Second  // how long offline borrows in peace
	demoOnline  = 6 * time.Second  // how long online needs its part
	demoSettle  = 5 * time.Second  // how long the story goes on after that
	demoTimeout = 2 * time.Minute
)

// Demo tells the story of two teams on one pool, twice: without lending and with it. It prints a timeline of the second, what
// T was promised and what was seen, the records lost, and what lending was worth.
func Demo(ctx context.Context, s cli.Streams, o cli.DemoOptions) (err error) {
	defer outliveReaders()()
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, errors.New("the demo did not end in two minutes"))
	defer cancel()
	dir, remove, err := demoDir(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	image := demoImage(ctx, s, o)
	fmt.Fprintln(s.Out, "1. Without lending, about 20 seconds: offline has what is left over, online's idle guarantee is nobody's.")
	off, err := tellStory(ctx, cli.Streams{In: s.In, Out: io.Discard, Err: s.Err}, o, filepath.Join(dir, "off"), image, false)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.Out, "\n2. With lending: offline borrows it, and leaves in time.")
	on, err := tellStory(ctx, s, o, filepath.Join(dir, "on"), image, true)
	if err != nil {
		return err
	}
	return report(s.Out, off, on)
}

// demoDir is where the demo keeps its things, and how to remove them afterwards.
func demoDir(dir string) (string, func() error, error) {
	if dir != "" {
		return dir, func() error { return nil }, os.MkdirAll(dir, 0o711)
	}
	dir, err := os.MkdirTemp("", "polder-demo-")
	if err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, os.Chmod(dir, 0o711)
}

// outcome is what one telling of the story measured.
type outcome struct {
	promised, observed time.Duration // T, and from online's ask until its last task ran
	notice             time.Duration // from the first notice until the last borrower had left
	utilisation        float64       // allocated cpu over the pool's, over the whole story
	records            int
	lost               int
	runtime            string
}

// story is one telling.
type story struct {
	*pool
	api     *apiClient
	out     io.Writer
	data    string
	image   string
	began   time.Time
	events  *timeline
	busy    float64 // cpu-seconds allocated
	sampled time.Time
}

// tellStory runs the story on a pool of its own.
func tellStory(ctx context.Context, s cli.Streams, o cli.DemoOptions, dir, image string, lending bool) (out outcome, err error) {
	up := cli.UpOptions{Dir: dir, Agents: demoNodes, Listen: "127.0.0.1:0", Mounts: []string{filepath.Join(dir, "data")}, TaskUser: "nobody", Runtimes: o.Runtimes, DockerHost: o.DockerHost}
	p, err := newPool(ctx, s, up, slog.LevelError)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	api, err := dialAdmin(dir, p.addr)
	if err != nil {
		return out, err
	}
	st := &story{pool: p, api: api, out: s.Out, data: filepath.Join(dir, "data"), image: image, began: time.Now()}
	if err := errors.Join(os.MkdirAll(st.data, 0o777), os.Chmod(st.data, 0o777)); err != nil { // the workers are nobody
		return out, err
	}
	if err := st.applyPlan(ctx, lending); err != nil {
		return out, err
	}
	return st.tell(ctx)
}

// applyPlan guarantees online 60 % of the pool; whether that is lent while idle is what the two tellings differ in.
func (s *story) applyPlan(ctx context.Context, lending bool) error {
	cpu := s.slice["cpu"].MulDiv(demoNodes*6, 10)
	lend := "0%"
	if lending {
		lend = "100%"
	}
	plan := fmt.Sprintf(`cluster: {reclaimDelay: %s}
roles:
  online: {guarantee: {cpu: %s}, lend: %s, lendGrace: %s}
  offline: {reclaimGrace: %s}
`, demoDelay, resource.FormatValue("cpu", cpu), lend, demoLend, demoNotice)
	now, err := s.api.plans.Get(ctx, connect.NewRequest(&polderv1.PlanServiceGetRequest{}))
	if err != nil {
		return err
	}
	_, err = s.api.plans.Apply(ctx, connect.NewRequest(&polderv1.ApplyRequest{Plan: plan, BaseRevision: now.Msg.Revision.GetRevision(), Comment: "demo"}))
	return err
}

// tell runs the acts.
func (s *story) tell(ctx context.Context) (out outcome, err error) {
	s.sampled = time.Now()
	if s.events, err = s.follow(ctx); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.events.stop()) }()
	s.say("offline asks for %d workers", demoNodes)
	if err := s.submit(ctx, "worker", "offline", demoNodes, s.workerSpec()); err != nil {
		return out, err
	}
	if err := s.pass(ctx, demoBorrow); err != nil {
		return out, err
	}
	s.say("online asks for 2 tasks inside its guarantee")
	asked := time.Now()
	if err := s.submit(ctx, "online", "online", 2, s.onlineSpec()); err != nil {
		return out, err
	}
	if err := s.until(ctx, func() bool { return s.events.count("TaskStarted", "online-") >= 2 }); err != nil {
		return out, err
	}
	out.observed = s.events.last("TaskStarted", "online-").Sub(asked)
	if first := s.events.first("NoticeSent", ""); !first.IsZero() {
		out.notice = s.events.last("TaskReclaimed", "").Sub(first)
	}
	if err := s.until(ctx, func() bool { return s.events.count("TaskSucceeded", "online-") >= 2 }); err != nil {
		return out, err
	}
	if err := s.pass(ctx, demoSettle); err != nil {
		return out, err
	}
	out.promised, err = s.promise(ctx)
	out.utilisation = s.busy / (time.Since(s.began).Seconds() * demoNodes * float64(s.slice["cpu"]) / float64(resource.Milli))
	out.runtime = s.runtimeName()
	return out, errors.Join(err, s.count(&out))
}

// promise asks the plan for online's T.
func (s *story) promise(ctx context.Context) (time.Duration, error) {
	r, err := s.api.roles.Get(ctx, connect.NewRequest(&polderv1.RoleServiceGetRequest{Path: "online"}))
	if err != nil {
		return 0, err
	}
	return r.Msg.GetEffective().GetReclaimBound().AsDuration(), nil
}

// report prints the figures of both tellings.
func report(w io.Writer, off, on outcome) error {
	fmt.Fprintf(w, `
                         without lending   with lending
  T promised to online   %-17s %s
  ask to running         %-17s %s
  borrowers' notice      %-17s %s until the last had left
  records processed      %-17d %d
  records lost           %-17d %d
  cpu allocated          %-17s %s

Tasks ran as %s.
`, off.promised.Round(time.Second), on.promised.Round(time.Second), seconds(off.observed), seconds(on.observed), "-", seconds(on.notice),
		off.records, on.records, off.lost, on.lost, percent(off.utilisation), percent(on.utilisation), on.runtime)
	switch {
	case on.lost+off.lost > 0:
		return fmt.Errorf("%d records were lost; there must be none", on.lost+off.lost)
	case on.observed > on.promised+2*time.Second:
		return fmt.Errorf("online waited %s, T promises %s", on.observed, on.promised)
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }

func percent(f float64) string { return fmt.Sprintf("%.0f %%", f*100) }
