package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"polder.dev/polder/door/docker/fields"
)

// ids of networks on the engine of neighbours.
var (
	ownID    = "db" + strings.Repeat("0", 62) // begins with the name of the other's
	othersID = strings.Repeat("e", 64)
)

// neighbours is an engine with a container of the caller's role, a network of it, two of another role, and one that every engine has.
func neighbours(node string, w http.ResponseWriter, r *http.Request) {
	labels := func(role string) thing {
		return thing{"polder.container": foreignID, "polder.role": role, "polder.agent": node}
	}
	r.URL.Path = strings.TrimPrefix(r.URL.Path, "/v1.24")
	switch {
	case r.URL.Path == "/containers/json":
		reply(w, http.StatusOK, []thing{{"Id": "e1", "Names": []string{"/mine"}, "State": "running", "Mounts": sandbox, "Labels": labels("team")}})
	case r.URL.Path == "/networks":
		members := thing{"e1": thing{"Name": "mine"}, "e7": thing{"Name": "secret-plans"}} // as engines list them to old clients
		reply(w, http.StatusOK, []thing{
			{"Id": strings.Repeat("a", 64), "Name": "bridge", "Driver": "bridge", "Containers": members},
			{"Id": ownID, "Name": "own", "Driver": "bridge", "Labels": thing{"polder.role": "team"}},
			{"Id": othersID, "Name": "db", "Driver": "bridge", "Labels": thing{"polder.role": "other"}},
			{"Id": strings.Repeat("f", 64), "Name": "nat", "Driver": "bridge", "Labels": thing{"polder.role": "other"}},
		})
	case strings.HasSuffix(r.URL.Path, "/connect"):
		w.WriteHeader(http.StatusOK)
	default:
		ordinary(node, w, r)
	}
}

// TestNoNetworkOfOthers: whichever way a container names a network, it joins none of a role on which its user may run nothing, though he may
// see it, and an engine, which goes by an id, a name and the beginning of an id in this order, is told so much that it finds no other one.
func TestNoNetworkOfOthers(t *testing.T) {
	for _, seen := range []bool{true, false} {
		s := newStand(t, 1, neighbours)
		s.forbidden["run other"], s.forbidden["view other"] = true, !seen
		for _, body := range []string{
			`{"Image":"app","HostConfig":{"NetworkMode":"nat"}}`,
			`{"Image":"app","HostConfig":{"NetworkMode":"` + othersID + `"}}`,
			`{"Image":"app","NetworkingConfig":{"EndpointsConfig":{"nat":{}}}}`,
			`{"Image":"app","NetworkingConfig":{"EndpointsConfig":{"":{"NetworkID":"db"}}}}`,
			`{"Image":"app","NetworkingConfig":{"EndpointsConfig":{"own":{"NetworkID":"db"}}}}`,
			`{"Image":"app","NetworkingConfig":{"EndpointsConfig":{"host":{}}}}`,
		} {
			if code, said := s.call("POST", "/containers/create", body); code != http.StatusForbidden && code != http.StatusBadRequest {
				t.Errorf("%s: %d %s", body, code, said)
			}
		}
		for ref, body := range map[string]string{
			"db": `{"Container":"mine"}`, othersID: `{"Container":"mine"}`, "own": `{"Container":"mine","EndpointConfig":{"NetworkID":"` + othersID + `"}}`,
		} {
			code, said := s.call("POST", "/networks/"+ref+"/connect", body)
			joined := ref == "db" && !seen // the beginning of the id of the caller's own
			if joined != (code == http.StatusOK) {
				t.Errorf("connect to %s %s: %d %s", ref, body, code, said)
			}
		}
		for _, line := range s.calls() {
			if strings.Contains(line, "/connect") && !strings.Contains(line, ownID) {
				t.Errorf("an engine was asked %s", line)
			}
		}
		if len(s.made) != 0 {
			t.Errorf("%d containers were made", len(s.made))
		}
	}
}

// TestNetworkByPartOfID: what is the beginning of an id to the door may be the name of another's network to an engine, so it is told the whole.
func TestNetworkByPartOfID(t *testing.T) {
	s := newStand(t, 1, neighbours)
	s.forbidden["run other"], s.forbidden["view other"] = true, true
	s.wants(http.StatusCreated, "Id", "POST", "/containers/create",
		`{"Image":"app","HostConfig":{"NetworkMode":"db"},"NetworkingConfig":{"EndpointsConfig":{"db":{"Aliases":["x"]}}}}`)
	s.wants(http.StatusCreated, "Id", "POST", "/containers/create",
		`{"Image":"app","HostConfig":{"NetworkMode":"own"},"NetworkingConfig":{"EndpointsConfig":{"own":{"NetworkID":"`+ownID+`"}}}}`)
	for i, name := range []string{ownID, "own"} {
		if made := string(s.made[i].Container.Create); !strings.Contains(made, `"NetworkMode":"`+name+`"`) || !strings.Contains(made, `"EndpointsConfig":{"`+name+`"`) {
			t.Errorf("an engine is told %s", made)
		}
	}
	ctx := context.WithValue(t.Context(), versionKey{}, "1.41")
	if _, err := (containersOf{s.door}).Places(ctx, "team", []string{"db"}, nil); err == nil || !strings.Contains(err.Error(), "whole name or id") {
		t.Errorf("a service in db: %v", err)
	}
	s.wants(http.StatusBadRequest, "look like an id", "POST", "/networks/create", `{"Name":"`+othersID+`"}`)
}

