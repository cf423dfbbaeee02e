package server

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/server/history"
)

// remember adds the roles of the picture to the history until ctx ends.
func (l *leader) remember(ctx context.Context) {
	tick := time.NewTicker(history.Every)
	defer tick.Stop()
	for {
		l.sample()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *leader) sample() {
	p, now := l.board.look(), l.cfg.Now()
	roles := l.trees.get(p.plan, now)
	l.history.Add(now, func(yield func(history.Key, history.Figures) bool) {
		for i := range roles {
			v, _ := p.roleView(roles[i].Path)
			for name := range resourcesOf(&roles[i], &v) {
				if !yield(history.Key{Role: roles[i].Path, Resource: name}, sampleOf(&roles[i], &v, name)) {
					return
				}
			}
		}
	})
}

// resourcesOf are the resources in which a role has, uses or wants something.
func resourcesOf(r *effectiveRole, v *cluster.RoleView) map[string]bool {
	out := map[string]bool{}
	for _, amounts := range []resource.Resources{r.guarantee, v.Usage, v.Demand} {
		for name := range amounts {
			out[name] = true
		}
	}
	return out
}

func sampleOf(r *effectiveRole, v *cluster.RoleView, name string) history.Figures {
	_, kind := resource.SplitName(name)
	scale := float32(resource.Scale(kind))
	of := func(amounts resource.Resources) float32 { return float32(amounts[name]) / scale }
	return history.Figures{Guarantee: of(r.guarantee), Own: of(v.Funded), Borrowed: of(v.Borrowed), Lent: of(v.Lent), Demand: of(v.Demand)}
}

// History says what a role had, used and lent. Of a role that the plan no longer has there is nothing.
func (s roles) History(_ context.Context, req *connect.Request[polderv1.RoleServiceHistoryRequest]) (*connect.Response[polderv1.RoleServiceHistoryResponse], error) {
	path := req.Msg.Path
	p, now := s.board.look(), s.cfg.Now()
	roles := s.trees.get(p.plan, now)
	i := slices.IndexFunc(roles, func(r effectiveRole) bool { return r.Path == path })
	if i < 0 {
		return nil, refused("NotFound", "list the roles there are", "the plan has no role %q", clip(path, 200))
	}
	v, _ := p.roleView(path)
	out := &polderv1.RoleServiceHistoryResponse{}
	for _, name := range sortedKeys(resourcesOf(&roles[i], &v)) {
		if line := lineProto(name, &s.history, path); len(line.Times) > 0 {
			out.Lines = append(out.Lines, line)
		}
	}
	return connect.NewResponse(out), nil
}

func lineProto(name string, b *history.Book, path string) *polderv1.RoleLine {
	out := &polderv1.RoleLine{Resource: name}
	times, all := b.Line(history.Key{Role: path, Resource: name})
	for i, f := range all {
		out.Times = append(out.Times, float64(times[i].UnixMilli())/1000)
		out.Guarantee, out.Own = append(out.Guarantee, f.Guarantee), append(out.Own, f.Own)
		out.Borrowed, out.Lent, out.Demand = append(out.Borrowed, f.Borrowed), append(out.Lent, f.Lent), append(out.Demand, f.Demand)
	}
	return out
}
