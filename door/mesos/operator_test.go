package mesos

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// operate makes an operator's call and checks the status.
func (w *world) operate(token string, status int, call string) string {
	w.t.Helper()
	res, text := w.send(token, "/api/v1", []byte(call), "Content-Type", "application/json")
	if res.StatusCode != status {
		w.t.Fatalf("%s is answered %s: %s", call, res.Status, text)
	}
	return text
}

// plan is the plan in force, as text.
func (w *world) plan() (string, int64) {
	w.t.Helper()
	res, err := w.api.Plans.Get(w.as(w.admin), connect.NewRequest(&polderv1.PlanServiceGetRequest{}))
	if err != nil {
		w.t.Fatal(err)
	}
	return res.Msg.Yaml, res.Msg.Revision.Revision
}

// TestQuotaWritesThePlan: quota and weights are the plan's; a change is a revision of it, of roles at any depth, by who may plan them.
func TestQuotaWritesThePlan(t *testing.T) {
	w := newWorld(t, onePlan, 2, nil)
	ann := w.user("ann", "view **", "plan a/**", "run **")
	quota := func(role, cpus, limit, more string) string {
		return fmt.Sprintf(`{"type":"UPDATE_QUOTA","update_quota":{%s"quota_configs":[{"role":%q,"guarantees":{"cpus":{"value":%s}},"limits":{"cpus":{"value":%s}}}]}}`, more, role, cpus, limit)
	}
	w.operate(ann, http.StatusOK, quota("a", "2", "6", ""))
	w.operate(ann, http.StatusOK, quota("a/deep", "1", "2", ""))
	text, revision := w.plan()
	for _, want := range []string{"a/deep:", "cpu: 1", "cpu: 6"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan has no %q:\n%s", want, text)
		}
	}
	if got := w.operate(ann, http.StatusOK, `{"type":"GET_QUOTA"}`); !strings.Contains(got, `"a/deep"`) {
		t.Errorf("the quota is %s", got)
	}
	w.operate(ann, http.StatusBadRequest, quota("a", "7", "6", ""))  // a guarantee above the limit
	w.operate(ann, http.StatusBadRequest, quota("a", "9", "90", "")) // more than the nodes have
	w.operate(ann, http.StatusForbidden, quota("b", "1", "2", ""))
	w.operate(ann, http.StatusBadRequest, quota("*", "1", "2", ""))
	w.operate(ann, http.StatusOK, `{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"a","weight":2.5}]}}`)
	w.operate(ann, http.StatusBadRequest, `{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"a","weight":-1}]}}`)
	w.operate(ann, http.StatusBadRequest, `{"type":"SET_QUOTA","set_quota":{"quota_request":{"role":"a","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]}}}`)
	w.operate(ann, http.StatusOK, `{"type":"REMOVE_QUOTA","remove_quota":{"role":"a/deep"}}`)
	w.operate(ann, http.StatusOK, `{"type":"SET_QUOTA","set_quota":{"quota_request":{"role":"a/deep","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]}}}`)
	w.operate(ann, http.StatusOK, quota("a", "9", "90", `"force":true,`))
	text, now := w.plan()
	if !strings.Contains(text, "weight: 2.5") || now != revision+4 {
		t.Errorf("revision %d, was %d:\n%s", now, revision, text)
	}
}

// TestQuotaTellsNothing: who may not plan a role learns from a refused change neither what it uses nor what the plan says of it.
func TestQuotaTellsNothing(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("f", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1), scalar("mem", 32))))
	eve := w.user("eve", "view b")
	w.until("the use is known", func() bool {
		w.door.mu.Lock()
		defer w.door.mu.Unlock()
		return len(w.door.quotas["a"].usage) > 0
	})
	for _, call := range []string{
		`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a","limits":{"cpus":{"value":0}}}]}}`,
		`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a","guarantees":{"cpus":{"value":9000}},"limits":{"cpus":{"value":9000}}}]}}`,
		`{"type":"SET_QUOTA","set_quota":{"quota_request":{"role":"a","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":9000}}]}}}`,
		`{"type":"REMOVE_QUOTA","remove_quota":{"role":"a"}}`,
		`{"type":"REMOVE_QUOTA","remove_quota":{"role":"nowhere"}}`,
	} {
		w.operate(eve, http.StatusForbidden, call)
	}
}

