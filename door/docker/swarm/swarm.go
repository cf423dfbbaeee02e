package swarm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/door"
	"polder.dev/polder/door/docker/swarm/orchestrator"
	"polder.dev/polder/store"
)

// Containers is what the door knows about containers.
type Containers interface {
	// RoleFor finds the role of something new for the caller of a request, who may run there: the label's, the client's, or the
	// only one. May asks whether the caller of ctx has a permission.
	RoleFor(r *http.Request, label string) (string, error)
	May(ctx context.Context, verb, role string) error
	// Check judges the description of a container as if the caller of ctx made it.
	Check(ctx context.Context, c Container) error
	// Places are the nodes that have all of some networks, which must be the role's, and of the volumes those that are one node's; nil is
	// any.
	Places(ctx context.Context, role string, networks, volumes []string) ([]string, error)
	// Fetch gets an image from its registry with credentials, in the form of the header X-Registry-Auth, unless some node has it.
	Fetch(ctx context.Context, role, image, auth string) error
	// Task is the task that runs a container, wherever it gets a lease.
	Task(ctx context.Context, c Container) (*polderv1.TaskSpec, error)
	// Prepare brings a container's image and volumes to a node, and with extras the container itself.
	Prepare(ctx context.Context, c Container, node string, more Extras) error
	// Remove removes what is left of a container. Its volumes stay.
	Remove(ctx context.Context, id string) error
	// Logs asks the engine that has a container for its output.
	Logs(ctx context.Context, id string, query url.Values) (*http.Response, error)
	// Engine is what does not change about a node's engine; false when it does not answer.
	Engine(ctx context.Context, node string) (Engine, bool)
}

// Engine is a container engine: its id, what it is built for, and its version.
type Engine struct{ ID, Arch, Version string }

// Container is the container of a task.
type Container struct {
	ID, Name, Role string
	Body           map[string]any // of the engine's create call
	Labels         map[string]string
}

// Extras are what a container gets before it starts and cannot be made with.
type Extras struct {
	Files    []File
	Networks []Attachment // besides the first
}

// Empty reports whether there are none.
func (e Extras) Empty() bool { return len(e.Files)+len(e.Networks) == 0 }

// Attachment is a network of a container.
type Attachment struct {
	Name    string
	Aliases []string
}

// File is a file of a container.
type File struct {
	Path     string
	UID, GID int
	Mode     int64
	Data     []byte
}

// Options say how a swarm is.
type Options struct {
	API        *door.API
	Containers Containers
	Store      store.Store
	Key        [32]byte // seals secrets
	Version    string
	Logger     *slog.Logger
	Now        func() time.Time
}

// Swarm is the manager of the pool's one swarm. Make one with [New]; it serves once Run has read what was written down.
type Swarm struct {
	opt  Options
	api  *door.API
	key  *sealer
	up   chan struct{} // closed when it serves
	wake chan struct{}

	changing changing // by clients
	steps    *together[orchestrator.Event, struct{}]
	claims   *together[placing, placed]
	queued   *together[placing, placed]
	stops    *together[string, struct{}] // by ask
	asks     *asks
	books    *books

	mu      sync.Mutex // guards what follows
	m       *orchestrator.Machine
	vault   vault
	engines map[string]Engine // by node
	nodes   map[string]*polderv1.Node
	errands errands
}

// New makes a swarm. Nothing happens before Run.
func New(o Options) *Swarm {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Swarm{opt: o, api: o.API, key: newSealer(o.Key), up: make(chan struct{}), wake: make(chan struct{}, 1), m: orchestrator.New(newID),
		asks: newAsks(), vault: vault{}, engines: map[string]Engine{}, nodes: map[string]*polderv1.Node{}}
	s.steps = newTogether(1, s.stepAll)
	s.claims, s.queued = newTogether(requestsAtOnce, s.commit), newTogether(requestsAtOnce, s.submit)
	s.claims.most, s.claims.apart = placesAtOnce, true
	s.queued.most, s.queued.apart = placesAtOnce, true
	s.stops = newTogether(requestsAtOnce, s.stop)
	s.stops.most, s.stops.apart = placesAtOnce, true
	return s
}

