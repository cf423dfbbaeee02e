package docker

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// pruneContainers removes the caller's containers that do not run and wait for nothing.
func (d *Door) pruneContainers(q *request) error {
	ctx := q.Context()
	filters, err := filtersOf(q.URL.Query())
	if err != nil {
		return err
	}
	for name := range filters {
		if !slices.Contains([]string{"label"}, name) {
			return fail(http.StatusBadRequest, "invalid filter '%s'; prune by label", clip(name))
		}
	}
	filters["status"] = []string{"created", "exited", "dead"}
	query := mine(filters)
	query.Set("size", "1")
	found, err := d.containers(ctx, query)
	if err != nil {
		return err
	}
	gone, space := []string{}, int64(0)
	for _, c := range found {
		if d.may(ctx, "run", c.at.role) != nil {
			continue
		}
		if open, err := d.askOf(ctx, c.at); err != nil || open != "" {
			continue // it is about to run
		}
		err := d.onEngine(ctx, c.at, errand{c.at.role, "run", "remove container " + short(c.at.id)}, http.MethodDelete, "", url.Values{}, nil, nil)
		if err == nil {
			gone, space = append(gone, c.at.id), space+c.SizeRw
			d.forget(c.at.id)
		}
	}
	reply(q.w, http.StatusOK, thing{"ContainersDeleted": gone, "SpaceReclaimed": space})
	return nil
}

// pruneImages removes images that no container uses and that have no name; others, too, for who sees to the nodes: somebody's container
// may be about to be made of them.
func (d *Door) pruneImages(q *request) error {
	filters, err := filtersOf(q.URL.Query())
	if err != nil {
		return err
	}
	named := slices.ContainsFunc(filters["dangling"], func(v string) bool { return v == "0" || strings.EqualFold(v, "false") })
	return d.pruneShared(q, "/images/prune", "ImagesDeleted", named)
}

// pruneBuilds removes what engines keep to build faster; what builds that are under way use, they keep.
func (d *Door) pruneBuilds(q *request) error {
	return d.pruneShared(q, "/build/prune", "CachesDeleted", isSet(q.URL.Query(), "all"))
}

// pruneShared has every engine prune what belongs to no role, and adds up what they say.
func (d *Door) pruneShared(q *request, path, list string, all bool) error {
	ctx := q.Context()
	role, err := d.roleFor(q, "")
	if err != nil {
		return err
	}
	e := errand{role, "run", "prune " + strings.Split(path, "/")[1]}
	if all {
		e = errand{"", "node", e.action + ", all of them"}
		if err := d.may(ctx, e.verb, e.role); err != nil {
			return fail(http.StatusForbidden, "they are shared by all roles, so to remove all that is not in use takes that permission: %v", err)
		}
	}
	engines, err := d.engines(ctx)
	if err != nil {
		return err
	}
	found := make([]thing, len(engines))
	err = d.each(ctx, engines, func(ctx context.Context, i int, at engine) error {
		return d.ask(ctx, at.node(), e, http.MethodPost, path, q.URL.Query(), nil, &found[i])
	})
	if err != nil {
		return err
	}
	gone, space := []any{}, int64(0)
	for _, m := range found {
		some, _ := m[list].([]any)
		n, _ := number(m, "SpaceReclaimed")
		gone, space = append(gone, some...), space+n
	}
	reply(q.w, http.StatusOK, thing{list: distinct(gone), "SpaceReclaimed": space})
	return nil
}
