package role

import (
	"strings"
	"time"

	"polder.dev/polder/core/resource"
)

// ID is the dense index of a role inside one [Tree]; parents come before children, siblings in path order, and a role's
// subtree is the run of ids that starts with its own. Windows never add or remove roles, so an id is good for every
// tree of one plan.
type ID int32

// Root is the role above every named one: its guarantee is the capacity of the pool.
const Root ID = 0

// None is no role.
const None ID = -1

// Self is the last path element of the implicit child that holds work placed on an inner role.
const Self = ".self"

// Tree is the effective role tree at one instant: every default resolved, every inherited field filled in, windows
// applied. It is immutable once built.
type Tree struct {
	Roles  []Role
	byPath map[string]ID
}

// Role is one node of an effective tree.
type Role struct {
	Path     string // "corp/search/rank"; "" is the root; inner roles have a child "<path>/.self"
	Parent   ID     // None for the root
	Depth    int    // 0 for the root
	Children []ID   // in path order
	Weight   int64  // thousandths, > 0
	Priority int

	ReclaimGrace time.Duration // notice a task of this role gets
	LendGrace    time.Duration // longest hold tolerated on capacity this role lends
	MinRuntime   time.Duration // a borrowed task is left alone this long after starting

	Quotas map[string]Quota // by pool; a missing pool means no guarantee, no limit
}

// Quota is what a role has in one pool, every vector of full length. Limit and Borrow may hold [resource.Unlimited].
type Quota struct {
	Guarantee resource.Vector
	Limit     resource.Vector
	Lend      resource.Vector // most of the unused guarantee that may be outside at once
	Borrow    resource.Vector // most the subtree may hold above its guarantee
	Warm      resource.Vector // part of the guarantee kept idle and unlent while a window warms it
	Unit      resource.Vector // of one package of the guarantee; nil when it is promised as a quantity only
	Packages  int             // how many units the guarantee is, each promised on one node
}

// Quota returns what role id has in a pool, with vectors of length k: zero guarantee and no limit where the plan is
// silent.
func (t *Tree) Quota(id ID, pool string, k int) Quota {
	if q, ok := t.Roles[id].Quotas[pool]; ok {
		return q
	}
	unlimited := make(resource.Vector, k)
	for i := range unlimited {
		unlimited[i] = resource.Unlimited
	}
	zero := make(resource.Vector, k)
	return Quota{Guarantee: zero, Limit: unlimited, Lend: zero, Borrow: unlimited, Warm: zero}
}

// Lookup finds a role by path; "" is the root.
func (t *Tree) Lookup(path string) (ID, bool) {
	id, ok := t.byPath[path]
	return id, ok
}

// WorkRole returns the leaf that holds work placed on path: the role itself when it has no children, its ".self" child
// otherwise. It is false when the plan has no such role; the root holds no work.
func (t *Tree) WorkRole(path string) (ID, bool) {
	id, ok := t.byPath[path]
	if !ok || id == Root {
		return None, false
	}
	if len(t.Roles[id].Children) == 0 {
		return id, true
	}
	id, ok = t.byPath[path+"/"+Self]
	return id, ok
}

// ReclaimBound returns T without its last term: the longest a role waits for guaranteed capacity it asks for while
// others borrow it, not counting one decision round and the confirmation of the kills. It is reclaimDelay plus the
// longest LendGrace from the role up to, not including, the root.
func (t *Tree) ReclaimBound(id ID, reclaimDelay time.Duration) time.Duration {
	var longest time.Duration
	for ; id > Root; id = t.Roles[id].Parent {
		longest = max(longest, t.Roles[id].LendGrace)
	}
	return reclaimDelay + longest
}

// Display removes a trailing "/.self": the path a user wrote.
func Display(path string) string { return strings.TrimSuffix(path, "/"+Self) }
