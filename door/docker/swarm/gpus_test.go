package swarm

import (
	"encoding/json"
	"strings"
	"testing"

	"polder.dev/polder/door/docker/swarm/orchestrator"
)

// TestGPUs: what a service reserves of GPUs is in its tasks' leases and containers, by number, and nothing else is taken for it.
func TestGPUs(t *testing.T) {
	s := newStand(t)
	with := func(reserved, more string) string {
		return strings.Replace(web, `"ContainerSpec"`, more+`"Resources":{"Reservations":{"GenericResources":[`+reserved+`]}},"ContainerSpec"`, 1)
	}
	const two = `{"DiscreteResourceSpec":{"Kind":"gpu","Value":2}}`
	for _, r := range []struct{ body, words string }{
		{with(`{"DiscreteResourceSpec":{"Kind":"fpga","Value":2}}`, ""), "no other generic resource"},
		{with(`{"NamedResourceSpec":{"Kind":"gpu","Value":"GPU-1"}}`, ""), "say how many"},
		{with(two, `"Networks":[{"Target":"a"},{"Target":"b"}],`), "one network at most"},
		{strings.Replace(with(two, ""), `"Image"`, `"Configs":[{"ConfigID":"x"}],"Image"`, 1), "no secrets and no configs"},
	} {
		s.refuses("POST", "/services/create", r.body, 400, r.words)
	}
	s.does("POST", "/services/create", with(two+","+two, ""), nil)
	var tmpl template
	if err := json.Unmarshal([]byte(with(two+","+two, "")), &tmpl); err != nil {
		t.Fatal(err)
	}
	spec, err := compile(tmpl, nil)
	if err != nil || spec.Needs.GPUs != 4 {
		t.Errorf("it needs %+v, %v", spec.Needs, err)
	}
	c, err := tmpl.container(orchestrator.Service{Name: "web"}, orchestrator.Task{ID: "t"}, "n1")
	asked, _ := json.Marshal(c.Body["HostConfig"].(thing)["DeviceRequests"])
	if err != nil || string(asked) != `[{"Capabilities":[["gpu"]],"Count":4}]` {
		t.Errorf("its container asks for %s, %v", asked, err)
	}
	if a := amountsOf(map[string]string{"cpu": "2", "memory": "1Gi", "gpu": "3"}); a != (orchestrator.Amounts{Milli: 2000, Memory: 1 << 30, GPUs: 3}) {
		t.Errorf("a node's amounts are %+v", a)
	}
}
