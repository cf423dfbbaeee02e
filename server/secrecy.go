package server

import (
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

// shownTo is a spec as somebody may see it. Who may view a role but neither run work in it nor get into its tasks sees which variables
// they have, not what is in them: there are tokens among them.
func (l *leader) shownTo(c *caller, path string, spec *polderv1.TaskSpec) *polderv1.TaskSpec {
	if len(spec.GetEnv()) == 0 {
		return spec
	}
	policy := l.book.Policy()
	if policy.Check(c.id, auth.Run, path) == nil || policy.Check(c.id, auth.Exec, path) == nil {
		return spec
	}
	out := proto.CloneOf(spec)
	for name := range out.Env {
		out.Env[name] = ""
	}
	return out
}

// askFor is an ask as somebody may see it.
func (l *leader) askFor(c *caller, a askRow) *polderv1.Ask {
	out := askProto(a)
	out.Spec.Task = l.shownTo(c, a.Role, out.Spec.Task)
	return out
}
