package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

// keptVolumes are the pool's volumes, for tests. Each is ready at once, unless its node has no room.
type keptVolumes struct {
	api.UnimplementedVolumeServiceHandler
	mu   sync.Mutex // guards what follows
	all  map[string]*polderv1.Volume
	full map[string]bool // nodes
	made int

	forbidden map[string]bool // "verb role"
}

// may refuses what is forbidden.
func (k *keptVolumes) may(verb, role string) error {
	if k.forbidden[verb+" "+role] {
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("user:ann may not %s on role %s", verb, role))
	}
	return nil
}

func (k *keptVolumes) List(context.Context, *connect.Request[polderv1.VolumeServiceListRequest]) (*connect.Response[polderv1.VolumeServiceListResponse], error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := &polderv1.VolumeServiceListResponse{}
	for _, name := range slices.Sorted(maps.Keys(k.all)) {
		if k.may("view", k.all[name].Role) == nil {
			out.Volumes = append(out.Volumes, k.all[name])
		}
	}
	return connect.NewResponse(out), nil
}

func (k *keptVolumes) Create(_ context.Context, r *connect.Request[polderv1.VolumeServiceCreateRequest]) (*connect.Response[polderv1.Volume], error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.all[r.Msg.Name]; v != nil && v.Size == r.Msg.Size && v.Role == r.Msg.Role && (r.Msg.Node == "" || r.Msg.Node == v.Node) {
		return connect.NewResponse(v), nil
	} else if v != nil {
		return nil, connect.NewError(connect.CodeAlreadyExists, fmt.Errorf("there is a volume %s already", v.Name))
	}
	if k.full[r.Msg.Node] {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("node %s has no room", r.Msg.Node))
	}
	k.made++
	task := fmt.Sprintf("volume-%d.0", k.made)
	v := &polderv1.Volume{Name: r.Msg.Name, Role: r.Msg.Role, Size: r.Msg.Size, Node: r.Msg.Node, Labels: r.Msg.Labels, State: "ready", Task: task, Path: "/volumes/" + task + "/data"}
	k.all[v.Name] = v
	return connect.NewResponse(v), nil
}

func (k *keptVolumes) Get(_ context.Context, r *connect.Request[polderv1.VolumeServiceGetRequest]) (*connect.Response[polderv1.Volume], error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.all[r.Msg.Name]; v != nil {
		return connect.NewResponse(v), k.may("view", v.Role)
	}
	return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("no volume is called %s", r.Msg.Name))
}

func (k *keptVolumes) Delete(_ context.Context, r *connect.Request[polderv1.VolumeServiceDeleteRequest]) (*connect.Response[polderv1.VolumeServiceDeleteResponse], error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.all, r.Msg.Name)
	return connect.NewResponse(&polderv1.VolumeServiceDeleteResponse{}), nil
}

// volumeEngines are engines that know volumes and one image.
type volumeEngines struct {
	mu   sync.Mutex
	have map[string]thing // "node name"
	used map[string]bool  // names that a container has
}

func (e *volumeEngines) answer(node string, w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name, one := strings.CutPrefix(r.URL.Path, "/volumes/")
	at := node + " " + name
	switch {
	case r.URL.Path == "/volumes":
		list, held := []thing{}, strings.Contains(r.URL.Query().Get("filters"), `"dangling":["false"]`)
		for _, key := range slices.Sorted(maps.Keys(e.have)) {
			if strings.HasPrefix(key, node+" ") && (!held || e.used[strings.TrimPrefix(key, node+" ")]) {
				list = append(list, e.have[key])
			}
		}
		reply(w, http.StatusOK, thing{"Volumes": list})
	case name == "create":
		var m thing
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			panic(err)
		}
		at = node + " " + m["Name"].(string)
		if e.have[at] == nil {
			e.have[at] = m
		}
		reply(w, http.StatusCreated, e.have[at])
	case one && e.have[at] == nil:
		reply(w, http.StatusNotFound, thing{"message": "no such volume"})
	case one && r.Method == http.MethodGet:
		reply(w, http.StatusOK, e.have[at])
	case one && e.used[name]:
		reply(w, http.StatusConflict, thing{"message": "volume is in use"})
	case one:
		delete(e.have, at)
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(r.URL.Path, "/images/"):
		reply(w, http.StatusOK, thing{"Id": "sha256:1", "RepoTags": []string{"app:latest"}})
	default:
		reply(w, http.StatusOK, []thing{})
	}
}