// TestMembersOfOthers: lists of networks name no container of a role that the caller may not view, whatever version he speaks.
func TestMembersOfOthers(t *testing.T) {
	s := newStand(t, 1, neighbours)
	s.forbidden["view other"] = true
	for _, path := range []string{"/v1.24/networks", "/networks"} {
		if code, said := s.call("GET", path, ""); code != http.StatusOK || strings.Contains(said, "secret-plans") || !strings.Contains(said, "bridge") {
			t.Errorf("GET %s: %d %s", path, code, said)
		}
	}
}

// TestEngineSendsElsewhere: a name that makes another path is not there; it sends nobody elsewhere.
func TestEngineSendsElsewhere(t *testing.T) {
	s := newStand(t, 1, func(node string, w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "..") {
			http.Redirect(w, r, "/containers/x/json", http.StatusMovedPermanently)
			return
		}
		ordinary(node, w, r)
	})
	s.wants(http.StatusNotFound, "No such image", "POST", "/containers/create", `{"Image":"../containers/x"}`)
}

// TestBeyondTheContainer: what reaches the machine or others takes the permission host or is refused, in whatever case it is written.
func TestBeyondTheContainer(t *testing.T) {
	volume := func(options string) string {
		return `{"Image":"app","HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":` + options + `}]}}`
	}
	ulimit := func(of string) string { return `{"Image":"app","HostConfig":{"Ulimits":[` + of + `]}}` }
	s := newStand(t, 1, ordinary)
	s.forbidden["host team"] = true
	for _, c := range []struct {
		path, body string
		code       int
	}{
		{"/containers/create", volume(`{"DriverConfig":{"Name":"local","options":{"type":"none","o":"bind","device":"/"}}}`), 400},
		{"/containers/create", volume(`{"DriverConfig":{"name":"other"}}`), 400},
		{"/containers/create", volume(`{"DriverConfig":{"Options":{"device":"/"}}}`), 400},
		{"/containers/create", volume(`{"Labels":{"polder.role":"other"}}`), 400},
		{"/containers/create", volume(`{"DriverConfig":{"Name":"local"},"Labels":{"mine":"1"}}`), 201},
		{"/containers/create", ulimit(`{"Name":"rtprio","Soft":99,"Hard":99}`), 403},
		{"/containers/create", ulimit(`{"Name":"RTPRIO","Soft":99,"Hard":99}`), 403},
		{"/containers/create", ulimit(`{"name":"rtprio","Soft":99,"Hard":99}`), 400},
		{"/containers/create", ulimit(`{"Name":"nofile","Soft":99,"Hard":99}`), 201},
		{"/networks/create", `{"Name":"n","IPAM":{"Config":[{"Subnet":"8.8.8.0/24"}]}}`, 403},
		{"/networks/create", `{"Name":"n","IPAM":{"Config":[{"Subnet":"0.0.0.0/1"}]}}`, 403},
		{"/networks/create", `{"Name":"n","IPAM":{"Config":[{"Subnet":"172.16.0.0/8"}]}}`, 403},
		{"/networks/create", `{"Name":"n","IPAM":{"Config":[{"Subnet":"here"}]}}`, 400},
	} {
		if code, said := s.call("POST", c.path, c.body); code != c.code {
			t.Errorf("%s: %d %s, want %d", c.body, code, said, c.code)
		}
	}
	if v, err := fields.Network.Check(map[string]any{"Name": "n", "IPAM": map[string]any{"Config": []any{map[string]any{"Subnet": "172.28.0.0/16"}}}}); err != nil || v.Host != nil {
		t.Errorf("a private network: %v %v", v, err)
	}
}

