package docker

import (
	"encoding/json"
	"net/http"
	"testing"

	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// TestStartedWithWhatItSays: a container that was just made is started with the task that its labels tell whoever comes later.
func TestStartedWithWhatItSays(t *testing.T) {
	s := newStand(t, 1, ordinary)
	for _, body := range []string{
		`{"Image":"app"}`,
		`{"Image":"app","Cmd":["a","ü \"b\""],"Env":["A=1","constraint:zone==a"],"Labels":{"x":"y","polder.priority":"3"},` +
			`"HostConfig":{"Memory":67108864,"NanoCpus":200000000,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2}}}`,
		`{"Image":"app","StopTimeout":3,"HostConfig":{"AutoRemove":true,"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}}`,
	} {
		code, said := s.call("POST", "/containers/create", body)
		var made struct{ ID string }
		if err := json.Unmarshal([]byte(said), &made); err != nil || code != http.StatusCreated {
			t.Fatalf("%s: %d %s", body, code, said)
		}
		c, ok := s.door.recent.take(made.ID)
		now, err := c.startedWith()
		if !ok || c.task == nil || err != nil {
			t.Fatalf("%s: it is not remembered: %v", body, err)
		}
		c.task = nil
		later, err := c.startedWith()
		if err != nil || !proto.Equal(now, later) {
			t.Errorf("%s: now it is started with\n%v\nlater with\n%v, %v", body, now, later, err)
		}
	}
}

// TestEngineIsBack: an engine that did not answer a moment ago is asked again when there is no other.
func TestEngineIsBack(t *testing.T) {
	s := newStand(t, 1, ordinary)
	s.wants(http.StatusCreated, "Id", "POST", "/containers/create", `{"Image":"app"}`)
	s.door.silence(engine{nodes: []*polderv1.EngineNode{{Name: "n0"}}})
	s.wants(http.StatusCreated, "Id", "POST", "/containers/create", `{"Image":"app"}`)
}