// TestSizedVolumes: a volume with a size is the pool's, on the node that has room; a container with it is placed there, says so to the pool, and has
// its directory through the engine's volume that stands for it, which nobody is shown.
func TestSizedVolumes(t *testing.T) {
	e := &volumeEngines{have: map[string]thing{}, used: map[string]bool{}}
	s := newStand(t, 2, e.answer)
	s.volumes.full["n0"] = true
	s.wants(http.StatusBadRequest, "size is the only option", "POST", "/volumes/create", `{"Name":"x","DriverOpts":{"device":"/etc"}}`)
	s.wants(http.StatusBadRequest, "not a size", "POST", "/volumes/create", `{"Name":"x","DriverOpts":{"size":"much"}}`)
	s.wants(http.StatusCreated, `"size":"10485760"`, "POST", "/volumes/create", `{"Name":"data","DriverOpts":{"size":"10m"},"Labels":{"a":"b"}}`)
	if v := s.volumes.all["data"]; v.Node != "n1" || v.Role != "team" || v.Labels["a"] != "b" || len(v.Labels) != 1 {
		t.Fatalf("the pool has %v", v)
	}
	s.wants(http.StatusCreated, `"data"`, "POST", "/volumes/create", `{"Name":"data"}`)
	s.wants(http.StatusConflict, "already", "POST", "/volumes/create", `{"Name":"data","DriverOpts":{"size":"20m"}}`)
	s.wants(http.StatusCreated, "", "POST", "/containers/create", `{"Image":"app","HostConfig":{"Binds":["data:/srv/data:ro"],"Mounts":[{"Type":"volume","Source":"data","Target":"/again"}]}}`)
	if len(s.made) != 1 || s.made[0].Node != "n1" {
		t.Fatalf("containers were made: %v", s.made)
	}
	var body struct {
		Labels     map[string]string
		HostConfig struct{ Binds []string }
	}
	if err := json.Unmarshal(s.made[0].Container.Create, &body); err != nil {
		t.Fatal(err)
	}
	if spec := body.Labels[labelSpec]; !strings.Contains(strings.ReplaceAll(spec, " ", ""), `"mounts":[{"target":"/srv/data","volume":"data"},{"target":"/again","volume":"data"}]`) {
		t.Errorf("the pool is told %s", spec)
	}
	own := e.have["n1 data"]
	if under(own, "DriverOpts")["device"] != "/volumes/volume-1.0/data" || body.HostConfig.Binds[0] != "data:/srv/data:ro" {
		t.Errorf("the engine has %v, the container %v", own, body.HostConfig.Binds)
	}
	if code, list := s.call("GET", "/volumes", ""); code != http.StatusOK || strings.Count(list, `"Name":"data"`) != 1 || strings.Contains(list, "device") {
		t.Errorf("volumes are %d %s", code, list)
	}
	s.wants(http.StatusOK, `"state":"ready"`, "GET", "/volumes/data", "")
	for filter, want := range map[string]bool{`{"name":["at"]}`: true, `{"name":["ta."]}`: false, `{"label":["a=b"]}`: true, `{"label":["a","c"]}`: false,
		`{"dangling":["true"]}`: true, `{"dangling":["false"]}`: false, `{"driver":["nfs"]}`: false} {
		if _, list := s.call("GET", "/volumes?filters="+filter, ""); strings.Contains(list, `"data"`) != want {
			t.Errorf("with %s volumes are %s", filter, list)
		}
	}
	e.used["data"] = true // by a container that does not run, of which the pool knows nothing
	for filter, want := range map[string]bool{`{"dangling":["true"]}`: false, `{"dangling":["false"]}`: true} {
		if _, list := s.call("GET", "/volumes?filters="+filter, ""); strings.Contains(list, `"data"`) != want {
			t.Errorf("when a container has it: with %s volumes are %s", filter, list)
		}
	}
}

