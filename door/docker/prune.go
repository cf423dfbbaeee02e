package docker

import (
	"net/http"
	"net/url"
	"slices"
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
