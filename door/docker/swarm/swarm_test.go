package swarm

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/docker/fields"
	"polder.dev/polder/server/servertest"
	"polder.dev/polder/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// containers are a door without engines. Callers may do anything on the roles that are not forbidden to them.
type containers struct {
	forbidden map[string]bool
	fetched   []string
}

func (c *containers) Fetch(_ context.Context, role, image, auth string) error {
	c.fetched = append(c.fetched, role+" "+image+" "+auth)
	if image == "secret" {
		return fail(http.StatusNotFound, "no such image, and node n1 cannot pull it")
	}
	return nil
}

func (c *containers) RoleFor(r *http.Request, label string) (string, error) {
	if label == "" {
		label = "default"
	}
	return label, c.May(r.Context(), "run", label)
}

func (c *containers) May(_ context.Context, verb, role string) error {
	if c.forbidden[verb+" "+role] {
		return fail(http.StatusForbidden, "may not %s on %s", verb, role)
	}
	return nil
}

func (c *containers) Check(context.Context, Container) error { return nil }

func (c *containers) Places(context.Context, string, []string, []string) ([]string, error) {
	return nil, nil
}

func (c *containers) Task(context.Context, Container) (*polderv1.TaskSpec, error) {
	return nil, errors.New("there is no engine")
}

func (c *containers) Prepare(context.Context, Container, string, Extras) error { return nil }

func (c *containers) Remove(context.Context, string) error { return nil }

func (c *containers) Logs(context.Context, string, url.Values) (*http.Response, error) {
	return nil, errors.New("there is no engine")
}

func (c *containers) Engine(context.Context, string) (Engine, bool) { return Engine{}, false }

// stand is a swarm in front of a server, and a client of it.
type stand struct {
	t       *testing.T
	world   *servertest.World
	store   *store.Memory
	doors   *containers
	handler http.Handler
	ended   chan error
	stop    func()
}

func newStand(t *testing.T) *stand {
	s := &stand{t: t, world: servertest.Start(t, nil), store: store.NewMemory(), doors: &containers{forbidden: map[string]bool{}}}
	t.Cleanup(func() { s.store.Close() })
	s.start([32]byte{1})
	t.Cleanup(func() { s.stop() })
	return s
}

// start runs a swarm on what is in the store.
func (s *stand) start(key [32]byte) {
	x := New(Options{API: door.Open(s.world.Handler, "docker"), Containers: s.doors, Store: s.store, Key: key, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	s.ended, s.stop = ended, func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the swarm ended with %v", err)
		}
		ended <- nil
	}
	mux := http.NewServeMux()
	for _, e := range Endpoints() {
		mux.HandleFunc(e, func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(door.As(r.Context(), door.Bearer(s.world.Admin, "")))
			err := x.Serve(w, r, "user:ann")
			var wrong *fields.Error
			var other *Error
			switch {
			case err == nil:
			case errors.As(err, &wrong):
				http.Error(w, wrong.Error(), http.StatusBadRequest)
			case errors.As(err, &other):
				http.Error(w, err.Error(), other.Status)
			default:
				http.Error(w, err.Error(), http.StatusTeapot)
			}
		})
	}
	s.handler = mux
}

// call makes a call and returns status and body.
func (s *stand) call(method, path, body string) (int, string) {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

// does makes a call that must succeed and decodes its answer.
func (s *stand) does(method, path, body string, out any) {
	s.t.Helper()
	code, text := s.call(method, path, body)
	if code >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, code, text)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			s.t.Fatalf("%s %s answers %s: %v", method, path, text, err)
		}
	}
}

// refuses makes a call that must fail in a way.
func (s *stand) refuses(method, path, body string, code int, words string) {
	s.t.Helper()
	if got, text := s.call(method, path, body); got != code || !strings.Contains(text, words) {
		s.t.Errorf("%s %s %s: %d %s, want %d %q", method, path, body, got, text, code, words)
	}
}

const web = `{"Name":"web","Labels":{"x":"y"},"TaskTemplate":{"ContainerSpec":{"Image":"nginx"}},"Mode":{"Replicated":{"Replicas":2}}}`

type shownService struct {
	ID      string
	Version struct{ Index uint64 }
	Spec    struct {
		Name string
		Mode struct{ Replicated struct{ Replicas int } }
	}
	PreviousSpec  *struct{}
	ServiceStatus struct{ RunningTasks, DesiredTasks int }
}

