package swarm

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"encoding/json"

	"github.com/moby/moby/api/types/swarm"

	"polder.dev/polder/door/docker/fields"
	"polder.dev/polder/store"
)

// item is a secret, a config, or what is kept of a node.
type item struct {
	ID, Kind, Name, Role string
	Labels               map[string]string `json:",omitempty"`
	Data                 []byte            `json:",omitempty"`
	Index                uint64
	Created, Updated     time.Time
}

// vault are the items by id.
type vault map[string]item

// at is where an item is in the store.
func (x item) at() string { return prefix + x.Kind + "s/" + x.ID }

// keep writes an item down, sealed, then knows it.
func (s *Swarm) keep(ctx context.Context, x item) error {
	x.Updated = s.opt.Now()
	if x.Created.IsZero() {
		x.Created = x.Updated
	}
	data, err := s.key.seal(x.at(), x)
	if err != nil {
		return err
	}
	if _, err := s.books.writer.Update(context.WithoutCancel(ctx), store.Txn{Ops: []store.Op{store.Put(x.at(), data)}}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vault[x.ID] = x
	return nil
}

// Bounds of what is kept, as swarm mode has them.
const (
	maxSecret = 500 << 10
	maxConfig = 1000 << 10
)

var itemName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)

// tables and words of the two kinds.
var (
	itemTables = map[string]fields.Table{"secret": fields.Secret, "config": fields.Config}
	itemMost   = map[string]int{"secret": maxSecret, "config": maxConfig}
)

// createItem is docker secret create, or docker config create.
func createItem(kind string) func(*Swarm, *call) error {
	return func(s *Swarm, c *call) error {
		if err := c.only(); err != nil {
			return err
		}
		var spec swarm.ConfigSpec
		if _, _, err := c.read(itemTables[kind], "the "+kind, &spec); err != nil {
			return err
		}
		switch {
		case !itemName.MatchString(spec.Name) || len(spec.Name) > 64:
			return fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = invalid %s name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]", kind)
		case len(spec.Data) == 0 || len(spec.Data) > itemMost[kind]:
			return fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = %s data must be larger than 0 and less than %d bytes", kind, itemMost[kind])
		}
		role, err := s.opt.Containers.RoleFor(c.Request, spec.Labels["polder.role"])
		if err != nil {
			return err
		}
		x := item{ID: newID(), Kind: kind, Name: spec.Name, Role: role, Labels: spec.Labels, Data: spec.Data, Index: 1}
		defer s.changing.other()()
		for _, other := range s.items(kind) {
			if other.Name == x.Name {
				return fail(http.StatusConflict, "rpc error: code = AlreadyExists desc = %s %s already exists", kind, x.Name)
			}
		}
		if err := s.keep(c.Context(), x); err != nil {
			return err
		}
		return c.reply(http.StatusCreated, thing{"ID": x.ID})
	}
}