// TestFormsAreRefused: an engine takes parameters from a form in the body before those of the path, so no form gets to one.
func TestFormsAreRefused(t *testing.T) {
	s := newStand(t, 1, ordinary)
	multipart := "--x\r\nContent-Disposition: form-data; name=\"networkmode\"\r\n\r\nhost\r\n--x--\r\n"
	for _, c := range [][3]string{
		{"/build?t=x", "application/x-www-form-urlencoded", "networkmode=host&remote=https://example.com/x.tar"},
		{"/build?t=x", "Application/X-WWW-form-urlencoded ; charset=utf-8", "networkmode=host"},
		{"/build?t=x", "multipart/form-data; boundary=x", multipart},
		{"/images/create?fromImage=a", "application/x-www-form-urlencoded", "fromSrc=http://127.0.0.1/"},
	} {
		s.wants(http.StatusUnsupportedMediaType, "a form is nothing", "POST", c[0], c[2], "Content-Type", c[1])
	}
	s.wants(http.StatusBadRequest, "the parameters", "POST", "/build?t=x&a=1;networkmode=host", "")
	for _, line := range s.calls() {
		if !strings.Contains(line, " GET ") {
			t.Errorf("an engine was asked %s", line)
		}
	}
}

// TestEventsOfWhatIsShared: events of networks and volumes, which say nothing about whose they are, reach who may view their role, with the door's
// id of a container, and nobody else.
func TestEventsOfWhatIsShared(t *testing.T) {
	s := newStand(t, 1, func(node string, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events" {
			neighbours(node, w, r)
			return
		}
		for _, e := range [][4]string{
			{"network", "connect", ownID, "e1"}, {"network", "connect", othersID, "e7"}, {"network", "connect", ownID, "e7"}, {"network", "destroy", ownID, ""},
			{"volume", "create", "unknown", ""}, {"image", "tag", "app", ""},
		} {
			about := thing{"name": "x"}
			if e[3] != "" {
				about["container"] = e[3]
			}
			fmt.Fprintln(w, encode(thing{"Type": e[0], "Action": e[1], "Actor": thing{"ID": e[2], "Attributes": about}, "timeNano": 1}))
		}
	})
	s.forbidden["view other"] = true
	s.call("GET", "/containers/mine/changes", "") // which makes the container known
	all := "network connect " + ownID + " " + foreignID + "\nnetwork connect " + ownID + " \nnetwork destroy " + ownID + " \nimage tag app \n"
	for filters, want := range map[string]string{
		"": all, `{"node":["n0"]}`: all, `{"node":["n1"]}`: "", `{"container":["mine"]}`: "network connect " + ownID + " " + foreignID + "\n",
	} {
		code, said := s.call("GET", "/events?since=1&until=2&filters="+url.QueryEscape(filters), "")
		got := ""
		for line := range strings.Lines(said) {
			var m struct {
				Type, Action string
				Actor        struct {
					ID         string
					Attributes map[string]string
				}
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			got += fmt.Sprintln(m.Type, m.Action, m.Actor.ID, m.Actor.Attributes["container"])
		}
		if code != http.StatusOK || got != want {
			t.Errorf("with %s: %d\n%s, want\n%s", filters, code, got, want)
		}
	}
}

// TestDeniedWhileWriting: a call that the server refuses while the door is still sending it is denied with its reason, not lost.
func TestDeniedWhileWriting(t *testing.T) {
	s := newStand(t, 1, neighbours)
	s.judging, s.forbidden["exec team"] = true, true
	for range 30 {
		s.wants(http.StatusForbidden, "may not exec", "POST", "/containers/mine/exec", `{"Cmd":["`+strings.Repeat("x", 40_000)+`"]}`)
		s.wants(http.StatusForbidden, "may not exec", "PUT", "/containers/mine/archive?path=/", strings.Repeat("x", 200_000))
		s.wants(http.StatusForbidden, "may not exec", "POST", "/commit?container=mine", "{}")
	}
}

// TestOnlyWhatAgentsMade: a container that has all the labels of another's, as those have that a builder runs of an image, is none of the pool's,
// whatever it has at the sandbox's place.
func TestOnlyWhatAgentsMade(t *testing.T) {
	for _, mounts := range [][]thing{nil, {{"Type": "volume", "Destination": "/polder"}}, {{"Type": "bind", "Destination": "/polder/x"}}} {
		s := newStand(t, 1, func(node string, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/containers/json" {
				neighbours(node, w, r)
				return
			}
			labels := thing{"polder.container": foreignID, "polder.role": "team", "polder.agent": node}
			reply(w, http.StatusOK, []thing{{"Id": "e6", "Names": []string{"/mine"}, "Created": 9, "State": "running", "Mounts": mounts, "Labels": labels}})
		})
		s.wants(http.StatusNotFound, "No such container", "POST", "/containers/mine/exec", "{}")
		s.wants(http.StatusNotFound, "No such container", "POST", "/containers/"+foreignID+"/exec", "{}")
		l, err := listedIn([]byte(encode(thing{"Id": "e6", "Mounts": mounts, "Labels": thing{"polder.container": foreignID}})), "e")
		if err != nil || l.at.id != "" {
			t.Errorf("in a list it is %+v, %v", l.at, err)
		}
	}
}