// TestServicesAreKept: what is wanted survives the server, and who changes it must have seen the last change.
func TestServicesAreKept(t *testing.T) {
	s := newStand(t)
	var made struct{ ID string }
	s.does("POST", "/services/create", web, &made)
	s.refuses("POST", "/services/create", web, http.StatusConflict, "already exists")
	var x shownService
	s.does("GET", "/services/web", "", &x)
	three := strings.ReplaceAll(web, `"Replicas":2`, `"Replicas":3`)
	s.refuses("POST", "/services/web/update?version=999", three, http.StatusConflict, "update out of sequence")
	s.does("POST", "/services/"+made.ID[:5]+"/update?version="+number(x.Version.Index), three, nil)
	s.refuses("POST", "/services/web/update?version="+number(x.Version.Index), three, http.StatusConflict, "update out of sequence")
	s.stop()
	s.start([32]byte{1})
	s.does("GET", "/services/web", "", &x)
	if x.ID != made.ID || x.Spec.Mode.Replicated.Replicas != 3 || x.PreviousSpec == nil {
		t.Errorf("after a restart it is %+v", x)
	}
	var tasks []struct{ Status struct{ State, Err string } }
	s.does("GET", `/tasks?filters={"service":{"web":true}}`, "", &tasks)
	if len(tasks) != 3 || tasks[0].Status.State != "pending" || !strings.Contains(tasks[0].Status.Err, "no suitable node") {
		t.Errorf("its tasks are %+v", tasks)
	}
	s.does("POST", "/services/web/update?rollback=previous&version="+number(x.Version.Index), web, nil)
	var all []shownService
	s.does("GET", "/services?status=true", "", &all)
	if len(all) != 1 || all[0].Spec.Mode.Replicated.Replicas != 2 || all[0].ServiceStatus.DesiredTasks != 2 {
		t.Errorf("after a rollback there are %+v", all)
	}
	s.does("DELETE", "/services/web", "", nil)
	s.refuses("GET", "/services/web", "", http.StatusNotFound, "service web not found")
	if left, _ := s.store.View(t.Context(), prefix); len(left.Entries) > 0 {
		t.Errorf("%d records are left", len(left.Entries))
	}
}

// TestWhatNobodyMayIsNotRolledBackTo: who may only run brings nothing back that takes more.
func TestWhatNobodyMayIsNotRolledBackTo(t *testing.T) {
	s := newStand(t)
	var x shownService
	s.does("POST", "/services/create", strings.Replace(web, `"Image"`, `"CapabilityAdd":["SYS_ADMIN"],"Image"`, 1), nil)
	s.does("GET", "/services/web", "", &x)
	s.does("POST", "/services/web/update?version="+number(x.Version.Index), web, nil)
	s.does("GET", "/services/web", "", &x)
	s.doors.forbidden["host default"] = true
	s.refuses("POST", "/services/web/update?rollback=previous&version="+number(x.Version.Index), web, http.StatusForbidden, "CapabilityAdd")
}

func number(n uint64) string {
	data, _ := json.Marshal(n) // a number
	return string(data)
}

