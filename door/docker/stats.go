package docker

import (
	"encoding/json"
	"io"
	"net/http"
)

// stats shows what a container uses, once or as it changes.
func (d *Door) stats(q *request) error {
	ctx := q.Context()
	p, err := d.lookup(ctx, q.PathValue("id"))
	if err != nil {
		return err
	}
	res, err := d.call(ctx, p.node, errand{p.role, "view", ""}, http.MethodGet, "/containers/"+p.engine+"/stats", q.URL.Query(), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer)) // what is read of it is said
		return said(res.StatusCode, body)
	}
	q.w.Header().Set("Content-Type", "application/json")
	reader, out := json.NewDecoder(res.Body), flushing{q.w}
	reader.UseNumber()
	for {
		var sample thing
		if reader.Decode(&sample) != nil { // the container has ended, or the client is gone
			return nil
		}
		sample["id"] = p.id
		if _, err := out.Write([]byte(encode(sample) + "\n")); err != nil {
			return nil
		}
	}
}
