package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/role"
	"polder.dev/polder/store"
)

// revisionBlock is how many revisions are reserved at a time.
const revisionBlock = 1 << 24

// newLeader reads everything back that is durable. Until the nodes are back or the wait for them is over, nothing is started
// or reclaimed.
func newLeader(ctx context.Context, cfg Config, lead store.Leadership) (*leader, error) {
	book, err := auth.Open(ctx, store.Records{Reader: cfg.Store, Writer: lead}, cfg.Now)
	if err != nil {
		return nil, err
	}
	snap, err := cfg.Store.View(ctx, "/")
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	m := newMeters()
	l := &leader{
		cfg: cfg, log: cfg.Logger, lead: lead, book: book, ctx: ctx,
		queue: make(chan command, maxQueue), persist: newPersister(lead, m.persist), meters: m, relays: newRelays(), held: newHeld(), used: newUsed(),
		cluster: cluster.New(), now: cfg.Now(),
		sessions: map[string]*session{}, seen: map[string]*atomic.Int64{}, extras: map[string]nodeExtra{},
		asks: map[string]askExtra{}, answers: newAnswers(), awaited: map[string]bool{},
		endedTasks: ended{most: keepTasks}, endedAsks: ended{most: keepAsks}, closedNotices: ended{most: keepNotices},
	}
	l.lostAt, l.strangers.most = map[string]time.Time{}, cfg.denials
	r := &restoring{turn: &turn{leader: l, batch: newBatch()}, entries: snap.Entries}
	if err := r.restore(); err != nil {
		return nil, err
	}
	if err := l.firstToken(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// firstToken makes the first admin token and hands it to whoever keeps it.
func (l *leader) firstToken(ctx context.Context) error {
	if l.cfg.AdminToken == nil {
		return nil
	}
	secret, made, err := l.book.Bootstrap(ctx)
	if err != nil || !made {
		return err
	}
	kept := l.cfg.AdminToken(secret)
	if kept == nil {
		return nil
	}
	// Nobody has it: the next start must make another.
	if t, err := auth.ParseUserToken(secret.Reveal()); err == nil {
		kept = errors.Join(kept, l.book.RevokeToken(ctx, t.ID))
	}
	return fmt.Errorf("keeping the first admin token: %w", kept)
}

// restoring is the turn that reads the records back.
type restoring struct {
	*turn
	entries []store.Entry
	specs   map[string]cluster.AskSpec
}

// restore feeds the records to the cluster: first the plan, then nodes, asks and tasks.
func (r *restoring) restore() error {
	r.specs = map[string]cluster.AskSpec{}
	for _, step := range []func() error{r.revision, r.plan, r.nodes, r.askRecords, r.taskRecords, r.answerRecords} {
		if err := step(); err != nil {
			return err
		}
	}
	r.board = newBoard(&r.working)
	r.recoverBy = r.now.Add(r.cfg.RecoverWait)
	if err := r.carryOut(); err != nil {
		return err
	}
	r.persist.add(r.batch)
	return nil
}

// each calls f for every record under a prefix.
func (r *restoring) each(prefix string, f func(key string, value []byte) error) error {
	for _, e := range r.entries {
		if strings.HasPrefix(e.Key, prefix) {
			if err := f(e.Key, e.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// revision goes on after the last revision that may have been used.
func (r *restoring) revision() error {
	var last revisionRecord
	err := r.each(revisionKey, func(key string, value []byte) error { return decodeRecord(key, value, &last) })
	r.working.revision, r.reserved = last.Reserved, last.Reserved
	return err
}

func (r *restoring) plan() error {
	err := r.each(planPrefix, func(key string, value []byte) error {
		var p planRecord
		if err := decodeRecord(key, value, &p); err != nil {
			return err
		}
		if problems := role.Validate(p.Plan); len(problems) > 0 {
			return unreadable(key, fmt.Errorf("%s", problems[0]))
		}
		r.working.addPlan(p)
		return nil
	})
	if err != nil {
		return err
	}
	if r.working.plan.Plan == nil {
		return r.setPlan(planRecord{Revision: 1, Applied: r.now, By: "system", Comment: "the first plan", Plan: r.cfg.FirstPlan})
	}
	p := r.working.plan
	_, err = r.step(cluster.SetPlan{Plan: p.Plan, Revision: p.Revision})
	r.effects = nil // it was applied before
	r.rolesDirty = true
	return err
}

func (r *restoring) nodes() error {
	return r.each(nodePrefix, func(key string, value []byte) error {
		var n nodeRecord
		if err := decodeRecord(key, value, &n); err != nil {
			return err
		}
		info, err := n.info()
		if err != nil {
			return unreadable(key, err)
		}
		r.extras[info.Name], r.awaited[info.Name] = n.nodeExtra, true
		_, err = r.step(cluster.RestoreNode{Node: info})
		return err
	})
}

func (r *restoring) askRecords() error {
	return r.each(askPrefix, func(key string, value []byte) error {
		a, err := decodeAsk(key, value)
		if err != nil {
			return err
		}
		spec, err := a.spec()
		if err != nil {
			return unreadable(key, err)
		}
		r.asks[spec.ID], r.specs[spec.ID] = a.askExtra, spec
		_, err = r.step(cluster.RestoreAsk{Ask: spec, State: a.State})
		return err
	})
}

func (r *restoring) taskRecords() error {
	known := func(ask string) (cluster.Shape, *polderv1.TaskSpec, bool) {
		spec, ok := r.specs[ask]
		return spec.Shape, specOf(spec.Payload), ok
	}
	return r.each(taskPrefix, func(key string, value []byte) error {
		t, err := decodeTask(key, value)
		if err != nil {
			return err
		}
		report, err := t.report(known)
		if err != nil {
			return unreadable(key, err)
		}
		_, err = r.step(cluster.RestoreTask{Task: report})
		return err
	})
}

func (r *restoring) answerRecords() error {
	type keyed struct {
		key string
		answerRecord
	}
	var read []keyed
	err := r.each(answerPrefix, func(key string, value []byte) error {
		var a answerRecord
		if err := decodeRecord(key, value, &a); err != nil {
			return err
		}
		read = append(read, keyed{key, a})
		return nil
	})
	slices.SortStableFunc(read, func(a, b keyed) int { return a.At.Compare(b.At) })
	for _, a := range read {
		r.answers.load(a.key, a.answerRecord)
	}
	return err
}

// answers are what requests with an idempotency key were told.
type answers struct {
	byKey map[string]answerRecord
	order ended
}

func newAnswers() answers {
	return answers{byKey: map[string]answerRecord{}, order: ended{most: keepAnswers}}
}

func (a *answers) load(key string, r answerRecord) (forgotten string, ok bool) {
	a.byKey[key] = r
	forgotten, ok = a.order.add(key)
	if ok {
		delete(a.byKey, forgotten)
	}
	return forgotten, ok
}

// answerKey is where the answer to a caller's key is kept.
func answerKey(who, key string) string { return answerPrefix + digest([]byte(who+"\x00"+key)) }

// digestOf tells requests apart.
func digestOf(m proto.Message) (string, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return digest(data), err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
