package mesos

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/agentv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// agentTool is a tool that calls agents.
type agentTool struct {
	w     *world
	base  string
	token string
}

// agents serves the API of agents.
func (w *world) agents() *agentTool {
	s := httptest.NewServer(w.door.AgentHandler())
	w.t.Cleanup(s.Close)
	return &agentTool{w, s.URL, w.admin}
}

func (a *agentTool) as(token string) *agentTool { return &agentTool{a.w, a.base, token} }

// post calls an agent; the caller closes the body.
func (a *agentTool) post(ctx context.Context, body io.Reader, header ...string) *http.Response {
	a.w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+"/api/v1", body)
	if err != nil {
		a.w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		a.w.t.Fatal(err)
	}
	a.w.t.Cleanup(func() { res.Body.Close() })
	return res
}

// ask makes a plain call in JSON.
func (a *agentTool) ask(body string) (int, string) {
	a.w.t.Helper()
	ctx, cancel := context.WithTimeout(a.w.t.Context(), patience)
	defer cancel()
	res := a.post(ctx, strings.NewReader(body), "Content-Type", "application/json")
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.w.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// output reads what a container writes until it ends, or has written so much.
func (a *agentTool) output(res *http.Response, enough string) (out, errOut string) {
	a.w.t.Helper()
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/recordio" || res.Header.Get("Message-Content-Type") != "application/json" {
		text, _ := io.ReadAll(res.Body)
		a.w.t.Fatalf("the output is answered %s, %v: %s", res.Status, res.Header, text)
	}
	in := wire.NewRecordReader(res.Body, 1<<20)
	for enough == "" || !strings.Contains(out, enough) {
		data, err := in.Next()
		if err == io.EOF {
			return out, errOut
		}
		if err != nil {
			a.w.t.Fatal(err)
		}
		m := &agentv1.ProcessIO{}
		if err := wire.UnmarshalJSON(data, m); err != nil {
			a.w.t.Fatal(err)
		}
		if m.GetData().GetType() == agentv1.ProcessIO_Data_STDERR {
			errOut += string(m.GetData().GetData())
		} else {
			out += string(m.GetData().GetData())
		}
	}
	return out, errOut
}

var streaming = []string{"Content-Type", "application/json", "Accept", "application/recordio", "Message-Accept", "application/json"}

// nestedID is the id of a container in a task's own.
func nestedID(native, id string) string {
	return `{"value":"` + id + `","parent":{"value":"` + native + `"}}`
}

