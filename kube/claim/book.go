package claim

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apimachinery/pkg/types"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
)

// callLimit bounds one call to the pool: kube-scheduler waits for it.
const callLimit = 10 * time.Second

// mostAtOnce is how many tasks one request to the pool may name.
const mostAtOnce = 1000

// Entry is what is known of a pod's claim: an ask that waits, or a lease on a node.
type Entry struct {
	UID  types.UID
	Pod  string // namespace/name
	Role string

	Ask     string // id, while it waits
	Refusal string // why it waits, in the pool's words

	Task    string // id of the lease, once there is one
	Node    string
	Volumes int    // how many of the pool's volumes the lease or the ask names
	Funding string // the role that pays, or "borrowed"
	Stays   bool   // somebody else has placed the pod: it is counted, and never asked to leave
	Cost    Cost   // what the pool was told about losing it
	Since   time.Time
}

// Cost is what is said to the pool about losing a pod, beside others of its role; see SetCosts of the API.
type Cost struct {
	Guarded bool
	Amount  int64
}

// waiting says that and why a pod waits.
func (e Entry) waiting() string {
	if e.Refusal == "" {
		return "it waits in the pool as " + e.Ask
	}
	return "it waits in the pool as " + e.Ask + ": " + e.Refusal
}

// Held reports whether the pod has a lease.
func (e Entry) Held() bool { return e.Task != "" }

// Book is what is known of all pods' claims.
type Book struct {
	client   *pool.Client
	nodes    *pool.Nodes
	roles    Roles
	volumes  Volumes // nil: pods mount none of the pool's
	defaults resource.Resources
	guest    string // name of our scheduler in a cluster of somebody else's; empty: the cluster is the pool's
	cluster  string // see InCluster; empty: the pool's
	log      *slog.Logger
	poke     chan struct{}

	mu      sync.RWMutex // guards all below
	entries map[types.UID]Entry
	pencils map[string][]pencil  // by node: taken, and not in the picture of the nodes yet
	given   map[string]time.Time // tasks that were given back lately
}

// pencil is an amount that the picture of a node does not show as taken yet.
type pencil struct {
	uid      types.UID
	need     resource.Resources
	revision int64 // of the first picture that shows it
}

// unanswered is the revision of what has not been claimed yet.
const unanswered = math.MaxInt64

// NewBook makes an empty book. Pods that request nothing at all are charged defaults; without defaults they are refused.
func NewBook(c *pool.Client, nodes *pool.Nodes, roles Roles, defaults resource.Resources, log *slog.Logger) *Book {
	return &Book{client: c, nodes: nodes, roles: roles, defaults: defaults, log: log, poke: make(chan struct{}, 1), entries: map[types.UID]Entry{}, pencils: map[string][]pencil{}, given: map[string]time.Time{}}
}

// SetVolumes says which of the pool's volumes pods mount. It is called before anything else is.
func (b *Book) SetVolumes(v Volumes) { b.volumes = v }

// Get finds the claim of a pod.
func (b *Book) Get(uid types.UID) (Entry, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.entries[uid]
	return e, ok
}

// ByTask finds the pod that a lease is of.
func (b *Book) ByTask(task string) (Entry, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, e := range b.entries {
		if e.Task == task {
			return e, true
		}
	}
	return Entry{}, false
}

// Leases lists the pods with a lease, by pod.
func (b *Book) Leases() map[types.UID]Entry {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make(map[types.UID]Entry, len(b.entries))
	for uid, e := range b.entries {
		if e.Held() {
			out[uid] = e
		}
	}
	return out
}

// SetCosts tells the pool what it costs to lose pods. Pods without a lease are passed over.
func (b *Book) SetCosts(ctx context.Context, costs map[types.UID]Cost) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	for some := range slices.Chunk(slices.Sorted(maps.Keys(costs)), mostAtOnce) {
		req := &polderv1.SetCostsRequest{Costs: map[string]*polderv1.TaskCost{}}
		for _, uid := range some {
			if e, _ := b.Get(uid); e.Held() {
				req.Costs[e.Task] = &polderv1.TaskCost{Guarded: costs[uid].Guarded, Amount: costs[uid].Amount}
			}
		}
		if len(req.Costs) == 0 {
			continue
		}
		if _, err := b.client.Tasks.SetCosts(ctx, connect.NewRequest(req)); err != nil {
			return err
		}
	}
	return nil
}

// lacks names a resource of which a node has too little left for a claim, as far as is known; empty is none.
func (b *Book) lacks(n pool.Node, r *request) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	pencils := b.pencils[n.Name]
	for _, a := range r.amounts {
		free := n.Available[a.kind]
		for _, p := range pencils {
			if p.revision > n.Revision {
				free -= p.need[a.kind]
			}
		}
		if free < a.amount {
			return a.kind
		}
	}
	return ""
}

// reserve pencils a place in for a pod, before the pool is asked.
func (b *Book) reserve(uid types.UID, node string, need resource.Resources) {
	at := b.nodes.Revision()
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := slices.DeleteFunc(b.pencils[node], func(p pencil) bool { return p.revision <= at })
	b.pencils[node] = append(kept, pencil{uid, need, unanswered})
}