// TestRefusals: what cannot be is refused by its name, and nothing is dropped.
func TestRefusals(t *testing.T) {
	s := newStand(t)
	s.doors.forbidden["host default"] = true
	in := func(old, now string) string { return strings.Replace(web, old, now, 1) }
	for _, r := range []struct {
		body  string
		code  int
		words string
	}{
		{"", 400, "the service"}, {"[]", 400, "JSON object"}, {web + web, 400, "something after"}, {in(`"Name":"web"`, `"Name":"a b"`), 400, "DNS name"},
		{in(`"Name"`, `"Nmae"`), 400, "Nmae: this is not a field"}, {in(`"Image":"nginx"`, `"Image":""`), 400, "no image is named"},
		{in(`"Image"`, `"Privileged":true,"Image"`), 400, "ContainerSpec.Privileged"}, {in(`"Image"`, `"Image":"x","Image"`), 400, "given twice"},
		{in(`"Image"`, `"CapabilityAdd":["SYS_ADMIN"],"Image"`), 403, "CapabilityAdd"}, {in(`"x":"y"`, `"polder.other":"y"`), 400, "polder.other is not a label"},
		{in(`"Replicated":{"Replicas":2}`, `"Global":{},"Replicated":{}`), 400, "only one service mode"}, {in(`"Replicas":2`, `"Replicas":-1`), 400, "the service"},
		{in(`"Replicas":2`, `"Replicas":100001`), 400, "100000 tasks at most"},
		{in(`"Mode"`, `"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishMode":"ingress"}]},"Mode"`), 400, "no routing mesh"},
		{in(`"Mode"`, `"EndpointSpec":{"Ports":[{"TargetPort":80}]},"Mode"`), 400, "no routing mesh"},
		{in(`"Mode"`, `"UpdateConfig":{"FailureAction":"explode"},"Mode"`), 400, "UpdateConfig.FailureAction"},
		{in(`"Mode"`, `"RollbackConfig":{"FailureAction":"rollback"},"Mode"`), 400, "RollbackConfig.FailureAction"},
		{in(`"ContainerSpec"`, `"Placement":{"Constraints":["zone==a"]},"ContainerSpec"`), 400, "node.labels.NAME"},
		{in(`"ContainerSpec"`, `"Placement":{"Preferences":[{"Spread":{"SpreadDescriptor":"zone"}}]},"ContainerSpec"`), 400, "neither node.labels.NAME"},
		{in(`"Image"`, `"Hostname":"{{.Nothing}}","Image"`), 400, "Nothing"},
		{in(`"Image"`, `"Secrets":[{"File":{"Name":"x"},"SecretID":"nosuch","SecretName":"nosuch"}],"Image"`), 400, "secret not found: nosuch"},
	} {
		s.refuses("POST", "/services/create", r.body, r.code, r.words)
	}
	s.refuses("GET", "/services?filters={%22nosuch%22:[%22x%22]}", "", 400, "invalid filter 'nosuch'")
	s.refuses("GET", "/services?nosuch=1", "", 400, "nosuch is not known")
	var all []shownService
	if s.does("GET", "/services", "", &all); len(all) != 0 {
		t.Errorf("there are %+v", all)
	}
}

// TestSecrets: what is secret is in no answer and in no readable form in the store, and only for its own role.
func TestSecrets(t *testing.T) {
	s := newStand(t)
	const words = "b3BlbiBzZXNhbWU=" // open sesame
	var made struct{ ID string }
	s.does("POST", "/secrets/create", `{"Name":"pw","Labels":{},"Data":"`+words+`"}`, &made)
	s.refuses("POST", "/secrets/create", `{"Name":"pw","Data":"`+words+`"}`, 409, "already exists")
	s.refuses("POST", "/secrets/create", `{"Name":"p w","Data":"`+words+`"}`, 400, "invalid secret name")
	s.refuses("POST", "/secrets/create", `{"Name":"none"}`, 400, "larger than 0")
	for _, path := range []string{"/secrets", "/secrets/pw"} {
		if _, text := s.call("GET", path, ""); strings.Contains(text, words) || !strings.Contains(text, made.ID) {
			t.Errorf("%s answers %s", path, text)
		}
	}
	kept, _ := s.store.View(t.Context(), prefix)
	for _, e := range kept.Entries {
		if bytes.Contains(e.Value, []byte("sesame")) || bytes.Contains(e.Value, []byte(words)) || bytes.Contains(e.Value, []byte("pw")) {
			t.Errorf("%s is readable", e.Key)
		}
	}
	use := strings.Replace(web, `"Image"`, `"Secrets":[{"File":{"Name":"pw","UID":"0","GID":"0","Mode":256},"SecretID":"`+made.ID+`","SecretName":"pw"}],"Image"`, 1)
	s.refuses("POST", "/services/create", strings.Replace(use, `"x":"y"`, `"polder.role":"other"`, 1), 400, "must be of the service's role, other")
	s.refuses("POST", "/services/create", strings.Replace(use, `"Image"`, `"ReadOnly":true,"Image"`, 1), 400, "ReadOnly")
	s.refuses("POST", "/services/create", strings.Replace(use, `"UID":"0"`, `"UID":"root"`, 1), 400, "not a number")
	s.does("POST", "/services/create", use, nil)
	s.refuses("DELETE", "/secrets/pw", "", 400, "in use by the following services: web")
	s.refuses("POST", "/secrets/pw/update?version=1", `{"Name":"pw","Data":"bmV3"}`, 400, "only updates to Labels")
	s.does("POST", "/secrets/pw/update?version=1", `{"Name":"pw","Labels":{"a":"b"}}`, nil)
	s.doors.forbidden["view default"] = true
	s.refuses("GET", "/secrets/pw", "", 404, "secret pw not found")
	s.refuses("GET", "/services/web", "", 404, "service web not found")
	if _, text := s.call("GET", "/tasks", ""); strings.TrimSpace(text) != "[]" {
		t.Errorf("a stranger sees %s", text)
	}
	s.doors.forbidden = map[string]bool{"run default": true}
	s.refuses("DELETE", "/services/web", "", 403, "may not run")
	s.stop()
	x := New(Options{API: door.Open(s.world.Handler, "docker"), Containers: s.doors, Store: s.store, Key: [32]byte{2}, Logger: slog.New(slog.DiscardHandler)})
	if err := x.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another certificate authority") {
		t.Errorf("with another key it runs: %v", err)
	}
	s.start([32]byte{1})
}