// session starts a command in a task, as "mesos task exec" does.
func (a *agentTool) session(ctx context.Context, native, id, command, more string) *http.Response {
	return a.post(ctx, strings.NewReader(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{"container_id":`+nestedID(native, id)+
		`,"command":{"value":"`+command+`","arguments":["`+command+`"],"shell":false}`+more+`}}`), streaming...)
}

// records are calls of ATTACH_CONTAINER_INPUT, the first of which names the container.
func records(id string, io ...string) []byte {
	out := wire.AppendRecord(nil, []byte(`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID","container_id":`+id+`}}`))
	for _, x := range io {
		out = wire.AppendRecord(out, []byte(`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":`+x+`}}`))
	}
	return out
}

const (
	stdinHi  = `{"type":"DATA","data":{"type":"STDIN","data":"aGk="}}`
	stdinEnd = `{"type":"DATA","data":{"type":"STDIN","data":""}}`
	beat     = `{"type":"CONTROL","control":{"type":"HEARTBEAT","heartbeat":{"interval":{"nanoseconds":30000000000}}}}`
	window   = `{"type":"CONTROL","control":{"type":"TTY_INFO","tty_info":{"window_size":{"rows":24,"columns":80}}}}`
)

func (a *agentTool) input(body []byte) (int, string) {
	a.w.t.Helper()
	ctx, cancel := context.WithTimeout(a.w.t.Context(), patience)
	defer cancel()
	res := a.post(ctx, bytes.NewReader(body), "Content-Type", "application/recordio", "Message-Content-Type", "application/json", "Accept", "application/json")
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

// TestTaskExec is what "mesos task exec" does: a session's output, input on another connection, tried once beforehand, and the exit status.
func TestTaskExec(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	a := w.agents()
	c := w.subscribe(w.admin, info("one", []string{"a"}))
	native := w.runs(c, "t1")
	res := a.session(t.Context(), native, "x", "cat", "")
	for _, body := range [][]byte{records(nestedID(native, "x")), records(nestedID(native, "x"), beat, stdinHi, window, stdinEnd)} {
		if status, text := a.input(body); status != http.StatusOK {
			t.Errorf("the input is answered %d: %s", status, text)
		}
	}
	if out, _ := a.output(res, ""); out != "hi" {
		t.Errorf("cat says %q", out)
	}
	for _, kind := range []string{"wait_nested_container", "wait_container"} {
		if status, text := a.ask(`{"type":"` + strings.ToUpper(kind) + `","` + kind + `":{"container_id":` + nestedID(native, "x") + `}}`); status != 200 || !strings.Contains(text, `"`+kind+`":{"exit_status":0}`) {
			t.Errorf("%s is answered %d: %s", kind, status, text)
		}
	}
	out, errOut := a.output(a.session(t.Context(), native, "y", "exit 3", ""), "")
	if out != "" || errOut != "oops" {
		t.Errorf("it writes %q, %q", out, errOut)
	}
	if _, text := a.ask(`{"type":"WAIT_CONTAINER","wait_container":{"container_id":` + nestedID(native, "y") + `}}`); !strings.Contains(text, `"exit_status":768`) {
		t.Errorf("the status of exit 3 is %s", text)
	}
	res = a.session(t.Context(), native, "z", "size", `,"container":{"type":"MESOS","tty_info":{}}`)
	if status, text := a.input(records(nestedID(native, "z"), window)); status != http.StatusOK {
		t.Errorf("the size is answered %d: %s", status, text)
	}
	if out, _ := a.output(res, ""); out != "24 x 80" {
		t.Errorf("the terminal is %q", out)
	}
}

// TestSessionEndsWithItsConnection: a session's command is ended when its connection is.
func TestSessionEndsWithItsConnection(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	a := w.agents()
	native := w.runs(w.subscribe(w.admin, info("one", []string{"a"})), "t1")
	ctx, cancel := context.WithCancel(t.Context())
	a.session(ctx, native, "x", "cat", "")
	cancel()
	if status, text := a.ask(`{"type":"WAIT_CONTAINER","wait_container":{"container_id":` + nestedID(native, "x") + `}}`); status != 200 || !strings.Contains(text, `"exit_status":9`) {
		t.Errorf("its end is %d: %s", status, text)
	}
}

// TestNestedContainers: a container that outlives its caller, those who look on, and its end.
func TestNestedContainers(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	a := w.agents()
	native := w.runs(w.subscribe(w.admin, info("one", []string{"a"})), "t1")
	id := nestedID(native, "x")
	launch := `{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{"container_id":` + id + `,"command":{"value":"cat"}}}`
	for _, want := range []int{http.StatusOK, http.StatusAccepted} {
		if status, text := a.ask(launch); status != want {
			t.Fatalf("the launch is answered %d: %s", status, text)
		}
	}
	res := a.post(t.Context(), strings.NewReader(`{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":`+id+`}}`), streaming...)
	if status, text := a.input(records(id, stdinHi)); status != http.StatusOK {
		t.Errorf("the input is answered %d: %s", status, text)
	}
	if out, _ := a.output(res, "hi"); out != "hi" {
		t.Errorf("it says %q", out)
	}
	if status, text := a.ask(`{"type":"GET_CONTAINERS","get_containers":{"show_nested":true}}`); status != 200 || !strings.Contains(text, `"value":"x"`) || !strings.Contains(text, native) {
		t.Errorf("the containers are %d: %s", status, text)
	}
	remove := `{"type":"REMOVE_NESTED_CONTAINER","remove_nested_container":{"container_id":` + id + `}}`
	if status, text := a.ask(remove); status != http.StatusInternalServerError {
		t.Errorf("removing what runs is answered %d: %s", status, text)
	}
	if status, text := a.ask(`{"type":"KILL_NESTED_CONTAINER","kill_nested_container":{"container_id":` + id + `,"signal":15}}`); status != http.StatusOK {
		t.Errorf("the kill is answered %d: %s", status, text)
	}
	if _, text := a.ask(`{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"container_id":` + id + `}}`); !strings.Contains(text, `"exit_status":15`) {
		t.Errorf("its end is %s", text)
	}
	for _, want := range []int{http.StatusOK, http.StatusNotFound} {
		if status, text := a.ask(remove); status != want {
			t.Errorf("removing is answered %d: %s, want %d", status, text, want)
		}
	}
}

// TestTaskAttach is what "mesos task attach" and msh do: a task's own terminal, its input and its output on two connections.
func TestTaskAttach(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	a := w.agents()
	c := w.subscribe(w.admin, info("one", []string{"a"}))
	o := c.offer()
	x := command(o, "t1", "cat", scalar("cpus", 0.5))
	x.Container = &mesosv1.ContainerInfo{Type: mesosv1.ContainerInfo_MESOS.Enum(), TtyInfo: &mesosv1.TTYInfo{}}
	c.must(http.StatusAccepted, launchCall(o, x, command(o, "t2", "forever", scalar("cpus", 0.5), scalar("mem", 64))))
	run := c.containers("t1", "t2")
	one, two := `{"value":"`+run["t1"]+`"}`, `{"value":"`+run["t2"]+`"}`
	res := a.post(t.Context(), strings.NewReader(`{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":`+one+`}}`), streaming...)
	if status, text := a.input(records(one, window, stdinHi, stdinEnd)); status != http.StatusOK {
		t.Errorf("the input is answered %d: %s", status, text)
	}
	if out, _ := a.output(res, "hi"); out != "hi" {
		t.Errorf("cat says %q", out)
	}
	if status, text := a.input(records(two, stdinHi)); status != http.StatusInternalServerError || text != "I/O switchboard server was disabled for this container\n" {
		t.Errorf("input of a task without a terminal is answered %d: %s", status, text)
	}
	if status, text := a.ask(`{"type":"KILL_CONTAINER","kill_container":{"container_id":` + two + `}}`); status != http.StatusOK {
		t.Errorf("the kill is answered %d: %s", status, text)
	}
	c.state("t2", mesosv1.TaskState_TASK_KILLED)
	if _, text := a.ask(`{"type":"WAIT_CONTAINER","wait_container":{"container_id":` + two + `}}`); !strings.Contains(text, `"exit_status":`) {
		t.Errorf("the end of the task is %s", text)
	}
}

// TestAgentStatusCodes: what is wrong with a call to an agent, and who may not make it.
func TestAgentStatusCodes(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	a := w.agents()
	native := w.runs(w.subscribe(w.admin, info("one", []string{"a"})), "t1")
	eve := a.as(w.user("eve", "view a", "logs a", "exec b"))
	id := nestedID(native, "x")
	session := func(id, command string) string {
		return `{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{"container_id":` + id + `,"command":` + command + `}}`
	}
	for _, x := range []struct {
		who    *agentTool
		body   string
		status int
	}{
		{eve, session(id, `{"value":"cat"}`), 403}, {a, session(nestedID("nobody.0", "x"), `{"value":"cat"}`), 404}, {a, session(`{"value":"x"}`, `{"value":"cat"}`), 400},
		{a, session(id, `{"shell":false}`), 400}, {a, session(nestedID(native, "a/b"), `{"value":"cat"}`), 400}, {a, session(id, `{"value":"cat","user":"nobody"}`), 400},
		{a, `{"type":"LAUNCH_NESTED_CONTAINER_SESSION"}`, 400}, {a, `{}`, 400}, {a, `{"type":"NO_SUCH_CALL"}`, 400}, {a, `{"type":"PRUNE_IMAGES"}`, 501},
		{eve, `{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":{"value":"` + native + `"}}}`, 403},
		{a, `{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":` + nestedID(native, "none") + `}}`, 404},
		{a, `{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{}}`, 415}, {a, `{"type":"WAIT_CONTAINER","wait_container":{"container_id":` + nestedID(native, "none") + `}}`, 404},
		{eve, `{"type":"KILL_CONTAINER","kill_container":{"container_id":{"value":"` + native + `"}}}`, 403},
		{a, `{"type":"KILL_CONTAINER","kill_container":{"container_id":` + nestedID(native, "none") + `}}`, 404},
		{a, `{"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"alone"},"command":{"value":"cat"}}}`, 400},
	} {
		res := x.who.post(t.Context(), strings.NewReader(x.body), streaming[:2]...)
		if text, _ := io.ReadAll(res.Body); res.StatusCode != x.status {
			t.Errorf("%s is answered %s: %s; want %d", x.body, res.Status, text, x.status)
		}
	}
	if res := a.post(t.Context(), strings.NewReader(session(id, `{"value":"cat"}`)), "Content-Type", "application/json", "Accept", "application/json"); res.StatusCode != http.StatusNotAcceptable {
		t.Errorf("a session whose output may be no stream is answered %s", res.Status)
	}
	for body, want := range map[string]int{
		"": 400, "5\n{}": 400, "x": 400, "99999999\n{": 400, "2\n{}": 400, "3\n{\"a": 400, string(records(nestedID(native, "none"))): 404,
		string(records(`{"value":"nobody.0"}`)): 404, string(records(id)[10:]): 400,
	} {
		if status, text := a.input([]byte(body)); status != want {
			t.Errorf("input %q is answered %d: %s; want %d", body, status, text, want)
		}
	}
	if status, _ := eve.input(records(`{"value":"` + native + `"}`)); status != http.StatusForbidden && status != http.StatusInternalServerError {
		t.Errorf("another's input is answered %d", status)
	}
	if res := a.as("wrong").post(t.Context(), strings.NewReader("{}"), "Content-Type", "application/json"); res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Basic realm="mesos-agent-readwrite"` {
		t.Errorf("a stranger is answered %s, %v", res.Status, res.Header)
	}
}

// TestAgentState: an agent's documents say what runs there and where its files are, to who may see it.
func TestAgentState(t *testing.T) {
	w := newWorld(t, onePlan, 2, nil)
	a := w.agents()
	c := w.subscribe(w.admin, info("one", []string{"a"}))
	native := w.runs(c, "t1")
	ann := w.user("ann", "view a", "logs a")
	get := func(token, host, path string) map[string]any {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if host != "" {
			r.Host = host + ":5051"
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		out := map[string]any{}
		var doc any
		if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
			t.Fatalf("%s: %s, %v", path, res.Status, err)
		}
		if list, ok := doc.([]any); ok {
			out["list"] = list
			return out
		}
		return doc.(map[string]any)
	}
	node := ""
	for _, path := range []string{"/state", "/slave(1)/state", "/state.json"} {
		doc := get(ann, "", path)
		f := doc["frameworks"].([]any)[0].(map[string]any)
		e := f["executors"].([]any)[0].(map[string]any)
		node = e["tasks"].([]any)[0].(map[string]any)["slave_id"].(string)
		if f["id"] != c.id || e["id"] != "t1" || e["container"] != native || e["directory"] != "/var/lib/polder/slaves/"+node+"/frameworks/"+c.id+"/executors/t1/runs/"+native {
			t.Errorf("%s shows %v", path, f)
		}
	}
	other := map[string]string{"n1": "n2", "n2": "n1"}[node]
	if doc := get(ann, node, "/state"); doc["id"] != node || len(doc["frameworks"].([]any)) != 1 {
		t.Errorf("the agent of %s shows %v", node, doc)
	}
	if doc := get(ann, other, "/state"); doc["id"] != other || len(doc["frameworks"].([]any)) != 0 {
		t.Errorf("the agent of %s shows %v", other, doc)
	}
	if doc := get(w.user("eve", "view b"), "", "/state"); len(doc["frameworks"].([]any)) != 0 {
		t.Errorf("another tenant sees %v", doc)
	}
	for _, path := range []string{"/monitor/statistics", "/monitor/statistics.json", "/containers"} {
		x := get(ann, "", path)["list"].([]any)[0].(map[string]any)
		if x["executor_id"] != "t1" || x["framework_id"] != c.id || x["statistics"].(map[string]any)["mem_limit_bytes"] != float64(64<<20) {
			t.Errorf("%s shows %v", path, x)
		}
		w.until("the node has said what the task uses", func() bool {
			s := get(ann, "", path)["list"].([]any)[0].(map[string]any)["statistics"].(map[string]any)
			return s["cpus_user_time_secs"] == 1.5 && s["cpus_system_time_secs"] == 0.0 && s["mem_rss_bytes"] == float64(5<<20) && s["mem_total_bytes"] == float64(5<<20)
		})
	}
	_, text := a.as(ann).ask(`{"type":"GET_CONTAINERS","get_containers":{"show_nested":false,"show_standalone":false}}`)
	if !strings.Contains(text, `"cpus_user_time_secs":1.5`) || !strings.Contains(text, `"mem_rss_bytes":5242880`) {
		t.Errorf("GET_CONTAINERS shows %s", text)
	}
}
