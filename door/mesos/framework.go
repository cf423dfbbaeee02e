package mesos

import (
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"polder.dev/polder/core/role"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// framework is a scheduler that has subscribed. The door's mutex guards it.
type framework struct {
	id           string
	info         *mesosv1.FrameworkInfo
	caller       door.Caller // in whose name it acts, as of the last subscription
	principal    string
	stream       *stream // nil while it is away
	registered   time.Time
	reregistered time.Time
	awaySince    time.Time
	removed      time.Time
	constraints  *schedulerv1.OfferConstraints
	subs         map[string]*subscription // by role of Mesos
	tasks        map[string]*task         // by id of Mesos; put and drop change it
	papers       map[string]*papers       // by role of the pool
	executors    map[executorKey]*executor
	completed    []*task // ended and acknowledged, the newest last
	offers       map[string]*offer
	inverse      map[string]*inverseOffer
}

// subscription is a framework in one of its roles.
type subscription struct {
	fw         *framework
	role       string // Mesos' name
	path       string // Polder's
	suppressed bool
	filters    map[string]filter // by node
	constraint constraint
	turn       uint64 // when it was last offered something, as a count
	wish       wish
}

// filter hides offers within what was refused.
type filter struct {
	refused amounts
	until   time.Time
}

func (f *framework) capable(c mesosv1.FrameworkInfo_Capability_Type) bool { return capable(f.info, c) }

func capable(info *mesosv1.FrameworkInfo, c mesosv1.FrameworkInfo_Capability_Type) bool {
	return slices.ContainsFunc(info.GetCapabilities(), func(x *mesosv1.FrameworkInfo_Capability) bool { return x.GetType() == c })
}

// form is how it wants resources written.
func (f *framework) form(role string) form {
	return form{
		role: role, multi: f.capable(mesosv1.FrameworkInfo_Capability_MULTI_ROLE),
		refined: f.capable(mesosv1.FrameworkInfo_Capability_RESERVATION_REFINEMENT),
	}
}

// borrows reports whether it knows revocable resources; then only those are borrowed for it.
func (f *framework) borrows() bool {
	return f.capable(mesosv1.FrameworkInfo_Capability_REVOCABLE_RESOURCES)
}

// failover is how long it may be away.
func (f *framework) failover() time.Duration {
	return time.Duration(min(f.info.GetFailoverTimeout()*float64(time.Second), float64(maxFailover)))
}

const maxFailover = 292 * 365 * 24 * time.Hour

// send sends it events, as far as it is there.
func (f *framework) send(events ...proto.Message) {
	if f.stream != nil {
		f.stream.send(events...)
	}
}

// state is its word for a task that is gone in some way: one that knows partitions has finer ones.
func (f *framework) state(finer mesosv1.TaskState) mesosv1.TaskState {
	if f.capable(mesosv1.FrameworkInfo_Capability_PARTITION_AWARE) {
		return finer
	}
	return mesosv1.TaskState_TASK_LOST
}

// rolesOf are the roles an info subscribes to.
func rolesOf(info *mesosv1.FrameworkInfo) []string {
	if capable(info, mesosv1.FrameworkInfo_Capability_MULTI_ROLE) {
		return info.GetRoles()
	}
	return []string{info.GetRole()}
}

// checkInfo is Mesos' validation of a FrameworkInfo, in its order.
func checkInfo(info *mesosv1.FrameworkInfo, suppressed []string) error {
	if capable(info, mesosv1.FrameworkInfo_Capability_MULTI_ROLE) {
		if info.Role != nil {
			return refusal("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable")
		}
		if sorted := slices.Sorted(slices.Values(info.Roles)); len(slices.Compact(sorted)) != len(info.Roles) {
			return refusal("'FrameworkInfo.roles' must not contain duplicate items: [%s]", sortedText(info.Roles))
		}
	} else if len(info.Roles) > 0 {
		return refusal("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable")
	}
	for _, r := range rolesOf(info) {
		if err := checkRole(r); err != nil {
			return err
		}
	}
	if id := info.GetId().GetValue(); id != "" {
		if err := checkID(id); err != nil {
			return refusal("'FrameworkInfo.id' is invalid: %v", err)
		}
	}
	if t := info.GetFailoverTimeout(); !(t >= 0 && t <= maxFailover.Seconds()) {
		return refusal("The framework failover timeout (%v seconds) is invalid", t)
	}
	for _, r := range suppressed {
		if !slices.Contains(rolesOf(info), r) {
			return refusal("Suppressed role '%s' is not contained in the list of roles", r)
		}
	}
	return nil
}

// checkRole is Mesos' syntax of roles, and the pool's where that is narrower.
func checkRole(r string) error {
	switch {
	case r == "*":
		return nil
	case !role.ValidPath(r):
		return refusal("Role '%.80s' is invalid: it is not '*' and not the path of a role, such as corp/search", r)
	}
	return nil
}

// checkID is Mesos' syntax of ids.
func checkID(id string) error {
	switch {
	case id == "":
		return refusal("ID must not be empty")
	case len(id) > 255:
		return refusal("ID must not be greater than 255 characters")
	case !utf8.ValidString(id):
		return refusal("'%.80q' contains invalid characters", id)
	case id == "." || id == "..":
		return refusal("'%s' is disallowed", id)
	}
	for _, c := range id {
		if c < ' ' || c == 0x7f || c == '/' || c == '\\' {
			return refusal("'%.80s' contains invalid characters", id)
		}
	}
	return nil
}

// subscribe gives the framework the roles of its info, keeping what is known about those it had.
func (d *Door) subscribe(f *framework, suppressed []string, constraints *schedulerv1.OfferConstraints) error {
	wants := map[string]constraint{}
	for _, r := range rolesOf(f.info) { // all of them first: what is refused changes nothing
		c, err := compileConstraint(constraints.GetRoleConstraints()[r])
		if err != nil {
			return err
		}
		wants[r] = c
	}
	subs := map[string]*subscription{}
	for r, c := range wants {
		s := f.subs[r]
		if s == nil {
			s = &subscription{fw: f, role: r, path: d.pathOf(r), filters: map[string]filter{}, wish: wish{demands: map[string]*demand{}}}
		}
		s.suppressed, s.constraint = slices.Contains(suppressed, r), c
		subs[r] = s
	}
	for r, s := range f.subs {
		if subs[r] == nil || s.suppressed {
			d.withdraw(s)
		}
	}
	f.subs, f.constraints = subs, constraints
	d.anew = true
	return nil
}

// pathOf is the role of the pool that a role of Mesos is.
func (d *Door) pathOf(r string) string {
	if r == "*" {
		return d.c.DefaultRole
	}
	return r
}
