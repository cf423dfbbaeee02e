package mesos

import (
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// external is a volume as frameworks name those that are kept elsewhere.
func external(driver, name string) *mesosv1.Volume {
	return &mesosv1.Volume{ContainerPath: new("data"), Mode: mesosv1.Volume_RO.Enum(), Source: &mesosv1.Volume_Source{
		Type: mesosv1.Volume_Source_DOCKER_VOLUME.Enum(), DockerVolume: &mesosv1.Volume_Source_DockerVolume{Driver: &driver, Name: &name},
	}}
}

// TestVolumeOfThePool: a task mounts a volume of the pool by its name; one that names a volume which is not there, or another driver, fails alone.
func TestVolumeOfThePool(t *testing.T) {
	w := newWorld(t, "roles: {default: {}, a: {guarantee: {disk: 5Gi}}}\n", 2, nil)
	if _, err := w.api.Volumes.Create(w.as(w.admin), connect.NewRequest(&polderv1.VolumeServiceCreateRequest{Name: "pg", Role: "a", Size: "1Gi"})); err != nil {
		t.Fatal(err)
	}
	node := ""
	w.until("the volume is ready", func() bool {
		v, err := w.api.Volumes.Get(w.as(w.admin), connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: "pg", UntilReady: true}))
		node = v.Msg.GetNode()
		return err == nil && v.Msg.State == "ready"
	})
	c := w.subscribe(w.admin, info("db", []string{"a"}))
	var o, elsewhere *mesosv1.Offer
	for o == nil || elsewhere == nil {
		for _, x := range c.next(schedulerv1.Event_OFFERS).Offers.Offers {
			if x.AgentId.GetValue() == node {
				o = x
			} else {
				elsewhere = x
			}
		}
	}
	with := func(o *mesosv1.Offer, id string, v *mesosv1.Volume) *mesosv1.TaskInfo {
		x := command(o, id, "forever", scalar("cpus", 0.5), scalar("mem", 64))
		x.Container = &mesosv1.ContainerInfo{Type: mesosv1.ContainerInfo_MESOS.Enum(), Volumes: []*mesosv1.Volume{v}}
		return x
	}
	c.must(http.StatusAccepted, launchCall(o, with(o, "none", external("polder", "nobodys")), with(o, "other", external("rexray", "pg")), with(o, "data", external("polder", "pg")), command(o, "plain", "forever", scalar("cpus", 0.5))))
	native, errors := "", map[string]string{}
	for running := 0; running < 2 || len(errors) < 2; {
		s := c.next(schedulerv1.Event_UPDATE).Update.Status
		switch id := s.TaskId.GetValue(); s.GetState() {
		case mesosv1.TaskState_TASK_RUNNING:
			running++
			if id == "data" {
				native = s.ContainerStatus.GetContainerId().GetValue()
			}
		case mesosv1.TaskState_TASK_ERROR:
			errors[id] = s.GetMessage()
		default:
			t.Fatalf("task %s is %v: %s", id, s.GetState(), s.GetMessage())
		}
		c.acknowledge(s)
	}
	if !strings.Contains(errors["none"], `"nobodys"`) || !strings.Contains(errors["other"], "driver 'polder'") {
		t.Errorf("the errors are %v", errors)
	}
	c.must(http.StatusAccepted, launchCall(elsewhere, with(elsewhere, "lost", external("polder", "pg"))))
	if s := c.next(schedulerv1.Event_UPDATE).Update.Status; s.GetState() != mesosv1.TaskState_TASK_LOST || !strings.Contains(s.GetMessage(), "polder volume get pg") {
		t.Errorf("on another node it is %v: %s", s.GetState(), s.GetMessage())
	}
	got, err := w.api.Tasks.Get(w.as(w.admin), connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: native}))
	if err != nil {
		t.Fatal(err)
	}
	if m := got.Msg.Spec.Mounts; len(m) != 1 || m[0].Volume != "pg" || m[0].Target != "data" || !m[0].ReadOnly {
		t.Errorf("it mounts %v", m)
	}
}
