package fields

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/volume"
)

// paths lists the JSON paths of a type, as a table writes them, and whether each is an object or a list of them.
func paths(t reflect.Type, at string, out map[string]bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		paths(t.Elem(), at+"[]", out)
	case t.Kind() == reflect.Map:
		paths(t.Elem(), join(at, "*"), out)
	case t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
	default:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case !f.IsExported() || name == "-":
			case f.Anonymous && name == "":
				paths(f.Type, at, out)
			default:
				if name == "" {
					name = f.Name
				}
				out[join(at, name)] = true
				paths(f.Type, join(at, name), out)
			}
		}
	}
}

// legacy are fields that older clients send and the newest types have no more.
var legacy = []string{"MacAddress", "HostConfig.KernelMemory", "HostConfig.KernelMemoryTCP", "CheckDuplicate", "IPAM.Config[].AuxAddress", "Detach",
	"KernelMemory", "KernelMemoryTCP", "Networks"}

// TestTablesAreComplete: every field of the API's own types has a row, or is inside one that is not looked into, and no row is
// of something that does not exist.
func TestTablesAreComplete(t *testing.T) {
	for _, c := range []struct {
		name  string
		table Table
		of    reflect.Type
	}{
		{"create", Create, reflect.TypeFor[container.CreateRequest]()},
		{"exec", Exec, reflect.TypeFor[container.ExecCreateRequest]()},
		{"network", Network, reflect.TypeFor[network.CreateRequest]()},
		{"connect", Connect, reflect.TypeFor[network.ConnectRequest]()},
		{"disconnect", Disconnect, reflect.TypeFor[network.DisconnectRequest]()},
		{"volume", Volume, reflect.TypeFor[volume.CreateRequest]()},
		{"service", Service, reflect.TypeFor[swarm.ServiceSpec]()},
		{"secret", Secret, reflect.TypeFor[swarm.SecretSpec]()},
		{"config", Config, reflect.TypeFor[swarm.ConfigSpec]()},
		{"node", Node, reflect.TypeFor[swarm.NodeSpec]()},
		{"swarm", Cluster, reflect.TypeFor[swarm.Spec]()},
		{"update", Update, reflect.TypeFor[container.UpdateConfig]()},
	} {
		known := map[string]bool{}
		paths(c.of, "", known)
		for path := range known {
			if _, ok := c.table[path]; !ok && !inside(c.table, path) {
				t.Errorf("%s: %s has no row: does it work, or why not?", c.name, path)
			}
		}
		for path := range c.table {
			if !known[path] && !strings.HasSuffix(path, "*") && !slices.Contains(legacy, path) {
				t.Errorf("%s: there is no %s", c.name, path)
			}
		}
	}
}

// inside reports whether a field is part of one that is judged as a whole.
func inside(table Table, path string) bool {
	for {
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return false
		}
		path = path[:i]
		if row, ok := table[path]; ok && row.free {
			return true
		}
	}
}

