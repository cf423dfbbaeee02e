package server

import (
	"slices"
	"strconv"

	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// States of a volume.
const (
	volumeWaiting     = "waiting"
	volumeReady       = "ready"
	volumeUnreachable = "unreachable"
	volumeDeleting    = "deleting"
)

// volumeRow is a volume: an ask of its own and, once it has room, the one task of that.
type volumeRow struct {
	ask   string
	asked *askRow           // nil when nobody knows the ask any more
	lease *cluster.TaskView // nil while it waits for room
}

// leaseOf is the id of the one task of a volume's ask.
func leaseOf(ask string) string { return ask + ".0" }

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

func (p *picture) volumeOf(ask string) volumeRow {
	v := volumeRow{ask: ask}
	if row, ok := p.asks.Get(ask); ok {
		v.asked = &row
	}
	if row, ok := p.tasks.Get(leaseOf(ask)); ok && !row.State.Terminal() {
		v.lease = &row
	}
	return v
}

// volume finds a volume as the requests before in this turn have left it.
func (t *turn) volume(name string) (volumeRow, bool) {
	ask, ok := t.working.volumes.Get(name)
	if !ok {
		return volumeRow{}, false
	}
	v := volumeRow{ask: ask}
	if view, ok := t.cluster.Ask(ask); ok {
		v.asked = &askRow{view, t.asks[ask]}
	}
	if view, ok := t.cluster.Task(leaseOf(ask)); ok {
		v.lease = &view
	}
	return v, v.known()
}

func (v volumeRow) known() bool { return v.lease != nil || v.asked != nil && v.asked.State == "open" }

func (v volumeRow) spec() *polderv1.TaskSpec {
	if v.lease != nil {
		return specOf(v.lease.Payload)
	}
	return specOf(v.asked.Payload)
}

func (v volumeRow) role() string {
	if v.lease != nil {
		return v.lease.Role
	}
	return v.asked.Role
}

func (v volumeRow) node() string {
	if v.lease == nil {
		return ""
	}
	return v.lease.Node
}

// size is what it is charged with.
func (v volumeRow) size() resource.Amount {
	if v.lease == nil {
		return v.asked.Shape.Resources[diskKind]
	}
	return v.lease.Resources[resource.JoinName(v.lease.Shape.Pool, diskKind)]
}

func (v volumeRow) state() string {
	switch {
	case v.lease == nil || v.lease.State == cluster.Starting:
		return volumeWaiting
	case v.lease.State == cluster.Stopping:
		return volumeDeleting
	case v.lease.State == cluster.Unreachable:
		return volumeUnreachable
	}
	return volumeReady
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
		UsedBy: used[spec.Volume.Name], Labels: spec.Labels, Reason: v.reason(),
	}
	if v.asked != nil {
		out.Created, out.CreatedBy = timeProto(v.asked.Submitted), v.asked.By
	}
	if n, ok := p.nodes.Get(v.node()); ok && n.VolumeDir != "" && out.State != volumeWaiting && mayRun(out.Role) {
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

// seeVolume keeps a volume under its name while it is there.
func (t *turn) seeVolume(payload any, ask string, over bool) {
	name := volumeName(payload)
	if name == "" {
		return
	}
	at, ok := t.working.volumes.Get(name)
	switch {
	case !over:
		t.working.volumes.Set(name, ask)
	case ok && at == ask:
		t.working.volumes.Delete(name)
	}
}

// volumesText is how many volumes there are, for sentences.
func volumesText(n int) string {
	if n == 1 {
		return "1 volume"
	}
	return strconv.Itoa(n) + " volumes"
}
