package mesos

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"polder.dev/polder/auth"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/piece"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
	"polder.dev/polder/store"
)

// Version is the version of Mesos this door says it is. Clients read it as numbers between dots.
const Version = "1.11.0"

// Config says how a door is.
type Config struct {
	// API is the server's.
	API *door.API
	// Addr is host:port of the door's listener, as clients and executors on this machine reach it.
	Addr string
	// AgentAddr is host:port of the listener that serves [Door.AgentHandler] (default Addr, where agents are below /slave(1) only).
	AgentAddr string
	// Hostname is where nodes are reached that have no attribute of that name (default: their own names).
	Hostname string
	// Cluster is the pool's name (default "polder").
	Cluster string
	// Store keeps frameworks, their tasks and what they have not acknowledged over a restart; without one they are forgotten but
	// for what the pool knows of their tasks.
	Store store.Store
	// DefaultRole is the pool's role for Mesos' role "*" (default "default").
	DefaultRole string
	// Optimistic shows the same idle capacity to everybody who may have it; the first accept wins. Otherwise an offer is
	// exclusive until it is answered.
	Optimistic bool
	// OfferTimeout is how long an offer may wait for an answer (default 1 minute); then it is rescinded.
	OfferTimeout time.Duration
	// Heartbeat is how often a stream says that it is alive (default 15s).
	Heartbeat time.Duration
	// Resend is how long an acknowledgement may take before its update is sent again (default 10s); it doubles up to 10 minutes.
	Resend time.Duration
	// Logger gets what an operator should know (default [slog.Default]).
	Logger *slog.Logger
	// Now is the clock (default [time.Now]).
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.API == nil || c.Addr == "" {
		return c, errors.New("mesos: API and Addr must be set")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return c, fmt.Errorf("mesos: Addr: %w", err)
	}
	if c.AgentAddr == "" {
		c.AgentAddr = c.Addr
	}
	if _, _, err := net.SplitHostPort(c.AgentAddr); err != nil {
		return c, fmt.Errorf("mesos: AgentAddr: %w", err)
	}
	if c.Cluster == "" {
		c.Cluster = "polder"
	}
	if c.DefaultRole == "" {
		c.DefaultRole = "default"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.OfferTimeout, time.Minute}, {&c.Heartbeat, 15 * time.Second}, {&c.Resend, 10 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	return c, nil
}

// self is the door where it only reads: nodes, the plan's roles, and what became of tasks. Whatever changes something is
// done in the name of a principal, but for what a framework said is to be done when it is away: that is done in the door's.
var self = door.Caller{Identity: auth.Identity{Kind: auth.Door, Name: "mesos", Groups: []string{auth.AdminGroup}}}

// Door is the protocol front of Mesos.
type Door struct {
	c       Config
	log     *slog.Logger
	uuid    string // of this master
	started time.Time
	who     *identities

	mu         sync.Mutex // guards what follows
	ctx        context.Context
	frameworks map[string]*framework
	gone       []*framework // removed, the newest last
	nodes      map[string]*node
	offers     map[string]*offer
	inverse    map[string]*inverseOffer
	demands    map[string]*demand // by the pool's id of an ask
	natives    map[string]native  // by the pool's id of a task
	order      []*node            // nodes by name
	roster     piece.List[*node]  // nodes as documents show them
	fresh      map[*node]struct{} // that may be offered otherwise than when they were last looked at
	unseen     []*node            // that are being looked at and have not been yet
	anew       bool               // all nodes are to be looked at
	anewAt     time.Time          // not before
	choresAt   time.Time          // when what falls due is next looked at, at the earliest
	shown      map[string]amounts // in open offers of what is idle, by role of the pool
	committing int                // claims on their way to the pool
	missed     map[string]bool    // tasks of which there were news meanwhile, and nobody knew them; true: only that they run
	quotas     map[string]quota
	maint      *maintenance
	watchers   map[*stream]viewer // of the operator's event stream
	turns      uint64
	count      struct{ frameworks, offers uint64 }
	counters   counters
	unheard    resendings          // updates that are not acknowledged yet, by when they are sent again
	ready      bool                // the nodes and the tasks that run are known
	dirty      map[string]recorded // what is not written down yet, by key; nil is to be deleted
	lead       store.Leadership    // nil without a store
	flushing   sync.Mutex          // held while something is written
	unkept     chan struct{}
	surveyed   chan struct{} // closed when all nodes are known
	wake       chan struct{}
	calls      sync.WaitGroup // calls to the server that nobody waits for
	level      *loggingLevel
	nests      *nests // commands that were started in tasks as containers
}

// native is what a task of the pool is here: a task of a framework or an executor.
type native interface {
	// report takes over what the pool knows of it now. The door's mutex is held.
	report(d *Door, n news)
	// at is the name of its node.
	at() string
}

// New makes a door. Nothing happens before Run.
func New(c Config) (*Door, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	level := &loggingLevel{now: c.Now}
	return &Door{
		c: c, log: slog.New(leveled{c.Logger.Handler(), level}), level: level, uuid: newUUID(), started: c.Now(), who: newIdentities(c.API, c.Now),
		frameworks: map[string]*framework{}, nodes: map[string]*node{}, offers: map[string]*offer{},
		inverse: map[string]*inverseOffer{}, natives: map[string]native{}, demands: map[string]*demand{}, quotas: map[string]quota{}, fresh: map[*node]struct{}{}, shown: map[string]amounts{}, missed: map[string]bool{}, maint: newMaintenance(),
		watchers: map[*stream]viewer{}, wake: make(chan struct{}, 1),
		nests: newNests(c.Now),
		dirty: map[string]recorded{}, unkept: make(chan struct{}, 1), surveyed: make(chan struct{}),
	}, nil
}

// Run follows the pool and makes offers until ctx ends; then every stream ends. Without it no call is served.
func (d *Door) Run(ctx context.Context) error {
	if d.c.Store != nil {
		lead, err := d.c.Store.Campaign(ctx, election)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		defer lead.Resign(context.WithoutCancel(ctx)) // at worst the store notices by itself
		if err := d.remember(ctx); err != nil {
			return err
		}
		d.mu.Lock()
		d.lead = lead
		d.mu.Unlock()
	}
	return d.run(ctx)
}

func (d *Door) run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(door.As(ctx, self))
	d.mu.Lock()
	d.ctx = ctx
	d.mu.Unlock()
	if d.lead != nil {
		all.Go(func() error { return d.keeping(ctx) })
	}
	all.Go(func() error { return d.follow(ctx) })
	all.Go(func() error { return d.cycle(ctx) })
	err := all.Wait()
	d.mu.Lock()
	for _, f := range d.frameworks {
		if f.stream != nil {
			f.stream.end(errStopped)
		}
		for _, e := range f.executors {
			e.hangUp(errStopped)
		}
	}
	for s := range d.watchers {
		s.end(errStopped)
	}
	d.mu.Unlock()
	d.calls.Wait()
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// later makes a call to the server that nobody waits for, in somebody's name. The mutex may be held.
func (d *Door) later(who door.Caller, call func(ctx context.Context) error) {
	if d.ctx == nil || d.ctx.Err() != nil {
		return
	}
	ctx := door.As(d.ctx, who)
	d.calls.Go(func() {
		if err := call(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("the pool refused a call of the mesos door", "error", err)
		}
	})
}

// with holds the mutex while f runs.
func (d *Door) with(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// nudge lets the offers be looked at again.
func (d *Door) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// event is an event of the scheduler API.
func event(kind schedulerv1.Event_Type) *schedulerv1.Event {
	return &schedulerv1.Event{Type: kind.Enum()}
}

// newUUID is a random UUID as text.
func newUUID() string {
	b := uuidBytes()
	x := hex.EncodeToString(b)
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// uuidBytes is a random UUID as its 16 bytes.
func uuidBytes() []byte { return randomUUID(make([]byte, 16)) }

// randomUUID makes 16 bytes a random UUID.
func randomUUID(b []byte) []byte {
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return b
}
