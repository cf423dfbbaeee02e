package mesos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"polder.dev/polder/door/mesos/wire"
)

// sharedPlan guarantees the guest nothing: it has what is not used.
const sharedPlan = `
cluster: {reclaimDelay: 1s}
roles:
  owner: {guarantee: {cpu: 1, memory: 128Mi}, lendGrace: 20s}
  guest: {reclaimGrace: 5s}
`

// event is what the test reads of the scheduler's events.
type event struct {
	Type       string
	Subscribed struct {
		ID struct{ Value string } `json:"framework_id"`
	}
	Offers struct {
		Offers []struct {
			ID        struct{ Value string }
			Agent     struct{ Value string } `json:"agent_id"`
			Resources []struct {
				Name      string
				Scalar    struct{ Value float64 }
				Revocable *struct{}
			}
		}
	}
	Update struct {
		Status struct {
			Task          struct{ Value string } `json:"task_id"`
			Agent         struct{ Value string } `json:"agent_id"`
			State, Reason string
			UUID          string
		}
	}
	Inverse struct {
		Offers []struct {
			Unavailability struct{ Start struct{ Nanoseconds int64 } }
			Resources      []struct{ Revocable *struct{} }
		} `json:"inverse_offers"`
	} `json:"inverse_offers"`
}

// guest is a framework that borrows.
type guest struct {
	t      *testing.T
	p      *pool
	id     string
	stream string
	events *wire.RecordReader
}

func (g *guest) post(ctx context.Context, body string) *http.Response {
	g.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.p.addr+"/api/v1/scheduler", bytes.NewReader([]byte(body)))
	if err != nil {
		g.t.Fatal(err)
	}
	r.SetBasicAuth("admin", g.p.token)
	r.Header.Set("Content-Type", "application/json")
	if g.stream != "" {
		r.Header.Set("Mesos-Stream-Id", g.stream)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	return res
}

// call makes a call that must be accepted.
func (g *guest) call(format string, args ...any) {
	g.t.Helper()
	res := g.post(g.t.Context(), fmt.Sprintf(`{"framework_id":{"value":%q},`, g.id)+fmt.Sprintf(format, args...)+"}")
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		g.t.Fatalf("%s is answered %s", fmt.Sprintf(format, args...), res.Status)
	}
}

// next returns the next event, and acknowledges an update.
func (g *guest) next() (e event) {
	g.t.Helper()
	data, err := g.events.Next()
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	if s := e.Update.Status; s.UUID != "" {
		g.call(`"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":%q},"task_id":{"value":%q},"uuid":%q}`, s.Agent.Value, s.Task.Value, s.UUID)
	}
	return e
}

// TestBorrowing: a framework borrows the machine, the owner asks natively, an inverse offer says what goes and when; the task is not ended
// before its deadline less the grace of its own kill policy, and ends as preempted; the owner's task runs.
func TestBorrowing(t *testing.T) {
	p := startPool(t)
	plan := filepath.Join(p.dir, "plan.yaml")
	if err := os.WriteFile(plan, []byte(sharedPlan), 0o600); err != nil {
		t.Fatal(err)
	}
	p.command(t, "plan", "apply", "--yes", "-f", plan)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	g := &guest{t: t, p: p}
	res := g.post(ctx, `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"guest","roles":["guest"],"capabilities":[
		{"type":"MULTI_ROLE"},{"type":"REVOCABLE_RESOURCES"},{"type":"PARTITION_AWARE"}]}}}`)
	defer res.Body.Close()
	g.stream, g.events = res.Header.Get("Mesos-Stream-Id"), wire.NewRecordReader(res.Body, 1<<20)
	running := map[string]bool{}
	for launched := map[string]bool{}; len(running) < 2; {
		switch e := g.next(); e.Type {
		case "SUBSCRIBED":
			g.id = e.Subscribed.ID.Value
		case "OFFERS":
			for _, o := range e.Offers.Offers {
				if launched[o.Agent.Value] {
					continue
				}
				cpus := 0.0
				for _, r := range o.Resources {
					if r.Name == "cpus" && r.Revocable != nil {
						cpus = r.Scalar.Value
					}
				}
				launched[o.Agent.Value] = true
				g.call(`"type":"ACCEPT","accept":{"offer_ids":[{"value":%q}],"filters":{"refuse_seconds":3600},"operations":[{"type":"LAUNCH","launch":{"task_infos":[
					{"name":"lent","task_id":{"value":"lent-%s"},"agent_id":{"value":%q},"command":{"value":"sleep 1000"},"resources":[
					{"name":"cpus","type":"SCALAR","scalar":{"value":%v},"revocable":{}},{"name":"mem","type":"SCALAR","scalar":{"value":32},"revocable":{}}]}]}}]}`,
					o.ID.Value, o.Agent.Value, o.Agent.Value, cpus)
			}
		case "UPDATE":
			if s := e.Update.Status; s.State == "TASK_RUNNING" {
				running[s.Task.Value] = true
			} else {
				t.Fatalf("a borrower is %s, %s", s.State, s.Reason)
			}
		}
	}
	p.command(t, "run", "--role", "owner", "--cpu", "0.7", "--memory", "32Mi", "--name", "owner", "--", "sleep", "1000")
	var deadline time.Time
	for ended := false; !ended; {
		switch e := g.next(); e.Type {
		case "INVERSE_OFFERS":
			x := e.Inverse.Offers[0]
			deadline = time.Unix(0, x.Unavailability.Start.Nanoseconds)
			if len(x.Resources) == 0 || x.Resources[0].Revocable == nil {
				t.Errorf("the inverse offer names %+v", x.Resources)
			}
		case "UPDATE":
			s := e.Update.Status
			if s.State != "TASK_GONE" || s.Reason != "REASON_CONTAINER_PREEMPTED" {
				t.Fatalf("the end is %s, %s", s.State, s.Reason)
			}
			if early := time.Until(deadline); deadline.IsZero() || early > 3*time.Second {
				t.Errorf("the end came %v before the deadline; the kill policy allows 3s", early)
			}
			ended = true
		}
	}
	await(t, "the owner's task runs", func() bool { return strings.Contains(p.command(t, "ps", "--role", "owner"), "running") })
}

// command runs the operator's command against the pool.
func (p *pool) command(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.polder, args...)
	cmd.Env = append(os.Environ(), "POLDER_CONTEXT="+filepath.Join(p.dir, "up", "context.yaml"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("polder %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