// TestSizedVolumesGo: one that a container has stays; prune keeps what has a size; one that was made anew under the same name elsewhere is not
// mistaken for the old one.
func TestSizedVolumesGo(t *testing.T) {
	e := &volumeEngines{have: map[string]thing{}, used: map[string]bool{"data": true}}
	s := newStand(t, 1, e.answer)
	run := func() {
		t.Helper()
		s.wants(http.StatusCreated, "", "POST", "/containers/create", `{"Image":"app","HostConfig":{"Binds":["data:/data"]}}`)
	}
	s.wants(http.StatusCreated, "", "POST", "/volumes/create", `{"Name":"data","DriverOpts":{"size":"10m"}}`)
	run()
	s.wants(http.StatusConflict, "in use", "DELETE", "/volumes/data", "")
	s.wants(http.StatusOK, `"VolumesDeleted":[]`, "POST", "/volumes/prune", "")
	if s.volumes.all["data"] == nil {
		t.Fatal("a volume in use is gone")
	}
	e.used["data"] = false
	s.wants(http.StatusNoContent, "", "DELETE", "/volumes/data", "")
	s.wants(http.StatusNotFound, "no such volume", "GET", "/volumes/data", "")
	if len(s.volumes.all)+len(e.have) > 0 {
		t.Errorf("left are %v and %v", s.volumes.all, e.have)
	}
	s.wants(http.StatusCreated, "", "POST", "/volumes/create", `{"Name":"data","DriverOpts":{"size":"10m"}}`)
	e.have["n0 data"] = thing{"Name": "data", "Labels": thing{"polder.role": "team", "polder.volume": "volume-1.0"}}
	run()
	if own := e.have["n0 data"]; under(own, "DriverOpts")["device"] != "/volumes/volume-2.0/data" {
		t.Errorf("the container has %v", own)
	}
	e.have["n0 data"] = thing{"Name": "data", "Labels": thing{"polder.role": "team"}}
	s.wants(http.StatusConflict, "of its own", "POST", "/containers/create", `{"Image":"app","HostConfig":{"Binds":["data:/data"]}}`)
	s.volumes.all["data"].State, s.volumes.all["data"].Node = "waiting", ""
	s.wants(http.StatusConflict, "is waiting", "POST", "/containers/create", `{"Image":"app","HostConfig":{"Binds":["data:/data"]}}`)
}