func TestEveryRefusalHasItsReason(t *testing.T) {
	for name, row := range Create {
		if (row.Treatment == Refused || row.Treatment == Host || row.Treatment == Judged) && row.Note == "" {
			t.Errorf("%s: say why", name)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"HostConfig":{"Privileged":true,"Privileged":false}}`, "HostConfig.Privileged is given twice"},
		{`{"a":1} {"b":2}`, "something after the object"},
		{`[]`, "want a JSON object"},
		{`{"a":`, "unexpected EOF"},
		{strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20), "nested deeper"},
	} {
		if _, err := Decode([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ text, refused, host string }{
		{text: `{"Image":"x","HostConfig":{"Privileged":false,"CapAdd":null,"Binds":null,"MaskedPaths":null}}`},
		{text: `{"HostConfig":{"Privileged":true}}`, host: "HostConfig.Privileged"},
		{text: `{"HostConfig":{"privileged":true}}`, refused: "HostConfig.privileged: write it Privileged"},
		{text: `{"hostconfig":{"Privileged":true}}`, refused: "hostconfig: write it HostConfig"},
		{text: `{"HostConfig":{"Future":1}}`, refused: "HostConfig.Future: this is not a field that Polder knows"},
		{text: `{"HostConfig":{"Future":0}}`, refused: "HostConfig.Future: this is not a field that Polder knows"},
		{text: `{"HostConfig":{"MaskedPaths":[]}}`, host: "HostConfig.MaskedPaths"},
		{text: `{"HostConfig":{"Binds":["data:/d","other:/e:ro"]}}`},
		{text: `{"HostConfig":{"Binds":["/etc:/d"]}}`, host: "HostConfig.Binds"},
		{text: `{"HostConfig":{"Binds":["../etc:/d"]}}`, refused: "HostConfig.Binds: a directory"},
		{text: `{"HostConfig":{"Binds":["/a/../etc:/d"]}}`, refused: "HostConfig.Binds: a directory"},
		{text: `{"HostConfig":{"Binds":["data:/polder/x"]}}`, refused: "HostConfig.Binds: /polder"},
		{text: `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/etc","Target":"/x"}]}}`, host: "HostConfig.Mounts[0].Type"},
		{text: `{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"DriverConfig":{"Options":{"device":"/"}}}}]}}`, refused: "HostConfig.Mounts[0].VolumeOptions.DriverConfig.Options: volumes"},
		{text: `{"HostConfig":{"NetworkMode":"host"}}`, host: "HostConfig.NetworkMode"},
		{text: `{"HostConfig":{"PidMode":"ns:/proc/1/ns/pid"}}`, refused: "HostConfig.PidMode: want a mode"},
		{text: `{"HostConfig":{"SecurityOpt":["no-new-privileges"]}}`},
		{text: `{"HostConfig":{"SecurityOpt":["seccomp=unconfined"]}}`, host: "HostConfig.SecurityOpt"},
		{text: `{"HostConfig":{"CpuShares":2}}`, refused: "HostConfig.CpuShares: who goes first"},
		{text: `{"HostConfig":{"DeviceRequests":[{"Driver":"nvidia","Count":2,"DeviceIDs":null,"Capabilities":[["gpu","utility"]],"Options":{}}]}}`},
		{text: `{"HostConfig":{"DeviceRequests":[{"Count":-1,"Capabilities":[["gpu"]]}]}}`, refused: "HostConfig.DeviceRequests[0].Count: say how many"},
		{text: `{"HostConfig":{"DeviceRequests":[{"DeviceIDs":["0"],"Capabilities":[["gpu"]]}]}}`, refused: "HostConfig.DeviceRequests[0].DeviceIDs: say how many"},
		{text: `{"HostConfig":{"DeviceRequests":[{"Count":1,"Capabilities":[["gpu"],["fpga"]]}]}}`, refused: "HostConfig.DeviceRequests[0].Capabilities: want lists"},
		{text: `{"HostConfig":{"DeviceRequests":[{"Driver":"cdi","Count":1,"Capabilities":[["gpu"]]}]}}`, refused: "HostConfig.DeviceRequests[0].Driver"},
		{text: `{"Labels":{"polder.role":"a","x":"y"}}`},
		{text: `{"Labels":{"polder.container":"a"}}`, refused: "Labels: polder.container"},
		{text: `{"NetworkingConfig":{"EndpointsConfig":{"net":{"Aliases":["a"],"Wrong":1}}}}`, refused: "NetworkingConfig.EndpointsConfig.net.Wrong"},
	} {
		tree, err := Decode([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		verdict, err := Create.Check(tree)
		switch {
		case c.refused == "" && err != nil, c.refused != "" && (err == nil || !strings.HasPrefix(err.Error(), c.refused)):
			t.Errorf("%s: %v, want %q", c.text, err, c.refused)
		case err == nil && strings.Join(verdict.Host, " ") != c.host:
			t.Errorf("%s needs the permission for %v, want %q", c.text, verdict.Host, c.host)
		}
	}
}

// reaches is written anew, on the engine's own types: does this container reach beyond itself on its machine?
func reaches(c container.CreateRequest) bool {
	h := c.HostConfig
	if h == nil {
		return false
	}
	shares := func(mode string) bool { return mode == "host" }
	abroad := h.Privileged || len(h.CapAdd) > 0 || len(h.Devices) > 0 || len(h.DeviceCgroupRules) > 0 || len(h.Sysctls) > 0 ||
		shares(string(h.NetworkMode)) || shares(string(h.PidMode)) || shares(string(h.IpcMode)) || h.UTSMode != "" || h.UsernsMode != "" ||
		shares(string(h.CgroupnsMode)) || h.MaskedPaths != nil || h.ReadonlyPaths != nil || h.OomScoreAdj < 0
	for _, b := range h.Binds {
		abroad = abroad || strings.HasPrefix(b, "/") || strings.HasPrefix(b, ".")
	}
	for _, d := range h.DeviceRequests {
		all := len(d.Capabilities) > 0
		for _, set := range d.Capabilities {
			all = all && slices.Contains(set, "gpu")
		}
		abroad = abroad || !all && (d.Count != 0 || len(d.Capabilities) > 0) || d.Count < 0 || len(d.DeviceIDs) > 0 || len(d.Options) > 0
	}
	for _, m := range h.Mounts {
		abroad = abroad || m.Type != "volume" && m.Type != "tmpfs" && m.Type != ""
	}
	return abroad
}

// FuzzPolicy: what passes without the permission "host" does not reach the machine, as the engine will read it.
func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{
		`{"Image":"x","HostConfig":{"Privileged":true}}`, `{"HostConfig":{"PRIVILEGED":true}}`, `{"HostConfig":{"Binds":["/:/x"]}}`,
		`{"HostConfig":{"MaskedPaths":[]}}`, `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/"}]}}`, `{"HostConfig":{"CapAdd":[""]}}`,
		`{"HostConfig":{"NetworkMode":"host","PidMode":"host"}}`, `{"HostConfig":{},"hostConfig":{"Privileged":true}}`,
		`{"HostConfig":{"Devices":[{"PathOnHost":"/dev/sda"}],"OomScoreAdj":-1}}`, `{"HostConfig":{"Sysctls":{"kernel.x":"1"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := Decode(data)
		if err != nil {
			return
		}
		verdict, err := Create.Check(tree)
		if err != nil || len(verdict.Host) > 0 {
			return
		}
		sent, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		var engine container.CreateRequest
		if json.Unmarshal(sent, &engine) == nil && reaches(engine) {
			t.Errorf("passes without the permission, and reaches the machine: %s", sent)
		}
	})
}

// TestFilters: both forms say the same, and a value counts by being there.
func TestFilters(t *testing.T) {
	for text, want := range map[string]map[string][]string{
		"": {}, "null": {}, "{}": {},
		`{"label":{"b":true,"a=1":true},"id":{"x":false}}`: {"label": {"a=1", "b"}, "id": {"x"}},
		`{"label":["b","a=1"],"id":["x"]}`:                 {"label": {"a=1", "b"}, "id": {"x"}},
		`{"label":{}}`:                                     {"label": nil},
		`{"label":"a"}`:                                    nil,
		`[]`:                                               nil,
		`{`:                                                nil,
	} {
		got, err := Filters(text)
		if (err == nil) != (want != nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
