package mesos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// get fetches a document as the administrator.
func (w *world) get(path string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth("admin", w.admin)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(text)
}

// raw opens a stream and returns the answer, whose body the test closes.
func (w *world) raw(body string, header ...string) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.base+"/api/v1/scheduler", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth("admin", w.admin)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { res.Body.Close() })
	return res
}

const subscribeBody = `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"quirk","role":"*"}}}`

// TestQ1HeartbeatFollowsSubscribedOnItsOwnLine: a reader by lines that is one record behind has SUBSCRIBED at once.
func TestQ1HeartbeatFollowsSubscribedOnItsOwnLine(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	lines := bufio.NewReader(w.raw(subscribeBody).Body)
	length, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(length))
	if err != nil {
		t.Fatal(err)
	}
	next, err := lines.ReadString('\n') // the record, and the length line of the next one right behind it
	if err != nil || !strings.HasPrefix(next, "{") || len(next) <= n || !json.Valid([]byte(next[:n])) || !strings.Contains(next[:n], `"SUBSCRIBED"`) {
		t.Errorf("after %d: %q, %v", n, next, err)
	}
}

// TestQ18ARecordIsAChunk: a client of npm takes every chunk of the answer for one whole record.
func TestQ18ARecordIsAChunk(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	conn, err := net.Dial("tcp", w.door.c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", w.admin, len(subscribeBody), subscribeBody)
	in := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // SUBSCRIBED, HEARTBEAT, OFFERS
		var size int
		if _, err := fmt.Fscanf(in, "%x\r\n", &size); err != nil {
			t.Fatal(err)
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			t.Fatal(err)
		}
		length, record, _ := strings.Cut(string(chunk[:size]), "\n")
		if length != strconv.Itoa(len(record)) || !json.Valid([]byte(record)) {
			t.Errorf("the chunk is %q", chunk)
		}
	}
}

// TestQ2NothingThatStrictReadersDoNotKnow: every event reads strictly by the messages' own names, and what is sent without Accept is JSON.
func TestQ2NothingThatStrictReadersDoNotKnow(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	res := w.raw(subscribeBody)
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("the stream is %s", got)
	}
	in := wire.NewRecordReader(res.Body, 1<<20)
	for range 3 { // SUBSCRIBED, HEARTBEAT, OFFERS
		record, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := protojson.Unmarshal(record, &schedulerv1.Event{}); err != nil {
			t.Errorf("%v: %s", err, record)
		}
	}
}

// TestQ3AddressesAndPostsToDocuments: RUNNING has a first address of a first network, and documents answer POST.
func TestQ3AddressesAndPostsToDocuments(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("q3", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	s := c.state("t", mesosv1.TaskState_TASK_RUNNING)
	if s.ContainerStatus.NetworkInfos[0].IpAddresses[0].GetIpAddress() == "" {
		t.Errorf("the status is %v", s)
	}
	if _, text := w.send(w.admin, "/slaves/"+s.AgentId.GetValue(), nil); !strings.Contains(text, `"id":"n1"`) {
		t.Errorf("the agent is %s", text)
	}
	if _, text := w.send(w.admin, "/tasks/?task_id=t&framework_id="+c.id, nil); !strings.Contains(text, `"id":"t"`) || !strings.Contains(text, "TASK_RUNNING") {
		t.Errorf("the task is %s", text)
	}
}

// TestQ4CallsAreAccepted: every call is answered 202, REVIVE and SUPPRESS without a body of their own, too.
func TestQ4CallsAreAccepted(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	c := w.subscribe(w.admin, info("q4", []string{"a"}))
	c.next(schedulerv1.Event_HEARTBEAT)
	for _, kind := range []schedulerv1.Call_Type{schedulerv1.Call_REVIVE, schedulerv1.Call_SUPPRESS} {
		c.must(http.StatusAccepted, &schedulerv1.Call{Type: kind.Enum()})
	}
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_REQUEST.Enum(), Request: &schedulerv1.Call_Request{}})
}