// TestVolumesOfOtherRoles: one of the pool is mounted by nobody who may not run on its role, and not there for who may not view it; its name is taken all
// the same. What an engine has of its own under the name of one of the pool is nobody's to remove with that.
func TestVolumesOfOtherRoles(t *testing.T) {
	e := &volumeEngines{have: map[string]thing{}, used: map[string]bool{}}
	s := newStand(t, 1, e.answer)
	s.volumes.forbidden = s.forbidden
	theirs := &polderv1.Volume{Name: "theirs", Role: "other", Size: "1Gi", Node: "n0", State: "ready", Task: "volume-9.0", Path: "/volumes/volume-9.0/data"}
	s.volumes.all["theirs"] = theirs
	const mount = `{"Image":"app","HostConfig":{"Binds":["theirs:/data"]}}`
	s.forbidden["run other"] = true
	s.wants(http.StatusForbidden, "may not run on role other", "POST", "/containers/create", mount)
	s.wants(http.StatusConflict, "another role's", "POST", "/volumes/create", `{"Name":"theirs"}`)
	s.wants(http.StatusOK, "theirs", "GET", "/volumes", "")
	s.forbidden["view other"] = true
	s.wants(http.StatusForbidden, "may not view on role other", "POST", "/containers/create", mount)
	s.wants(http.StatusConflict, "another role's", "POST", "/volumes/create", `{"Name":"theirs"}`)
	s.wants(http.StatusNotFound, "no such volume", "DELETE", "/volumes/theirs", "")
	if _, list := s.call("GET", "/volumes", ""); strings.Contains(list, "theirs") || len(e.have)+len(s.made) > 0 {
		t.Errorf("volumes are %s, engines have %v", list, e.have)
	}
	e.have["n0 old"] = thing{"Name": "old", "Labels": thing{"polder.role": "other", "polder.volume": "volume-8.0"}}
	s.wants(http.StatusCreated, `"polder.role":"team"`, "POST", "/volumes/create", `{"Name":"old"}`)
	theirs.Role = "team"
	own := thing{"Name": "theirs", "Labels": thing{"polder.role": "other"}}
	e.have["n0 theirs"] = own
	s.wants(http.StatusNoContent, "", "DELETE", "/volumes/theirs", "")
	if e.have["n0 theirs"] == nil || len(s.volumes.all) > 0 {
		t.Errorf("engines have %v, the pool has %v", e.have, s.volumes.all)
	}
}

// TestOptionsOfVolumes: users give none but the size, wherever a volume is described, and no label of the door's.
func TestOptionsOfVolumes(t *testing.T) {
	s := newStand(t, 1, ordinary)
	for _, c := range []struct{ path, body, words string }{
		{"/volumes/create", `{"Name":"v","DriverOpts":{"size":"1G","o":"bind"}}`, "any directory of the node"},
		{"/volumes/create", `{"Name":"v","DriverOpts":{"size":"1G"},"Labels":{"polder.size":"2G"}}`, "said twice"},
		{"/volumes/create", `{"Name":"v","Labels":{"polder.volume":"t.0"}}`, "not a label that users set"},
		{"/containers/create", `{"Image":"app","HostConfig":{"Mounts":[{"Type":"volume","Source":"v","Target":"/v",
			"VolumeOptions":{"DriverConfig":{"Options":{"type":"none","o":"bind","device":"/"}}}}]}}`, "any of its own"},
	} {
		s.wants(http.StatusBadRequest, c.words, "POST", c.path, c.body)
	}
}

// TestSizeAsLabel: it is as good as the option, and docker system df shows what a volume is charged with.
func TestSizeAsLabel(t *testing.T) {
	e := &volumeEngines{have: map[string]thing{}, used: map[string]bool{}}
	s := newStand(t, 1, func(node string, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/system/df" {
			e.answer(node, w, r)
			return
		}
		reply(w, http.StatusOK, thing{"Volumes": []thing{{"Name": "data", "Labels": thing{"polder.role": "team", "polder.volume": "volume-1.0"}, "UsageData": thing{"RefCount": 3}}}})
	})
	s.wants(http.StatusCreated, `"size":"16777216"`, "POST", "/volumes/create", `{"Name":"data","Labels":{"polder.size":"16Mi","tier":"gold"}}`)
	if v := s.volumes.all["data"]; len(v.Labels) != 1 {
		t.Errorf("the pool has %v", v)
	}
	s.volumes.all["data"].Size, s.volumes.all["data"].UsedBy = "16Mi", []string{"db.0"}
	for _, want := range []string{`"polder.size":"16Mi"`, `"usedBy":["db.0"]`, `"size":"16Mi"`} {
		s.wants(http.StatusOK, want, "GET", "/volumes/data", "")
	}
	_, said := s.call("GET", "/system/df", "")
	if !strings.Contains(said, `"UsageData":{"RefCount":3,"Size":16777216}`) || strings.Count(said, `"Name":"data"`) != 1 {
		t.Errorf("df says %s", said)
	}
}
