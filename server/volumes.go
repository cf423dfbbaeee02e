package server

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
)

// diskKind is the resource that volumes are leases of.
const diskKind = "disk"

// volumes serves VolumeService.
type volumes struct{ *leader }

// Create asks for a volume, or commits it to the node that is wanted, and answers when that is durable.
func (s volumes) Create(ctx context.Context, req *connect.Request[polderv1.VolumeServiceCreateRequest]) (*connect.Response[polderv1.Volume], error) {
	m, c := req.Msg, callerOf(ctx)
	spec, err := volumeSpec(m)
	if err != nil {
		return nil, err
	}
	if err := s.board.look().carve(spec, m.Role, ""); err != nil {
		return nil, err
	}
	if _, err := shapeOf(spec, ""); err != nil {
		return nil, err
	}
	err = s.change(ctx, func(t *turn) error {
		if v, ok := t.volume(m.Name); ok {
			return v.differs(m)
		}
		return t.createVolume(m, spec, c.id.String())
	})
	if err != nil {
		return nil, err
	}
	return s.show(c, m.Name)
}

// volumeSpec is the lease of a volume that is asked for.
func volumeSpec(m *polderv1.VolumeServiceCreateRequest) (*polderv1.TaskSpec, error) {
	if !validVolumeName(m.Name) {
		return nil, invalid("name", "%q: use up to 120 letters, digits, '_', '.' and '-', a letter or digit first", clip(m.Name, 200))
	}
	size, err := volumeSize(m.Size)
	if err != nil {
		return nil, err
	}
	return &polderv1.TaskSpec{
		Runtime: volume.Name, Volume: &polderv1.VolumeLease{Name: m.Name}, Resources: map[string]string{diskKind: resource.FormatValue(diskKind, size)},
		Pool: m.Pool, Reservation: m.Reservation, Constraints: m.Constraints, Labels: m.Labels, Preemptible: proto.Bool(false), Requeue: proto.Bool(false),
		Kill: &polderv1.KillPolicy{Grace: durationpb.New(0)}, // nothing in it could save its work
	}, nil
}

func volumeSize(text string) (resource.Amount, error) {
	size, err := resource.ParseValue(diskKind, text)
	switch {
	case err != nil:
		return 0, invalid("size", "%v", err)
	case size <= 0 || size == resource.Unlimited:
		return 0, invalid("size", "%q: say how much disk it is charged with, as in 10Gi", clip(text, 40))
	}
	return size, nil
}

// createVolume asks for a volume that is new. It is known under its name at once: the next request of the turn may be for the same.
func (t *turn) createVolume(m *polderv1.VolumeServiceCreateRequest, spec *polderv1.TaskSpec, who string) error {
	ask, err := t.keep(volume.Name, m.Role, m.Node, spec, who)
	if err == nil {
		t.working.volumes.Set(m.Name, ask)
	}
	return err
}

// differs refuses a volume that is to be made and is there already as another one.
func (v volumeRow) differs(m *polderv1.VolumeServiceCreateRequest) error {
	size, _ := volumeSize(m.Size) // it was read before
	var what string
	switch {
	case v.role() != m.Role:
		what = "of another role"
	case v.size() != size:
		what = fmt.Sprintf("with %s of disk, not %s", resource.FormatValue(diskKind, v.size()), m.Size)
	case m.Node != "" && v.node() != m.Node:
		what = fmt.Sprintf("on node %s, not %s", v.node(), m.Node)
		if v.node() == "" {
			what = "and waits for room on any node"
		}
	case v.spec().Reservation != m.Reservation:
		what = "carved out of no reservation"
		if r := v.spec().Reservation; r != "" {
			what = "carved out of reservation " + r
		}
	case v.state() == keptDeleting:
		what = "and is being deleted"
	default:
		return nil
	}
	return refused("AlreadyExists", "choose another name, or delete that one first", "there is a volume %s already, %s", m.Name, what)
}