// rub takes the pencil of a pod away.
func (b *Book) rub(uid types.UID, node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(uid, node, 0)
}

// settle notes which picture shows what a pod has taken; zero is all of them. The caller holds the lock.
func (b *Book) settle(uid types.UID, node string, revision int64) {
	kept := b.pencils[node][:0]
	for _, p := range b.pencils[node] {
		if p.uid == uid {
			p.revision = revision
		}
		if p.revision > 0 {
			kept = append(kept, p)
		}
	}
	if b.pencils[node] = kept; len(kept) == 0 {
		delete(b.pencils, node)
	}
}

// take claims a place for a pod. When it is refused the pod waits for the pool, if that is of any use, and the sentence says why.
func (b *Book) take(ctx context.Context, e Entry, r *request, node string) (refusal string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	res, err := b.client.Claims.Commit(ctx, connect.NewRequest(&polderv1.CommitRequest{
		Tasks: []*polderv1.ClaimTask{{Name: r.name, Role: r.role, Node: node, Task: r.task}}, LeaveDemand: true,
	}))
	if err != nil {
		return "", err
	}
	result := res.Msg.Results[0]
	b.mu.Lock()
	defer b.mu.Unlock()
	if result.Task != "" {
		e.Task, e.Node, e.Ask, e.Refusal, e.Since = result.Task, node, "", "", time.Now()
		e.Funding, e.Volumes = result.Funding, len(r.task.Mounts)
		b.settle(e.UID, node, res.Msg.Revision)
	} else {
		e.Ask, e.Refusal, e.Volumes = result.Ask, sentence(result.Conflict), len(r.task.Mounts)
		refusal = e.Refusal
	}
	b.entries[e.UID] = e
	b.wake()
	return refusal, nil
}

// wait makes a pod an ask of its role, on nodes that a constraint selects; empty is any node. The text says that it waits, or why it
// cannot.
func (b *Book) wait(ctx context.Context, e Entry, r *request, nodes string) (text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	task := r.task
	if nodes != "" {
		task.Constraints = []string{nodes}
	}
	res, err := b.client.Asks.Submit(ctx, connect.NewRequest(&polderv1.SubmitRequest{
		Asks: []*polderv1.AskSpec{{Name: r.name, Role: r.role, Count: 1, Task: task}},
	}))
	if err != nil {
		return "", err
	}
	result := res.Msg.Results[0]
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Refusal = sentence(result.Refused); result.Ask != nil {
		e.Ask, e.Refusal, e.Volumes = result.Ask.Id, sentence(result.Ask.Reason), len(r.task.Mounts)
		text = e.waiting()
	} else {
		text = "the pool refuses: " + e.Refusal
	}
	b.entries[e.UID] = e
	b.wake()
	return text, nil
}

// giveBack ends a task that is not the lease of its pod, or not any more.
func (b *Book) giveBack(ctx context.Context, task string) error {
	b.mu.Lock()
	b.given[task] = time.Now()
	b.mu.Unlock()
	_, err := b.client.Tasks.Kill(ctx, connect.NewRequest(&polderv1.KillRequest{Ids: []string{task}, Force: true}))
	if err != nil {
		b.mu.Lock()
		delete(b.given, task)
		b.mu.Unlock()
	}
	return err
}

// givenBack reports whether a task was given back; a picture from before that shows it yet.
func (b *Book) givenBack(task string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, is := b.given[task]
	return is
}

// tidy ends what a pod has of the pool beside its lease and its ask.
func (b *Book) tidy(ctx context.Context, tasks, asks []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	for _, id := range tasks {
		if err := b.giveBack(ctx, id); err != nil {
			b.log.Warn("a pod's second lease could not be given back yet", "task", id, "error", err)
		}
	}
	if len(asks) == 0 {
		return
	}
	if _, err := b.client.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: asks})); err != nil {
		b.log.Warn("pods' second asks could not be taken back yet", "asks", asks, "error", err)
	}
}

// release gives a lease or an ask back and forgets the pod.
func (b *Book) release(ctx context.Context, uid types.UID) {
	b.mu.Lock()
	e, ok := b.entries[uid]
	delete(b.entries, uid)
	b.mu.Unlock()
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	var err error
	switch {
	case e.Task != "":
		err = b.giveBack(ctx, e.Task)
	case e.Ask != "":
		_, err = b.client.Asks.Cancel(ctx, connect.NewRequest(&polderv1.CancelRequest{Ids: []string{e.Ask}}))
	}
	if err != nil { // Run finds it again among the pool's tasks
		b.log.Warn("a pod's claim could not be given back yet", "pod", e.Pod, "task", e.Task, "ask", e.Ask, "error", err)
	}
}

// wake makes Run look at once.
func (b *Book) wake() {
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// sentence is a reason for people.
func sentence(r *polderv1.Reason) string {
	switch {
	case r == nil:
		return ""
	case r.UnblockedBy != "":
		return r.Message + " (" + r.UnblockedBy + ")"
	}
	return r.Message
}