// TestQ5AndQ12StreamIsChunkedWithOneStreamID: 200 exactly, chunked, no length, one stream id.
func TestQ5AndQ12StreamIsChunkedWithOneStreamID(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	res := w.raw(subscribeBody)
	if res.StatusCode != 200 || fmt.Sprint(res.TransferEncoding) != "[chunked]" || res.ContentLength != -1 || len(res.Header.Values(streamHeader)) != 1 {
		t.Errorf("the answer is %s, %v, %d bytes, %v", res.Status, res.TransferEncoding, res.ContentLength, res.Header)
	}
}

// TestQ6VersionIsNumbers: every part of the version is a number.
func TestQ6VersionIsNumbers(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	_, text := w.get("/version")
	var doc struct{ Version string }
	if err := json.Unmarshal([]byte(text), &doc); err != nil || !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(doc.Version) {
		t.Errorf("the version is %s, %v", text, err)
	}
}

// TestQ8AndQ13PathsByPrefix: whatever follows a known path, or comes before it from a proxy.
func TestQ8AndQ13PathsByPrefix(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	for _, path := range []string{"/api/v1", "/api/v1/operator", "/api/v1/", "/api/v1?GET_MASTER", "/master/api/v1", "/api/v1/anything/at/all"} {
		res, text := w.send(w.admin, path, []byte(`{"type":"GET_MASTER"}`), "Content-Type", "application/json")
		if res.StatusCode != 200 || !strings.Contains(text, "master_info") {
			t.Errorf("%s is answered %s: %s", path, res.Status, text)
		}
	}
	for _, path := range []string{"/state", "/master/state", "/state.json", "/master/state.json", "/state/", "/mesos/master/state-summary"} {
		if res, text := w.get(path); res.StatusCode != 200 || !json.Valid([]byte(text)) || !strings.Contains(text, `"slaves"`) {
			t.Errorf("%s is answered %s: %s", path, res.Status, text)
		}
	}
	if res, _ := w.get("/nothing"); res.StatusCode != 404 {
		t.Errorf("/nothing is answered %s", res.Status)
	}
}