// Get returns a volume; if the caller wants that, once it waits no longer.
func (s volumes) Get(ctx context.Context, req *connect.Request[polderv1.VolumeServiceGetRequest]) (*connect.Response[polderv1.Volume], error) {
	if req.Msg.UntilReady {
		name := req.Msg.Name
		err := s.until(ctx, func(p *picture) (keptRow, bool) { v, ok := p.volume(name); return v.keptRow, ok }, func(p *picture, ask string) error {
			return refused("VolumeEnded", "create it again", "there is no volume %s any more: %s", name, p.endedWhy(ask))
		})
		if err != nil {
			return nil, err
		}
	}
	return s.show(callerOf(ctx), req.Msg.Name)
}

func (s volumes) show(c *caller, name string) (*connect.Response[polderv1.Volume], error) {
	p := s.board.look()
	v, ok := p.volume(name)
	if !ok {
		return nil, noVolume(name)
	}
	return connect.NewResponse(v.proto(p, p.mounters(), s.maySeePaths(c))), nil
}

func noVolume(name string) error {
	return refused("NotFound", "list the volumes there are, or create it", "no volume is called %q", clip(name, 200))
}

// maySeePaths says of which roles a caller may know where on a machine their volumes are.
func (l *leader) maySeePaths(c *caller) func(role string) bool {
	policy := l.book.Policy()
	return func(role string) bool { return policy.Check(c.id, auth.Run, role) == nil }
}

// List lists the volumes that the caller may view.
func (s volumes) List(ctx context.Context, req *connect.Request[polderv1.VolumeServiceListRequest]) (*connect.Response[polderv1.VolumeServiceListResponse], error) {
	m, p, c := req.Msg, s.board.look(), callerOf(ctx)
	viewer, used, paths := s.viewer(c), p.mounters(), s.maySeePaths(c)
	find := func(ask string) volumeRow { return p.volumeOf(ask) }
	out, next, err := pageOf(m, p.volumes.After, func(ask string) bool {
		v := find(ask)
		return (m.Node == "" || v.node() == m.Node) && under(v.role(), m.Role) && viewer.mayView(v.role())
	}, func(ask string) *polderv1.Volume { return find(ask).proto(p, used, paths) })
	return connect.NewResponse(&polderv1.VolumeServiceListResponse{Volumes: out, NextPageToken: next, Revision: p.revision}), err
}

// Resize makes the lease of a volume larger or smaller.
func (s volumes) Resize(ctx context.Context, req *connect.Request[polderv1.VolumeServiceResizeRequest]) (*connect.Response[polderv1.Volume], error) {
	name := req.Msg.Name
	size, err := volumeSize(req.Msg.Size)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, func(t *turn) error {
		v, ok := t.volume(name)
		switch {
		case !ok:
			return noVolume(name)
		case v.lease == nil:
			return refused("VolumeWaiting", "delete it and create it with the size it needs", "volume %s waits for room", name)
		}
		_, err := t.step(cluster.Resize{Task: v.lease.Task, Resources: resource.Resources{diskKind: size}})
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.show(callerOf(ctx), name)
}

// Delete deletes a volume nobody uses and what is in it. The node is told when that is durable.
func (s volumes) Delete(ctx context.Context, req *connect.Request[polderv1.VolumeServiceDeleteRequest]) (*connect.Response[polderv1.VolumeServiceDeleteResponse], error) {
	name := req.Msg.Name
	err := s.change(ctx, func(t *turn) error {
		v, ok := t.volume(name)
		if !ok {
			return noVolume(name)
		}
		if users := t.mountersOf(name); len(users) > 0 {
			return refused("VolumeInUse", "end them first", "volume %s is mounted by %s", name, some(users))
		}
		var err error
		switch {
		case v.lease == nil:
			_, err = t.step(cluster.Cancel{Ask: v.ask})
		case v.state() != keptDeleting:
			_, err = t.step(cluster.Kill{Task: v.lease.Task})
		}
		return err
	})
	return connect.NewResponse(&polderv1.VolumeServiceDeleteResponse{}), err
}

// some lists a few names of many.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
