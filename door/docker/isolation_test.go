package docker

import (
	"testing"

	"polder.dev/polder/door/docker/fields"
)

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