// election is what doors campaign for: one of them at a time writes what is wanted.
const election = "docker-swarm"

// self is the door where it acts for services: their users' permissions were checked when they said what they want.
var self = door.Caller{Identity: auth.Identity{Kind: auth.Door, Name: "docker", Groups: []string{auth.AdminGroup}}}

// Run keeps services as they are wanted until ctx ends, or the leadership is lost.
func (s *Swarm) Run(ctx context.Context) error {
	lead, err := s.opt.Store.Campaign(ctx, election)
	if err != nil {
		return ended(ctx, err)
	}
	defer lead.Resign(context.WithoutCancel(ctx)) // at worst the store notices by itself
	ctx, cancel := context.WithCancelCause(door.As(ctx, self))
	defer cancel(nil)
	s.books = newBooks(s.opt.Store, lead, s.key)
	if err := s.load(ctx); err != nil {
		return ended(ctx, err)
	}
	all, ctx := errgroup.WithContext(ctx)
	s.errands.open(ctx, all)
	all.Go(func() error {
		select {
		case <-lead.Done():
			return errors.New("the leadership of swarm mode was lost; another server's door has it")
		case <-ctx.Done():
			return nil
		}
	})
	all.Go(func() error { return s.follow(ctx) })
	all.Go(func() error { return s.clock(ctx) })
	all.Go(func() error { return s.books.late(ctx) })
	return ended(ctx, all.Wait())
}

// ended leaves out an error that only says that ctx ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// load reads what was written down.
func (s *Swarm) load(ctx context.Context) error {
	services, tasks, vault, err := s.books.load(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m.Load(services, tasks)
	s.vault = vault
	s.m.Remember(int(vault[clusterID].history()))
	for _, t := range tasks {
		if t.Pool != "" {
			s.asks.own(t.Pool, whose{task: t.ID, checked: true}) // as far as is known yet
		}
	}
	return nil
}

// errWriting is that what is wanted cannot be written down: then nothing is to be done any more.
var errWriting = errors.New("writing down what services want")

// step tells the machine what happened, writes down what it wants, and sets about it. What happens while another step writes is one step.
func (s *Swarm) step(ctx context.Context, e orchestrator.Event) error {
	_, err := s.steps.want(ctx, e)
	return err
}

// stepAll is one step about several events.
func (s *Swarm) stepAll(ctx context.Context, events []orchestrator.Event) ([]struct{}, error) {
	s.mu.Lock()
	effects := s.m.Step(orchestrator.Batch(events), s.opt.Now())
	s.mu.Unlock()
	if err := s.books.write(context.WithoutCancel(ctx), effects); err != nil { // it is not only one caller's
		return nil, fmt.Errorf("%w: %w", errWriting, err)
	}
	by := templates{}
	for _, f := range effects {
		s.set(f, by)
	}
	s.nudge()
	return make([]struct{}, len(events)), nil
}

// nudge lets the clock look when it is to wake next.
func (s *Swarm) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// clock tells the machine that time has passed, when it wants to know.
func (s *Swarm) clock(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		due := s.m.Due()
		s.mu.Unlock()
		wait := time.Hour
		if !due.IsZero() {
			wait = max(0, due.Sub(s.opt.Now()))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.wake:
		case <-timer.C:
			if err := s.step(ctx, orchestrator.Tick{}); err != nil {
				return err
			}
		}
	}
}

// letters of ids in the Engine API.
const letters = "0123456789abcdefghijklmnopqrstuvwxyz"

// newID is a new id: 25 letters and digits.
func newID() string {
	b := make([]byte, 25)
	rand.Read(b) // never fails
	for i, x := range b {
		b[i] = letters[int(x)%len(letters)]
	}
	return string(b)
}
