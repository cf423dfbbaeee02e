package server

import (
	"slices"
	"strconv"

	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// volumeRow is a volume.
type volumeRow struct{ keptRow }

// volumeName is the name of the volume whose lease has this payload; others have none.
func volumeName(payload any) string { return specOf(payload).GetVolume().GetName() }

// volume finds a volume in the picture.
func (p *picture) volume(name string) (volumeRow, bool) {
	ask, ok := p.volumes.Get(name)
	if !ok {
		return volumeRow{}, false
	}
	v := p.volumeOf(ask)
	return v, v.known()
}

func (p *picture) volumeOf(ask string) volumeRow { return volumeRow{p.keptOf(ask)} }

// volume finds a volume as the requests before in this turn have left it.
func (t *turn) volume(name string) (volumeRow, bool) {
	ask, ok := t.working.volumes.Get(name)
	if !ok {
		return volumeRow{}, false
	}
	v := volumeRow{t.keptOf(ask)}
	return v, v.known()
}

// size is what it is charged with.
func (v volumeRow) size() resource.Amount {
	if v.lease == nil {
		return v.asked.Shape.Resources[diskKind]
	}
	return v.lease.Resources[resource.JoinName(v.lease.Shape.Pool, diskKind)]
}

// reason is why it waits.
func (v volumeRow) reason() *polderv1.Reason {
	switch {
	case v.lease == nil:
		return reasonProto(v.asked.AskView.Reason)
	case v.lease.State == cluster.Starting:
		return &polderv1.Reason{Code: "Starting", Message: "node " + v.lease.Node + " makes its directory"}
	}
	return nil
}

// proto is a volume as somebody may see it.
func (v volumeRow) proto(p *picture, used map[string][]string, mayRun func(role string) bool) *polderv1.Volume {
	spec := v.spec()
	out := &polderv1.Volume{
		Name: spec.Volume.Name, Role: v.role(), Node: v.node(), Size: resource.FormatValue(diskKind, v.size()), State: v.state(), Task: leaseOf(v.ask),
		UsedBy: used[spec.Volume.Name], Labels: spec.Labels, Reason: v.reason(), Reservation: spec.Reservation,
	}
	if v.asked != nil {
		out.Created, out.CreatedBy = timeProto(v.asked.Submitted), v.asked.By
	}
	if n, ok := p.nodes.Get(v.node()); ok && n.VolumeDir != "" && out.State != keptWaiting && mayRun(out.Role) {
		out.Path = volume.Data(n.VolumeDir, out.Task)
	}
	return out
}

// mounters are the tasks that mount volumes, and the asks of which something waits to, by the volume's name.
func (p *picture) mounters() map[string][]string {
	if p.volumes.Len() == 0 {
		return nil
	}
	out := map[string][]string{}
	add := func(payload any, id string) {
		for _, m := range specOf(payload).GetMounts() {
			if m.GetVolume() != "" && !slices.Contains(out[m.Volume], id) {
				out[m.Volume] = append(out[m.Volume], id)
			}
		}
	}
	for id, row := range p.tasks.All() {
		if !row.State.Terminal() {
			add(row.Payload, id)
		}
	}
	for id, row := range p.asks.All() {
		if row.State == "open" && row.Pending > 0 {
			add(row.Payload, id)
		}
	}
	return out
}

// mountersOf is mounters for one volume, with what came in this turn: asks by their tasks, as far as they have any.
func (t *turn) mountersOf(name string) []string {
	out := t.working.mounters()[name]
	for _, ask := range sortedKeys(t.asks) {
		if !slices.Contains(t.asks[ask].mounts, name) {
			continue
		}
		if _, shown := t.working.asks.Get(ask); !shown {
			out = append(out, ask)
		}
	}
	return out
}

// staysText is how many volumes and reservations there are, for sentences.
func staysText(volumes, reservations int) string {
	switch {
	case reservations == 0:
		return counted(volumes, "volume")
	case volumes == 0:
		return counted(reservations, "reservation")
	}
	return counted(volumes, "volume") + " and " + counted(reservations, "reservation")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
