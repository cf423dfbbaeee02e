package identity

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/server/servertest"
)

// world is a pool with a clock that a test turns.
type world struct {
	*Callers
	gate   *Gate
	client *pool.Client
	admin  string
	clock  time.Time
}

// roles are those of namespaces of the same name, but for one that is not there.
type roles struct{}

func (roles) RoleOf(namespace string) (string, error) {
	if namespace == "missing" {
		return "", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace)
	}
	return strings.ReplaceAll(namespace, "--", "/"), nil
}

func newWorld(t *testing.T) *world {
	server := servertest.Start(t, nil)
	client := pool.NewClient(server.HTTP(t), "https://"+server.Addr, server.Admin)
	w := &world{client: client, admin: server.Admin, clock: time.Unix(1, 0)}
	w.Callers = NewCallers(w.client.As(""), slog.New(slog.NewTextHandler(io.Discard, nil)))
	w.now = func() time.Time { return w.clock }
	w.gate = NewGate(w.Callers)
	w.gate.Open(roles{})
	return w
}

// token makes a token for somebody.
func (w *world) token(t *testing.T, name string) (secret, id string) {
	t.Helper()
	res, err := w.client.Access.CreateToken(t.Context(), connect.NewRequest(&polderv1.CreateTokenRequest{Kind: "user", Name: name}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.Secret, res.Msg.Token.Id
}

// permit replaces the table of permissions.
func (w *world) permit(t *testing.T, rules ...*polderv1.Permission) {
	t.Helper()
	have, err := w.client.Access.GetPermissions(t.Context(), connect.NewRequest(&polderv1.GetPermissionsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.client.Access.SetPermissions(t.Context(), connect.NewRequest(&polderv1.SetPermissionsRequest{BaseRevision: have.Msg.Revision, Permissions: rules}))
	if err != nil {
		t.Fatal(err)
	}
}

func rule(subject, role string, verbs ...string) *polderv1.Permission {
	return &polderv1.Permission{Subject: subject, Role: role, Verbs: verbs}
}

// login is the user that a token is.
func (w *world) login(t *testing.T, token string) user.Info {
	t.Helper()
	res, ok, err := w.AuthenticateToken(t.Context(), token)
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	return res.User
}

// asks is a request as "verb namespace resource[/sub]"; "-" is no namespace.
func asks(u user.Info, text string) authorizer.Attributes {
	f := strings.Fields(text)
	resource, sub, _ := strings.Cut(f[2], "/")
	return authorizer.AttributesRecord{User: u, Verb: f[0], Namespace: strings.TrimPrefix(f[1], "-"), Resource: resource, Subresource: sub, ResourceRequest: true}
}

func (w *world) allowed(t *testing.T, u user.Info, text string) bool {
	t.Helper()
	d, _, err := w.gate.Authorize(t.Context(), asks(u, text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d == authorizer.DecisionAllow
}

// TestPermissionsOfThePool: what a caller may do in Kubernetes is what the table says of the namespace's role.
func TestPermissionsOfThePool(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.token(t, "alice")
	w.permit(t, rule("user:alice", "corp/**", "view", "logs", "run"), rule("user:alice", "shop", "view"), rule("user:alice", "lab", "admin"))
	alice := w.login(t, secret)
	if alice.GetName() != "user:alice" || !Known(alice) {
		t.Errorf("%+v", alice)
	}
	for text, want := range map[string]bool{
		"get corp--search pods": true, "create corp deployments": true, "get corp pods/log": true, "patch corp deployments/scale": true,
		"get corp secrets": true, "create corp pods/exec": false, "create corp pods/binding": false, "patch corp pods/status": false,
		"get corp pods/exec": false, "get corp pods/proxy": false, "get corp machines.example.org/console": false, "get corp deployments/scale": true, "get corp pods/status": true,
		"create corp rolebindings": false, "update corp resourcequotas": false, "impersonate corp serviceaccounts": false,
		"list shop pods": true, "get shop secrets": false, "delete shop pods": false, "get shop pods/log": false,
		"create lab rolebindings": true, "create lab pods/exec": true, "bind lab clusterroles": true,
		"list - pods": false, "list - namespaces": false, "create - namespaces": true, "get - nodes": false, "patch - nodes": false,
		"create - clusterrolebindings": false, "get corp namespaces": true, "delete shop namespaces": false,
		"list kube-system pods": false, "get kube-system secrets": false, "create kube-system pods": false, "get other pods": false, "get missing pods": false, "get missing namespaces": true, "delete missing namespaces": false,
	} {
		if got := w.allowed(t, alice, text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	root := w.login(t, w.admin)
	for _, text := range []string{"list - pods", "get kube-system secrets", "patch - nodes", "create - clusterrolebindings", "create other pods/exec", "get - nodes/proxy"} {
		if !w.allowed(t, root, text) {
			t.Errorf("an admin of the pool: %s", text)
		}
	}
	if d, _, _ := w.gate.Authorize(t.Context(), asks(&user.DefaultInfo{Name: "system:kube-scheduler"}, "list - pods")); d != authorizer.DecisionNoOpinion {
		t.Error("others are not for the pool to judge")
	}
}

// TestWhoMaySeeEverythingMayEnterNothing: reading leads into no pod, however it is spelled.
func TestWhoMaySeeEverythingMayEnterNothing(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.token(t, "auditor")
	w.permit(t, rule("user:auditor", "**", "view"))
	auditor := w.login(t, secret)
	for text, want := range map[string]bool{
		"list - pods": true, "get - nodes": true, "list - namespaces": true, "get - persistentvolumes": true, "get kube-system configmaps": true,
		"get - nodes/proxy": false, "get - nodes/log": false, "get shop pods/exec": false, "get shop services/proxy": false, "get shop pods/log": false,
		"list - secrets": false, "get kube-system secrets": false, "get kube-system pods/exec": false, "patch - nodes": false,
	} {
		if got := w.allowed(t, auditor, text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestRefusalsNameWhatIsMissing.
func TestRefusalsNameWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.token(t, "alice")
	alice := w.login(t, secret)
	for text, want := range map[string]string{"delete shop pods": "user:alice may not run on role shop", "list - pods": "a rule for the role **"} {
		if _, reason, _ := w.gate.Authorize(t.Context(), asks(alice, text)); !strings.Contains(reason, want) {
			t.Errorf("%s: %q", text, reason)
		}
	}
}

// TestGrantAndRevocation hold after [TTL].
func TestGrantAndRevocation(t *testing.T) {
	w := newWorld(t)
	secret, id := w.token(t, "alice")
	alice := w.login(t, secret)
	if w.allowed(t, alice, "get shop pods") {
		t.Error("allowed without a rule")
	}
	w.permit(t, rule("user:alice", "shop", "view"))
	if w.clock = w.clock.Add(TTL); !w.allowed(t, w.login(t, secret), "get shop pods") {
		t.Error("not allowed after the grant")
	}
	if _, err := w.client.Access.RevokeToken(t.Context(), connect.NewRequest(&polderv1.RevokeTokenRequest{Id: id})); err != nil {
		t.Fatal(err)
	}
	w.clock = w.clock.Add(TTL)
	if _, ok, err := w.AuthenticateToken(t.Context(), secret); ok || err == nil {
		t.Errorf("a revoked token: %v, %v", ok, err)
	}
	if w.clock = w.clock.Add(2 * keepFor); w.find(id) != nil {
		t.Error("a caller of long ago is kept")
	}
}

// TestTokensOfOthers are not looked at; a secret that is wrong does not get another's answer.
func TestTokensOfOthers(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{"abcdef.0123456789abcdef", "eyJhbGciOi.x.y", "polder-short"} {
		if _, ok, err := w.AuthenticateToken(context.Background(), text); ok || err != nil {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
	secret, _ := w.token(t, "alice")
	w.login(t, secret)
	at := len(secret) - 10 // not the last: some of its bits say nothing
	letter := "a"
	if secret[at] == 'a' {
		letter = "b"
	}
	if _, ok, err := w.AuthenticateToken(t.Context(), secret[:at]+letter+secret[at+1:]); ok || err == nil {
		t.Errorf("with another secret: %v, %v", ok, err)
	}
}

// TestGateIsClosedAtFirst: while roles are not known nobody comes in.
func TestGateIsClosedAtFirst(t *testing.T) {
	w := newWorld(t)
	root := w.login(t, w.admin)
	if d, reason, _ := NewGate(w.Callers).Authorize(t.Context(), asks(root, "get shop pods")); d == authorizer.DecisionAllow || !strings.Contains(reason, "try again") {
		t.Errorf("%v, %q", d, reason)
	}
}
