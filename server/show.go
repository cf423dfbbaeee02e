package server

import (
	"iter"

	"polder.dev/polder/auth"
)

// viewer answers which roles a caller may view. It remembers its answers and is for one request.
type viewer struct {
	policy *auth.Policy
	id     auth.Identity
	known  map[string]bool
}

func (l *leader) viewer(c *caller) *viewer {
	return &viewer{l.book.Policy(), c.id, map[string]bool{}}
}

// mayView reports whether the caller may view a role; "" is the root.
func (v *viewer) mayView(role string) bool {
	ok, known := v.known[role]
	if !known {
		ok = v.policy.Check(v.id, auth.View, role) == nil
		v.known[role] = ok
	}
	return ok
}

// sorted yields the entries of a sorted list with a key after the given one.
func sorted[V any](list []V, key func(V) string) func(string) iter.Seq2[string, V] {
	return func(after string) iter.Seq2[string, V] {
		return func(yield func(string, V) bool) {
			for _, v := range list {
				if k := key(v); (after == "" || k > after) && !yield(k, v) {
					return
				}
			}
		}
	}
}