// TestCredentials: what a registry wants to know gets the image when the service is made or changed, and is not kept.
func TestCredentials(t *testing.T) {
	s := newStand(t)
	with := func(auth, method, path, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("X-Registry-Auth", auth)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	login := base64.URLEncoding.EncodeToString([]byte(`{"username":"ann","password":"hunter2"}`))
	if code, said := with(login, "POST", "/services/create", web); code != http.StatusCreated {
		t.Fatalf("%d %s", code, said)
	}
	none := base64.URLEncoding.EncodeToString([]byte(`{}`))
	if code, said := with(none, "POST", "/services/create", strings.Replace(web, `"web"`, `"other"`, 1)); code != http.StatusCreated {
		t.Errorf("without any: %d %s", code, said)
	}
	private := strings.Replace(web, `"nginx"`, `"secret"`, 1)
	if code, said := with(login, "POST", "/services/web/update?version=1&registryAuthFrom=spec", private); code != http.StatusNotFound || !strings.Contains(said, "cannot pull") {
		t.Errorf("an image that cannot be pulled: %d %s", code, said)
	}
	if want := []string{"default nginx " + login, "default secret " + login}; !slices.Equal(s.doors.fetched, want) {
		t.Errorf("fetched %q", s.doors.fetched)
	}
	kept, err := s.store.View(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range kept.Entries {
		if bytes.Contains(e.Value, []byte(login)) || bytes.Contains(e.Value, []byte("hunter2")) {
			t.Errorf("%s has the credentials", e.Key)
		}
	}
}

// TestSwarmUpdate: what is said of the whole is kept, by who may, in order; what a pool has no use for is refused by name.
func TestSwarmUpdate(t *testing.T) {
	s := newStand(t)
	type whole struct {
		Version struct{ Index uint64 }
		Spec    struct {
			Labels        map[string]string
			Orchestration struct{ TaskHistoryRetentionLimit int }
		}
	}
	var now whole
	s.does("GET", "/swarm", "", &now)
	if now.Version.Index != 1 || now.Spec.Orchestration.TaskHistoryRetentionLimit != 5 {
		t.Errorf("at first it is %+v", now)
	}
	const change = `{"Name":"default","Labels":{"a":"b"},"Orchestration":{"TaskHistoryRetentionLimit":2},"Raft":{"SnapshotInterval":0},"EncryptionConfig":{"AutoLockManagers":false}}`
	s.does("POST", "/swarm/update?version=1&rotateWorkerToken=false&rotateManagerToken=false&rotateManagerUnlockKey=false", change, nil)
	s.refuses("POST", "/swarm/update?version=1", change, http.StatusConflict, "update out of sequence")
	s.refuses("POST", "/swarm/update?version=2&rotateWorkerToken=true", change, http.StatusBadRequest, "polder token create --join")
	s.refuses("POST", "/swarm/update?version=2", `{"EncryptionConfig":{"AutoLockManagers":true}}`, http.StatusBadRequest, "EncryptionConfig.AutoLockManagers: what is secret")
	s.refuses("POST", "/swarm/update?version=2", `{"Raft":{"HeartbeatTick":3}}`, http.StatusBadRequest, "Raft.HeartbeatTick: the pool's store")
	s.doors.forbidden["node "] = true
	s.refuses("POST", "/swarm/update?version=2", change, http.StatusForbidden, "may not node")
	delete(s.doors.forbidden, "node ")
	s.stop()
	s.start([32]byte{1})
	s.does("GET", "/swarm", "", &now)
	if now.Version.Index != 2 || now.Spec.Orchestration.TaskHistoryRetentionLimit != 2 || now.Spec.Labels["a"] != "b" {
		t.Errorf("after a restart it is %+v", now)
	}
	s.does("POST", "/swarm/update?version=2", `{"Name":"default"}`, nil) // says nothing of the history
	s.does("GET", "/swarm", "", &now)
	if now.Spec.Orchestration.TaskHistoryRetentionLimit != 2 {
		t.Errorf("unsaid, the history is %+v", now)
	}
}

// TestNeverLocked: there is no key, and nothing to unlock.
func TestNeverLocked(t *testing.T) {
	s := newStand(t)
	var key struct{ UnlockKey *string }
	s.does("GET", "/swarm/unlockkey", "", &key)
	if key.UnlockKey == nil || *key.UnlockKey != "" {
		t.Errorf("the key is %+v", key)
	}
	s.refuses("POST", "/swarm/unlock", `{"UnlockKey":"x"}`, http.StatusConflict, "not locked")
}

// TestOneWrites: who lost the leadership writes nothing and ends.
func TestOneWrites(t *testing.T) {
	s := newStand(t)
	s.does("GET", "/services", "", nil)
	s.store.Depose(election)
	if err := <-s.ended; err == nil {
		t.Error("it goes on without the leadership")
	}
	s.stop = func() {}
	if code, text := s.call("POST", "/services/create", web); code < 300 {
		t.Errorf("it still writes: %d %s", code, text)
	}
	if kept, _ := s.store.View(t.Context(), prefix); len(kept.Entries) > 0 {
		t.Errorf("%d records were written", len(kept.Entries))
	}
}

// frame is a piece of output as engines send it.
func frame(stream byte, text string) string {
	return string([]byte{stream, 0, 0, 0, 0, 0, byte(len(text) >> 8), byte(len(text))}) + text
}

func TestLogLines(t *testing.T) {
	for _, test := range []struct {
		in      string
		details string
		stamped bool
		want    string
		fails   bool
	}{
		{frame(1, "one\n") + frame(2, "two\n"), "", false, frame(1, "one\n") + frame(2, "two\n"), false},
		{frame(1, "one\n"), "task=t ", false, frame(1, "task=t one\n"), false},
		{frame(1, "12:00 one two\n"), "task=t ", true, frame(1, "12:00 task=t one two\n"), false},
		{frame(1, "one\n")[:9], "", false, "", true},
		{"\x01\x00\x00\x00\xff\xff\xff\xffx", "", false, "", true},
		{"", "", false, "", false},
	} {
		w := httptest.NewRecorder()
		err := (&logWriter{w: w}).copy(strings.NewReader(test.in), test.details, test.stamped)
		if got := w.Body.String(); got != test.want || (err != nil) != test.fails {
			t.Errorf("%q becomes %q, %v", test.in, got, err)
		}
	}
}

func FuzzLogLines(f *testing.F) {
	f.Add([]byte(frame(1, "one\n")), true)
	f.Fuzz(func(t *testing.T, data []byte, stamped bool) {
		w := httptest.NewRecorder()
		_ = (&logWriter{w: w}).copy(bytes.NewReader(data), "", stamped) // what is cut off is an error
		if got := w.Body.Bytes(); !bytes.HasPrefix(data, got) {
			t.Errorf("%q becomes %q", data, got)
		}
		_, _ = io.Copy(io.Discard, w.Body)
	})
}

// TestOneNameManyClients: of clients that make services at the same time all are served, but of those that want one name only one.
func TestOneNameManyClients(t *testing.T) {
	s := newStand(t)
	codes := make(chan int, 16)
	for i := range cap(codes) {
		go func() {
			code, _ := s.call("POST", "/services/create", strings.Replace(web, `"web"`, fmt.Sprintf(`"web%d"`, i%4), 1))
			codes <- code
		}()
	}
	made := 0
	for range cap(codes) {
		switch code := <-codes; code {
		case http.StatusCreated:
			made++
		case http.StatusConflict:
		default:
			t.Errorf("status %d", code)
		}
	}
	var list []struct{ Spec struct{ Name string } }
	s.does("GET", "/services", "", &list)
	if made != 4 || len(list) != 4 {
		t.Errorf("%d were made, %d are there, want 4", made, len(list))
	}
}
