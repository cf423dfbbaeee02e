package server

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"polder.dev/polder/auth"
	"polder.dev/polder/core/role"
	"polder.dev/polder/server/traffic"
	"polder.dev/polder/store"
)

// Config is what a server is made of. Store, CA and Audit must be set; the zero value of everything else has a default.
type Config struct {
	// Store keeps what must survive the leader. The server does not close it.
	Store store.Store
	// CA signs the certificates of agents and of the server itself.
	CA *auth.CA
	// Audit gets a line for every change and every denial, before anything happens.
	Audit auth.Auditor
	// Logger gets what an operator should know (default [slog.Default]).
	Logger *slog.Logger
	// Now is the wall clock (default [time.Now]).
	Now func() time.Time

	// Hosts are the names and addresses in the server's certificate, beside [auth.ServerName].
	Hosts []string
	// Version is this build's, for WhoAmI and for agents.
	Version string
	// Cluster is the name of the cluster for WhoAmI (default "polder").
	Cluster string

	// FirstPlan is put in force when there has never been a plan (default: one role "default" without a guarantee).
	FirstPlan *role.Plan
	// AdminToken gets the first admin token when there is no usable one; an error keeps the server from leading. When it is
	// nil no token is made.
	AdminToken func(auth.Secret) error

	// Front, if set, is put before the API on the listener: it is handed the API and returns what is served, such as the console
	// with the API behind it. Package door's way into the server does not pass through it.
	Front func(api http.Handler) (http.Handler, error)

	// Doors are the doors of this process (default: none). They are put in before the server leads or later.
	Doors *traffic.Book

	// Heartbeat is how often agents report (default 5s). One that misses three is unreachable.
	Heartbeat time.Duration
	// NodeLostAfter is how long a node may stay away before its tasks count as lost and wait again (default 5 minutes; a
	// negative value waits for ever). Raise it where networks break for long, lower it where machines do.
	NodeLostAfter time.Duration
	// RecoverWait is how long a new leader waits for the nodes it knows before it starts and reclaims tasks (default 15s).
	RecoverWait time.Duration
	// RelayWait is how long an agent has to open a log or exec stream it was asked for (default 10s).
	RelayWait time.Duration

	recheck time.Duration // how soon a revoked credential ends a stream
	denials int           // refusals of callers without an identity that are written down each second
	stall   time.Duration // how long the other side of a stream may take for one message
}

// Bounds of what one server holds in memory beside the live state. What is beyond them is forgotten, oldest first.
const (
	maxQueue     = 4096    // commands waiting for the writer
	maxTurn      = 1024    // commands in one turn
	keepTasks    = 10_000  // ended tasks
	keepAsks     = 10_000  // ended asks
	keepNotices  = 10_000  // closed notices
	keepEvents   = 20_000  // events
	keepChanges  = 65_536  // changes for watchers
	keepPlans    = 1000    // plan revisions
	keepAnswers  = 10_000  // answers to requests with an idempotency key
	sessionQueue = 8192    // messages waiting for one agent
	maxAskCount  = 100_000 // tasks of one ask
	maxAsks      = 1000    // asks, claims or ids in one request
	missedBeats  = 3
	untilMost    = 20 * time.Second // how long a reader may wait for a task to change
	unaryTimeout = 30 * time.Second
)

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.CA == nil || c.Audit == nil {
		return c, errors.New("server: Store, CA and Audit must be set")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.FirstPlan == nil {
		c.FirstPlan = &role.Plan{Roles: map[string]role.RoleSpec{"default": {}}}
	}
	if c.Doors == nil {
		c.Doors = &traffic.Book{}
	}
	if c.denials == 0 {
		c.denials = 10
	}
	if c.Cluster == "" {
		c.Cluster = "polder"
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.Heartbeat, 5 * time.Second}, {&c.NodeLostAfter, 5 * time.Minute}, {&c.RecoverWait, 15 * time.Second}, {&c.RelayWait, 10 * time.Second}, {&c.recheck, 10 * time.Second}, {&c.stall, 30 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	return c, nil
}
