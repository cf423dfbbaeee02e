package namespace

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/events"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/pool"
)

// RoleAnnotation names the role of a namespace.
const RoleAnnotation = "polder.dev/role"

const (
	every     = time.Second // between two looks at the roles
	callLimit = 10 * time.Second
)

// Map knows the role of every namespace.
type Map struct {
	client     *pool.Client
	kube       kubernetes.Interface
	namespaces corelisters.NamespaceLister
	nodes      *pool.Nodes
	usual      string // role of namespaces that have none of their own
	guest      bool   // the cluster is somebody else's
	events     events.EventRecorder
	log        *slog.Logger

	mu    sync.RWMutex // guards all below
	roles map[string]*polderv1.RoleStatus
}

// New makes a map. usual is the role of namespaces that have none of their own; empty is none. The lister must be synced before
// the map is asked.
func New(client *pool.Client, nodes *pool.Nodes, kube kubernetes.Interface, namespaces corelisters.NamespaceLister, usual string, recorder events.EventRecorder, log *slog.Logger) *Map {
	return &Map{client: client, nodes: nodes, kube: kube, namespaces: namespaces, usual: usual, events: recorder, log: log, roles: map[string]*polderv1.RoleStatus{}}
}

// Guest says that the cluster is somebody else's: namespaces are read, and nothing is made or written. It is called before Run.
func (m *Map) Guest() { m.guest = true }

// RoleOf is the role that pays for the pods of a namespace, or why none does.
func (m *Map) RoleOf(namespace string) (string, error) {
	ns, err := m.namespaces.Get(namespace)
	if err != nil {
		return "", fmt.Errorf("namespace %s: %w", namespace, err)
	}
	role := ns.Annotations[RoleAnnotation]
	if role != "" {
		if m.has(role) {
			return role, nil
		}
		return "", fmt.Errorf("namespace %s names the role %q in its annotation %s, and the plan has no such role", namespace, role, RoleAnnotation)
	}
	if role = m.roleFor(namespace); m.has(role) {
		return role, nil
	}
	return "", fmt.Errorf("no role pays for namespace %s: the plan has no role %q; name one with the annotation %s", namespace, RoleName(namespace), RoleAnnotation)
}

// roleFor is the role of a namespace without annotation: that of the same name, or the usual one.
func (m *Map) roleFor(namespace string) string {
	if own := RoleName(namespace); m.has(own) {
		return own
	}
	return m.usual
}

func (m *Map) has(role string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.roles[role] != nil
}

// RoleName is the role that a namespace without annotation belongs to.
func RoleName(namespace string) string { return strings.ReplaceAll(namespace, "--", "/") }

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Name is the namespace of a role; ok is false when a role's path makes no name of a namespace, or that of another role's.
func Name(role string) (namespace string, ok bool) {
	namespace = strings.ReplaceAll(role, "/", "--")
	return namespace, validName.MatchString(namespace) && RoleName(namespace) == role
}

// Run follows the roles until ctx is done: it makes namespaces and writes quotas.
func (m *Map) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := m.Refresh(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("namespaces could not be brought up to date with the plan's roles", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Refresh looks at the roles once.
func (m *Map) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	roles, err := m.list(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.roles = roles
	m.mu.Unlock()
	if m.guest {
		return nil
	}
	if err := m.grow(ctx); err != nil {
		m.log.Warn("a new namespace has no role in the plan yet; trying again", "error", err)
	}
	for _, path := range slices.Sorted(maps.Keys(roles)) {
		if err := m.open(ctx, path); err != nil {
			return err
		}
	}
	return m.mirrorAll(ctx, roles)
}

func (m *Map) list(ctx context.Context) (map[string]*polderv1.RoleStatus, error) {
	out := map[string]*polderv1.RoleStatus{}
	req := &polderv1.RoleServiceListRequest{PageSize: 1000}
	for {
		res, err := m.client.Roles.List(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		for _, r := range res.Msg.Roles {
			if path := r.GetEffective().GetPath(); path != "" {
				out[path] = r
			}
		}
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			return out, nil
		}
	}
}

// open makes the namespace of a role, if it has none.
func (m *Map) open(ctx context.Context, role string) error {
	name, ok := Name(role)
	if !ok {
		return nil
	}
	if _, err := m.namespaces.Get(name); err == nil || !apierrors.IsNotFound(err) {
		return err
	}
	ns := &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{RoleAnnotation: role}, Labels: map[string]string{enforceLabel: baseline}}}
	_, err := m.kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
