package server

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
)

// rolesOf says on which roles a request works.
type rolesOf = func(*leader, *caller, proto.Message) ([]string, error)

// field reads the role from a field of the request.
func field[M any](get func(*M) string) rolesOf {
	return func(_ *leader, _ *caller, m proto.Message) ([]string, error) { return []string{get(any(m).(*M))}, nil }
}

// taskRole is the role of the task that a field names.
func taskRole[M any](get func(*M) string) rolesOf {
	return func(l *leader, _ *caller, m proto.Message) ([]string, error) {
		return l.taskRoles([]string{get(any(m).(*M))})
	}
}

// askRole is the role of the ask that a field names.
func askRole[M any](get func(*M) string) rolesOf {
	return func(l *leader, _ *caller, m proto.Message) ([]string, error) {
		return l.askRoles([]string{get(any(m).(*M))})
	}
}

func (l *leader) taskRoles(ids []string) ([]string, error) {
	p := l.board.look()
	return eachRole(ids, func(id string) (string, error) {
		row, ok := p.tasks.Get(id)
		if !ok {
			return "", noTask(id)
		}
		return row.Role, nil
	})
}

func (l *leader) askRoles(ids []string) ([]string, error) {
	p := l.board.look()
	return eachRole(ids, func(id string) (string, error) {
		row, ok := p.asks.Get(id)
		if !ok {
			return "", noAsk(id)
		}
		return row.Role, nil
	})
}

func noTask(id string) error {
	return refused("NotFound", "list the tasks there are; the oldest ended ones are forgotten", "no task has the id %q", clip(id, 200))
}

func noAsk(id string) error {
	return refused("NotFound", "list the asks there are; the oldest ended ones are forgotten", "no ask has the id %q", clip(id, 200))
}

// eachRole collects the roles of some objects, each once, sorted.
func eachRole[T any](list []T, of func(T) (string, error)) ([]string, error) {
	if len(list) == 0 {
		return nil, invalid("", "the request names nothing to work on")
	}
	if len(list) > maxAsks {
		return nil, invalid("", "the request names %d objects, at most %d", len(list), maxAsks)
	}
	seen := map[string]bool{}
	for _, item := range list {
		path, err := of(item)
		if err != nil {
			return nil, err
		}
		seen[path] = true
	}
	return sortedKeys(seen), nil
}

func killedRoles(l *leader, _ *caller, m proto.Message) ([]string, error) {
	return l.taskRoles(m.(*polderv1.KillRequest).Ids)
}

func pricedRoles(l *leader, _ *caller, m proto.Message) ([]string, error) {
	return l.taskRoles(slices.Sorted(maps.Keys(m.(*polderv1.SetCostsRequest).Costs)))
}

// volumeRole is the role of the volume that a field names.
func volumeRole[M any](get func(*M) string) rolesOf {
	return func(l *leader, _ *caller, m proto.Message) ([]string, error) {
		name := get(any(m).(*M))
		v, ok := l.board.look().volume(name)
		if !ok {
			return nil, noVolume(name)
		}
		return []string{v.role()}, nil
	}
}

// reservationRole is the role of the reservation that a field names.
func reservationRole[M any](get func(*M) string) rolesOf {
	return func(l *leader, _ *caller, m proto.Message) ([]string, error) {
		name := get(any(m).(*M))
		r, ok := l.board.look().reservation(name)
		if !ok {
			return nil, noReservation(name)
		}
		return []string{r.role()}, nil
	}
}

// createdRole is the role of a volume or a reservation that is to be made.
func createdRole[M any](get func(*M) string) rolesOf {
	return func(_ *leader, _ *caller, m proto.Message) ([]string, error) {
		path, err := workRole(get(any(m).(*M)))
		return []string{path}, err
	}
}

func cancelledRoles(l *leader, _ *caller, m proto.Message) ([]string, error) {
	return l.askRoles(m.(*polderv1.CancelRequest).Ids)
}

func execRole(l *leader, _ *caller, m proto.Message) ([]string, error) {
	start := m.(*polderv1.ExecRequest).Start
	if start == nil {
		return nil, invalid("start", "the first message must say which task and what to run")
	}
	return l.taskRoles([]string{start.Task})
}

func attachRole(l *leader, _ *caller, m proto.Message) ([]string, error) {
	start := m.(*polderv1.AttachRequest).Start
	if start == nil {
		return nil, invalid("start", "the first message must say to which task")
	}
	return l.taskRoles([]string{start.Task})
}

// explainedRole is the role of the ask or the task that has the id.
func explainedRole(l *leader, _ *caller, m proto.Message) ([]string, error) {
	id := m.(*polderv1.ExplainRequest).Id
	if roles, err := l.taskRoles([]string{id}); err == nil {
		return roles, nil
	}
	return l.askRoles([]string{id})
}

func submittedRoles(l *leader, c *caller, m proto.Message) ([]string, error) {
	asks := m.(*polderv1.SubmitRequest).Asks
	roles, err := eachRole(asks, func(a *polderv1.AskSpec) (string, error) {
		if err := mayStart(l, c, a.GetTask(), a.GetRole()); err != nil {
			return "", err
		}
		return workRole(a.GetRole())
	})
	if err != nil {
		return nil, err
	}
	return l.addMountRoles(roles, func(yield func(*polderv1.TaskSpec) bool) {
		for _, a := range asks {
			if !yield(a.GetTask()) {
				return
			}
		}
	})
}