// TestQuotaDocuments: the documents of version 0 write, too.
func TestQuotaDocuments(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	do := func(method, path, body string) int {
		r, err := http.NewRequestWithContext(t.Context(), method, w.base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", w.admin)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, x := range []struct {
		method, path, body string
		want               int
	}{
		{"PUT", "/weights", `[{"role":"a","weight":3}]`, 200},
		{"PUT", "/master/weights", `[{"role":"a"`, 400},
		{"POST", "/quota", `{"role":"b","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]}`, 200},
		{"DELETE", "/quota/b", "", 200},
		{"DELETE", "/quota/b", "", 400},
		{"GET", "/quota", "", 200},
		{"POST", "/maintenance/schedule", `{"windows":[{"machine_ids":[{"hostname":"n1"}],"unavailability":{"start":{"nanoseconds":1}}}]}`, 200},
		{"GET", "/maintenance/status", "", 200},
		{"POST", "/machine/down", `[{"hostname":"n2"}]`, 400},
		{"GET", "/machine/up", "", 405},
	} {
		if got := do(x.method, x.path, x.body); got != x.want {
			t.Errorf("%s %s %s is answered %d, want %d", x.method, x.path, x.body, got, x.want)
		}
	}
	if text, _ := w.plan(); !strings.Contains(text, "weight: 3") {
		t.Errorf("the plan is %s", text)
	}
}

// TestMaintenance: a machine's hour is in its offers; who runs something there gets an inverse offer, and his answer is for the operator
// to read. Down drains the node, up ends that.
func TestMaintenance(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	c := w.subscribe(w.admin, info("maintained", []string{"a"}))
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 1), scalar("mem", 64))))
	c.state("t", mesosv1.TaskState_TASK_RUNNING)
	start := time.Now().Add(time.Hour).UnixNano()
	w.operate(w.admin, http.StatusOK, fmt.Sprintf(`{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{"windows":[
		{"machine_ids":[{"hostname":"n1"}],"unavailability":{"start":{"nanoseconds":%d},"duration":{"nanoseconds":3600000000000}}}]}}}`, start))
	var x *mesosv1.InverseOffer
	var told *mesosv1.Offer
	for x == nil || told == nil { // in any order
		switch e := <-c.events; {
		case e == nil:
			t.Fatal("the stream has ended")
		case e.GetType() == schedulerv1.Event_INVERSE_OFFERS:
			x = e.InverseOffers.InverseOffers[0]
		case e.GetType() == schedulerv1.Event_OFFERS && e.Offers.Offers[0].Unavailability != nil:
			told = e.Offers.Offers[0]
		}
	}
	if x.Unavailability.Start.GetNanoseconds() != start || x.Unavailability.Duration == nil || len(x.Resources) != 2 {
		t.Errorf("the inverse offer is %v", x)
	}
	if told.Unavailability.Start.GetNanoseconds() != start {
		t.Errorf("the offer is %v", told)
	}
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_DECLINE_INVERSE_OFFERS.Enum(),
		DeclineInverseOffers: &schedulerv1.Call_DeclineInverseOffers{InverseOfferIds: []*mesosv1.OfferID{x.Id}}})
	var status struct {
		Get struct {
			Status struct {
				Draining []struct {
					Statuses []struct{ Status string }
				} `json:"draining_machines"`
				Down []any `json:"down_machines"`
			}
		} `json:"get_maintenance_status"`
	}
	read := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(w.operate(w.admin, http.StatusOK, `{"type":"GET_MAINTENANCE_STATUS"}`)), &status); err != nil {
			t.Fatal(err)
		}
	}
	if read(); len(status.Get.Status.Draining) != 1 || status.Get.Status.Draining[0].Statuses[0].Status != "DECLINE" {
		t.Errorf("the status is %+v", status)
	}
	w.operate(w.user("guest", "view **", "run **"), http.StatusForbidden, `{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"n1"}]}}`)
	w.operate(w.admin, http.StatusOK, `{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"n1"}]}}`)
	if read(); len(status.Get.Status.Down) != 1 {
		t.Errorf("the status is %+v", status)
	}
	c.next(schedulerv1.Event_INVERSE_OFFERS) // the notice
	w.operate(w.admin, http.StatusOK, `{"type":"STOP_MAINTENANCE","stop_maintenance":{"machines":[{"hostname":"n1"}]}}`)
	if e := c.next(schedulerv1.Event_RESCIND_INVERSE_OFFER); e.RescindInverseOffer == nil {
		t.Errorf("got %v", e)
	}
	if got := w.operate(w.admin, http.StatusOK, `{"type":"GET_MAINTENANCE_SCHEDULE"}`); strings.Contains(got, "n1") {
		t.Errorf("the schedule is %s", got)
	}
}

// TestLoggingLevel: an administrator lets details into the log for a while; nobody else does.
func TestLoggingLevel(t *testing.T) {
	var now atomic.Int64
	var text syncText
	w := newWorld(t, onePlan, 0, func(c *Config) {
		c.Now = func() time.Time { return time.Unix(1_000_000+now.Load(), 0) }
		c.Logger = slog.New(slog.NewTextHandler(&text, nil))
	})
	level := func() string {
		_, text := w.send(w.admin, "/api/v1", []byte(`{"type":"GET_LOGGING_LEVEL"}`), "Content-Type", "application/json")
		return text
	}
	set := func(token, path, level string) int {
		res, _ := w.send(token, path, []byte(`{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":`+level+`,"duration":{"nanoseconds":60000000000}}}`), "Content-Type", "application/json")
		return res.StatusCode
	}
	if status := set(w.user("ann", "view a", "run a"), "/api/v1", "2"); status != http.StatusForbidden || !strings.Contains(level(), `"level":0`) {
		t.Errorf("ann sets the level: %d, %s", status, level())
	}
	if status := set(w.admin, "/api/v1", "9"); status != http.StatusBadRequest {
		t.Errorf("level 9 is answered %d", status)
	}
	for _, path := range []string{"/api/v1", "/slave(1)/api/v1"} {
		if status := set(w.admin, path, "2"); status != http.StatusOK || !strings.Contains(level(), `"level":2`) {
			t.Errorf("%s: the level is set: %d, %s", path, status, level())
		}
		now.Add(30)
		w.door.log.Debug("a detail of " + path)
		now.Add(30)
		w.door.log.Debug("too late for " + path)
		if said := text.String(); !strings.Contains(said, "a detail of "+path) || strings.Contains(said, "too late") || !strings.Contains(level(), `"level":0`) {
			t.Errorf("the log is %s, the level %s", said, level())
		}
	}
}

// syncText is a log that is read while it is written.
type syncText struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (s *syncText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