// TestQ9StateAsOldToolsReadIt: pids and ports are texts of a form, the four amounts are always there.
func TestQ9StateAsOldToolsReadIt(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	_, text := w.get("/state")
	var doc struct {
		Pid, Leader string
		Slaves      []struct {
			Pid       string
			Resources map[string]any
		}
		Frameworks, Completed_frameworks, Orphan_tasks, Unregistered_frameworks []any
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^master@127\.0\.0\.1:\d+$`).MatchString(doc.Leader) || doc.Pid != doc.Leader || doc.Orphan_tasks == nil || doc.Frameworks == nil {
		t.Errorf("the state is %s", text)
	}
	s := doc.Slaves[0]
	if !regexp.MustCompile(`^slave\(1\)@127\.0\.0\.1:\d+$`).MatchString(s.Pid) || s.Resources["ports"] != "[31000-31099]" {
		t.Errorf("the agent is %+v", s)
	}
	for _, name := range []string{"cpus", "mem", "disk", "gpus"} {
		if _, ok := s.Resources[name].(float64); !ok {
			t.Errorf("%s is %v", name, s.Resources[name])
		}
	}
}

// TestQ10And11RedirectToTheLeader: 307 with a location that has no scheme.
func TestQ10And11RedirectToTheLeader(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	res, _ := w.get("/redirect")
	if res.StatusCode != 307 || res.Header.Get("Location") != "//"+w.door.c.Addr {
		t.Errorf("answered %s, %v", res.Status, res.Header)
	}
}

// TestQ14And16CallsWithoutAgents: KILL and RECONCILE may leave the agent out.
func TestQ14And16CallsWithoutAgents(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("q16", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1))))
	c.state("t", mesosv1.TaskState_TASK_RUNNING)
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_RECONCILE.Enum(), Reconcile: &schedulerv1.Call_Reconcile{
		Tasks: []*schedulerv1.Call_Reconcile_Task{{TaskId: &mesosv1.TaskID{Value: new("t")}}}}})
	if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != mesosv1.TaskState_TASK_RUNNING {
		t.Errorf("reconciled is %v", s)
	}
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_KILL.Enum(), Kill: &schedulerv1.Call_Kill{TaskId: &mesosv1.TaskID{Value: new("t")}}})
	c.state("t", mesosv1.TaskState_TASK_KILLED)
}

// TestQ15JSONP: a page's script gets documents, but only into a function.
func TestQ15JSONP(t *testing.T) {
	w := newWorld(t, onePlan, 0, nil)
	if _, text := w.get("/version?jsonp=a.b"); !strings.HasPrefix(text, "a.b({") || !strings.HasSuffix(text, ");") {
		t.Errorf("the script is %s", text)
	}
	if res, _ := w.get("/version?jsonp=alert(1)//"); res.StatusCode != 400 {
		t.Errorf("answered %s", res.Status)
	}
}

// TestTenantsSeeTheirOwn: who may view one role sees its frameworks and tasks, and no others.
func TestTenantsSeeTheirOwn(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	ann := w.user("ann", "view a", "run a")
	one := w.subscribe(w.admin, info("one", []string{"a"}))
	two := w.subscribe(w.admin, info("two", []string{"b"}))
	one.next(schedulerv1.Event_HEARTBEAT)
	two.next(schedulerv1.Event_HEARTBEAT)
	for _, path := range []string{"/state", "/frameworks", "/roles", "/state-summary"} {
		_, text := w.send(ann, path, nil)
		if strings.Contains(text, two.id) || !strings.Contains(text, one.id) {
			t.Errorf("%s shows ann %s", path, text)
		}
	}
	res, text := w.send(ann, "/teardown", []byte("frameworkId="+two.id), "Content-Type", "application/x-www-form-urlencoded")
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("ann tears another's framework down: %s %s", res.Status, text)
	}
	if res, text = w.send(ann, "/api/v1", []byte(`{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"n1"}}}`), "Content-Type", "application/json"); res.StatusCode != http.StatusForbidden {
		t.Errorf("ann deactivates an agent: %s %s", res.Status, text)
	}
	if res, text = w.send(ann, "/teardown", []byte("frameworkId="+one.id), "Content-Type", "application/x-www-form-urlencoded"); res.StatusCode != http.StatusOK {
		t.Errorf("ann tears her own framework down: %s %s", res.Status, text)
	}
}

// TestSlowReaders: a client that does not read is disconnected, and holds no more than its bound.
func TestSlowReaders(t *testing.T) {
	s := newStream(wire.JSON, "")
	e := &schedulerv1.Event{Type: schedulerv1.Event_MESSAGE.Enum(), Message: &schedulerv1.Event_Message{
		AgentId: &mesosv1.AgentID{Value: new("a")}, ExecutorId: &mesosv1.ExecutorID{Value: new("e")}, Data: make([]byte, 1<<20),
	}}
	for range 40 {
		s.send(e)
		if s.size > maxQueued {
			t.Fatalf("%d bytes wait", s.size)
		}
	}
	if out, why := s.take(); why != errSlow || len(out) != 0 {
		t.Errorf("%d records are left, %v", len(out), why)
	}
}

// TestReconnectingInALoop: a framework that subscribes again and again leaves one stream and no offers behind.
func TestReconnectingInALoop(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("loop", []string{"a"}))
	c.offer()
	for range 50 {
		id := c.id
		c = w.subscribe(w.admin, withID(info("loop", []string{"a"}), id))
		c.next(schedulerv1.Event_SUBSCRIBED)
	}
	c.offer()
	w.door.mu.Lock()
	defer w.door.mu.Unlock()
	if len(w.door.frameworks) != 1 || len(w.door.offers) != 1 || len(w.door.nodes["n1"].offers) != 1 {
		t.Errorf("%d frameworks, %d offers, %d of the node", len(w.door.frameworks), len(w.door.offers), len(w.door.nodes["n1"].offers))
	}
}

// TestQ7AnExecutorKnowsItsFrameworkByID: an executor compares the id in SUBSCRIBED with an object that has a value and nothing else.
func TestQ7AnExecutorKnowsItsFrameworkByID(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("q7", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, custom(o, "t", "e")))
	data, err := w.execute(c.id, "e").in.Next()
	if err != nil {
		t.Fatal(err)
	}
	var first struct {
		Subscribed struct {
			Framework struct{ ID map[string]any } `json:"framework_info"`
		}
	}
	if err := json.Unmarshal(data, &first); err != nil {
		t.Fatal(err)
	}
	if id := first.Subscribed.Framework.ID; len(id) != 1 || id["value"] != c.id {
		t.Errorf("the framework's id is %v", id)
	}
}