func claimedRoles(l *leader, c *caller, m proto.Message) ([]string, error) {
	req := m.(*polderv1.CommitRequest)
	if len(req.Tasks) == 0 {
		return givenUpRoles(l, req)
	}
	roles, err := eachRole(req.Tasks, func(t *polderv1.ClaimTask) (string, error) {
		if err := mayStart(l, c, t.GetTask(), t.GetRole()); err != nil {
			return "", err
		}
		return workRole(t.GetRole())
	})
	if err == nil {
		roles, err = l.addMountRoles(roles, func(yield func(*polderv1.TaskSpec) bool) {
			for _, t := range req.Tasks {
				if !yield(t.GetTask()) {
					return
				}
			}
		})
	}
	if err != nil || len(req.GiveUp) == 0 {
		return roles, err
	}
	more, err := givenUpRoles(l, req)
	return append(roles, more...), err
}

// givenUpRoles are the roles of the asks whose places a commit gives up.
func givenUpRoles(l *leader, req *polderv1.CommitRequest) ([]string, error) {
	ids := make([]string, len(req.GiveUp))
	for i, g := range req.GiveUp {
		ids[i] = g.GetAsk()
	}
	return l.askRoles(ids)
}

// workRole checks the syntax of a role that work is for.
func workRole(path string) (string, error) {
	if !role.ValidPath(path) {
		return "", invalid("role", "%q is not the path of a role, such as corp/search", clip(path, 200))
	}
	return path, nil
}

// changedRoles are the roles whose plan a new plan changes, counted from the revision it was made from: when that is no
// longer the newest, nothing is applied.
func changedRoles(l *leader, _ *caller, m proto.Message) ([]string, error) {
	req := m.(*polderv1.ApplyRequest)
	next, err := planfile.Parse([]byte(req.Plan))
	if err != nil {
		return nil, err
	}
	now := l.board.look().plan
	if req.BaseRevision != now.Revision {
		return nil, stalePlan(req.BaseRevision, now.Revision)
	}
	return rolesChanged(now.Plan, next), nil
}

func stalePlan(base, now int64) error {
	return refused("Stale", "get it, make your change again and apply that", "the plan was made from revision %d, in force is revision %d", base, now)
}

// rolesChanged lists the roles whose own entries differ, in the base or in a window. What concerns the whole cluster, and
// the calendar as such, is the root's too.
func rolesChanged(from, to *role.Plan) []string {
	changed := map[string]bool{}
	markRoles(from.Roles, to.Roles, changed)
	rest := func(p *role.Plan) *role.Plan { return &role.Plan{Pools: p.Pools, Cluster: p.Cluster} }
	if len(role.Diff(rest(from), rest(to))) > 0 {
		changed[""] = true
	}
	markWindows(from, to, changed)
	return sortedKeys(changed)
}

// markRoles marks the paths whose entries are not the same on both sides.
func markRoles(from, to map[string]role.RoleSpec, changed map[string]bool) {
	only := func(m map[string]role.RoleSpec, path string) *role.Plan {
		p := &role.Plan{Roles: map[string]role.RoleSpec{}}
		if s, ok := m[path]; ok {
			p.Roles[path] = s
		}
		return p
	}
	for _, path := range slices.Concat(sortedKeys(from), sortedKeys(to)) {
		if !changed[path] && len(role.Diff(only(from, path), only(to, path))) > 0 {
			changed[path] = true
		}
	}
}

// markWindows marks what windows set differently. A window that comes, goes, moves in the list or changes its hours concerns
// every role it sets.
func markWindows(from, to *role.Plan, changed map[string]bool) {
	all := func(w role.Window) {
		changed[""] = true
		for path := range w.Set {
			changed[path] = true
		}
	}
	frames := func(p *role.Plan) *role.Plan {
		out := &role.Plan{Windows: slices.Clone(p.Windows)}
		for i := range out.Windows {
			out.Windows[i].Set = nil
		}
		return out
	}
	if len(role.Diff(frames(from), frames(to))) > 0 {
		for _, w := range slices.Concat(from.Windows, to.Windows) {
			all(w)
		}
		return
	}
	for i, w := range to.Windows { // the same windows in the same order
		markRoles(from.Windows[i].Set, w.Set, changed)
	}
}

// mayCreateToken: join tokens are for who may let nodes in; tokens for people as the policy says.
func mayCreateToken(l *leader, c *caller, m proto.Message) error {
	req := m.(*polderv1.CreateTokenRequest)
	policy := l.book.Policy()
	switch req.Kind {
	case "join":
		return policy.Check(c.id, auth.TokenUse, "")
	case "user":
		return policy.CheckToken(c.id, req.Name, nil)
	}
	if err := policy.Check(c.id, auth.TokenUse, ""); err != nil {
		return err
	}
	return invalid("kind", "%q is neither user nor join", clip(req.Kind, 40))
}

func mayRevokeToken(l *leader, c *caller, m proto.Message) error {
	id := m.(*polderv1.RevokeTokenRequest).Id
	if t, ok := l.book.Token(id); ok {
		return l.book.Policy().CheckToken(c.id, t.Name, t.Groups)
	}
	return l.book.Policy().Check(c.id, auth.TokenUse, "")
}

// holdsJoinToken lets a machine ask to join.
func holdsJoinToken(l *leader, _ *caller, m proto.Message) error {
	return l.book.CheckJoin(auth.NewSecret(m.(*polderv1.JoinRequest).Token))
}

// viewsAny lets pass who may view the root or any other role.
func viewsAny(l *leader, c *caller, _ proto.Message) error {
	policy := l.book.Policy()
	err := policy.Check(c.id, auth.View, "")
	if err == nil {
		return nil
	}
	for _, r := range l.board.look().tree.Roles {
		if policy.Check(c.id, auth.View, r.Path) == nil {
			return nil
		}
	}
	return err
}