// items lists those of a kind by name.
func (s *Swarm) items(kind string) (out []item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.vault {
		if x.Kind == kind {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b item) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return out
}

// visible lists those of a kind that the caller may view.
func (s *Swarm) visible(c *call, kind string) []item {
	may := s.viewer(c)
	return slices.DeleteFunc(s.items(kind), func(x item) bool { return !may(x.Role) })
}

// shown is an item in the Engine API's words. A secret's data is never shown; who may view a role sees its configs.
func (x item) shown() swarm.Config {
	out := swarm.Config{ID: x.ID}
	out.Version.Index, out.CreatedAt, out.UpdatedAt = x.Index, x.Created, x.Updated
	out.Spec.Name, out.Spec.Labels = x.Name, maps.Clone(x.Labels)
	if out.Spec.Labels == nil {
		out.Spec.Labels = map[string]string{}
	}
	if x.Kind == "config" {
		out.Spec.Data = x.Data
	}
	return out
}

func listItems(kind string) func(*Swarm, *call) error {
	return func(s *Swarm, c *call) error {
		if err := c.only("filters"); err != nil {
			return err
		}
		f, err := c.filters("id", "name", "names", "label")
		if err != nil {
			return err
		}
		out := []swarm.Config{}
		for _, x := range s.visible(c, kind) {
			if matches(f["id"], func(v string) bool { return strings.HasPrefix(x.ID, v) }) && matches(f["name"], func(v string) bool { return strings.HasPrefix(x.Name, v) }) &&
				matches(f["names"], func(v string) bool { return v == x.Name }) && labelled(x.Labels, f["label"]) {
				out = append(out, x.shown())
			}
		}
		return c.reply(http.StatusOK, out)
	}
}

func (s *Swarm) item(c *call, kind string) (item, error) {
	return pick(kind, c.PathValue("id"), s.visible(c, kind), func(x item) string { return x.ID }, func(x item) string { return x.Name })
}

// ownItem is item for one that the caller may change.
func (s *Swarm) ownItem(c *call, kind string) (item, error) {
	x, err := s.item(c, kind)
	if err == nil {
		err = s.opt.Containers.May(c.Context(), "run", x.Role)
	}
	return x, err
}

func inspectItem(kind string) func(*Swarm, *call) error {
	return func(s *Swarm, c *call) error {
		x, err := s.item(c, kind)
		if err != nil {
			return err
		}
		return c.reply(http.StatusOK, x.shown())
	}
}

// updateItem changes labels, and nothing else: who wants other data makes another one, and tells the services.
func updateItem(kind string) func(*Swarm, *call) error {
	return func(s *Swarm, c *call) error {
		if err := c.only("version"); err != nil {
			return err
		}
		var spec swarm.ConfigSpec
		if _, _, err := c.read(itemTables[kind], "the "+kind, &spec); err != nil {
			return err
		}
		defer s.changing.other()()
		x, err := s.ownItem(c, kind)
		if err != nil {
			return err
		}
		switch {
		case c.URL.Query().Get("version") != strconv.FormatUint(x.Index, 10):
			return fail(http.StatusConflict, "rpc error: code = Unknown desc = update out of sequence")
		case spec.Name != x.Name || len(spec.Data) > 0 && string(spec.Data) != string(x.Data) || spec.Labels["polder.role"] != x.Labels["polder.role"]:
			return fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = only updates to Labels are allowed")
		}
		x.Labels, x.Index = spec.Labels, x.Index+1
		if err := s.keep(c.Context(), x); err != nil {
			return err
		}
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
}

// removeItem forgets a secret or config that no service uses.
func removeItem(kind string) func(*Swarm, *call) error {
	return func(s *Swarm, c *call) error {
		defer s.changing.other()()
		x, err := s.ownItem(c, kind)
		if err != nil {
			return err
		}
		users, err := s.users(x)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = %s '%s' is in use by the following services: %s", kind, x.Name, strings.Join(users, ", "))
		}
		if _, err := s.books.writer.Update(context.WithoutCancel(c.Context()), store.Txn{Ops: []store.Op{store.Delete(x.at())}}); err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.vault, x.ID)
		s.mu.Unlock()
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// users are the services that use an item.
func (s *Swarm) users(x item) (out []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, svc := range s.m.Services() {
		var t template
		if err := json.Unmarshal(svc.Spec.Template, &t); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(t.references(), func(r reference) bool { return r.id == x.ID }) {
			out = append(out, svc.Name)
		}
	}
	return out, nil
}

// reference is a use of an item as a file.
type reference struct {
	kind, id, name string
	file           *swarm.SecretReferenceFileTarget
}

// references are the secrets and configs that a task's container has.
func (t template) references() (out []reference) {
	for _, r := range t.spec().Secrets {
		if r != nil {
			out = append(out, reference{"secret", r.SecretID, r.SecretName, r.File})
		}
	}
	for _, r := range t.spec().Configs {
		if r != nil {
			ref := reference{"config", r.ConfigID, r.ConfigName, nil}
			if r.File != nil {
				ref.file = &swarm.SecretReferenceFileTarget{Name: r.File.Name, UID: r.File.UID, GID: r.File.GID, Mode: r.File.Mode}
			}
			out = append(out, ref)
		}
	}
	return out
}

// filesOf are the files of a task's container.
func (s *Swarm) filesOf(t template, role string) ([]File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filesIn(t, role)
}

// filesIn is filesOf for who holds the mutex. A secret goes to services of its own role and no other.
func (s *Swarm) filesIn(t template, role string) (out []File, err error) {
	for _, r := range t.references() {
		x, ok := s.vault[r.id]
		switch {
		case !ok || x.Kind != r.kind || x.Role != role:
			return nil, fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = %s not found: %s; it must be of the service's role, %s", r.kind, clip(r.name), role)
		case x.Name != r.name:
			return nil, fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = %s %s is named %s, not %s", r.kind, r.id, x.Name, clip(r.name))
		case r.file == nil || r.file.Name == "":
			return nil, fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = malformed %s reference: no file is named", r.kind)
		}
		f, err := fileOf(r, x)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o File) bool { return o.Path == f.Path }) {
			return nil, fail(http.StatusBadRequest, "rpc error: code = InvalidArgument desc = %s is the target of two files", f.Path)
		}
		out = append(out, f)
	}
	if len(out) > 0 && t.spec().ReadOnly {
		return nil, fail(http.StatusBadRequest, "TaskTemplate.ContainerSpec.ReadOnly: secrets and configs are files of the container, which engines do not put into a read-only one")
	}
	return out, nil
}

// fileOf is where an item is in the container, and whose.
func fileOf(r reference, x item) (f File, err error) {
	base := map[string]string{"secret": "/run/secrets", "config": "/"}[r.kind]
	f = File{Path: path.Clean(r.file.Name), Mode: int64(r.file.Mode.Perm()), Data: x.Data}
	if !path.IsAbs(f.Path) {
		f.Path = path.Join(base, f.Path)
	}
	for to, text := range map[*int]string{&f.UID: r.file.UID, &f.GID: r.file.GID} {
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return f, fail(http.StatusBadRequest, "%s %s: %q is not a number of a user or a group", r.kind, x.Name, clip(text))
		}
		*to = int(n)
	}
	if f.Path == "/" || strings.Contains(r.file.Name, "\x00") || f.Path == "/polder" || strings.HasPrefix(f.Path, "/polder/") {
		return f, fail(http.StatusBadRequest, "%s %s: %q cannot be a file's name", r.kind, x.Name, clip(r.file.Name))
	}
	return f, nil
}
