package server

import (
	"errors"
	"iter"
	"slices"
	"strings"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/role"
)

// mountedVolumes are the names of the volumes that a task mounts.
func mountedVolumes(s *polderv1.TaskSpec) []string {
	var out []string
	for _, m := range s.GetMounts() {
		if name := m.GetVolume(); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// addMountRoles adds the roles of the volumes that tasks mount to those a request works on.
func (l *leader) addMountRoles(roles []string, specs iter.Seq[*polderv1.TaskSpec]) ([]string, error) {
	var p *picture
	for s := range specs {
		for _, name := range mountedVolumes(s) {
			if p == nil {
				p = l.board.look()
			}
			v, ok := p.volume(name)
			if !ok {
				return nil, noVolume(name)
			}
			if r := v.role(); !slices.Contains(roles, r) {
				roles = append(roles, r)
			}
		}
	}
	return roles, nil
}

// place makes a task that mounts volumes run on their node, which its constraints say from then on. The names are empty for most tasks.
func (p *picture) place(s *polderv1.TaskSpec, at string) (names []string, err error) {
	names = mountedVolumes(s)
	node, first := "", ""
	for _, name := range names {
		v, ok := p.volume(name)
		if !ok {
			return nil, noVolume(name)
		}
		if err := v.mountable(); err != nil {
			return nil, err
		}
		if n := v.node(); node == "" {
			node, first = n, name
		} else if n != node {
			return nil, invalid(role.JoinKey(at, "mounts"), "volume %s is on node %s and volume %s on node %s: no task can mount both", first, node, name, n)
		}
	}
	if on := placement.NodeAttribute + "==" + node; node != "" && !slices.Contains(s.Constraints, on) {
		s.Constraints = append(slices.Clip(s.Constraints), on)
	}
	return names, nil
}

// mountable refuses a volume that is not there yet, or not for long.
func (v volumeRow) mountable() error {
	name := v.spec().GetVolume().GetName()
	switch v.state() {
	case keptWaiting:
		text := "for room"
		if r := v.reason(); r != nil {
			text += ": " + strings.TrimSuffix(r.Message, ".")
		}
		return refused("VolumeWaiting", "try again when it is ready; polder volume get "+name, "volume %s still waits %s", name, text)
	case keptDeleting:
		return refused("VolumeDeleting", "mount another one", "volume %s is being deleted", name)
	}
	return nil
}

// stillThere refuses a task whose volumes are not what they were when it was placed on their node.
func (t *turn) stillThere(d *draft) error {
	for _, name := range d.volumes {
		v, ok := t.volume(name)
		if !ok {
			return noVolume(name)
		}
		if err := v.mountable(); err != nil {
			return err
		}
	}
	return nil
}

// withVolumes says why a task can never start whose volume is on a node that has nothing but its volumes until it is back.
func (t *turn) withVolumes(d *draft, why error) error {
	var r *cluster.Refusal
	if !errors.As(why, &r) || r.Reason.Code != "Impossible" {
		return why
	}
	for _, name := range d.volumes {
		if v, ok := t.volume(name); ok && v.state() == keptUnreachable {
			return refused("VolumeUnreachable", "bring the node back, or give it up with its volumes", "volume %s is on node %s, which counts as lost", name, v.node())
		}
	}
	return why
}

// runsNothing reports whether a payload is that of the lease of a volume or of a reservation.
func runsNothing(payload any) bool {
	return volumeName(payload) != "" || reservationName(payload) != ""
}

// noProcess refuses to do something with the lease of a volume or a reservation that is for what runs.
func noProcess(payload any, task string) error {
	if name := volumeName(payload); name != "" {
		return refused("Volume", "see polder volume --help, or VolumeService", "%s is the lease of volume %s, which runs nothing; only its deletion ends it", task, name)
	}
	if name := reservationName(payload); name != "" {
		return refused("Reservation", "see polder reservation --help, or ReservationService",
			"%s is the lease of reservation %s, which runs nothing; only its deletion ends it", task, name)
	}
	return nil
}
