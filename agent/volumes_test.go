package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	"polder.dev/polder/agent/runtime/volume"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// leaseOf is the assignment of a volume.
func leaseOf(id, name string) *polderv1.Assignment {
	return &polderv1.Assignment{
		Task: id, Ask: "ask", Role: "corp/db", Resources: map[string]string{"disk": "1Gi"}, Funding: "corp/db",
		Spec: &polderv1.TaskSpec{Runtime: "volume", Volume: &polderv1.VolumeLease{Name: name}, Kill: &polderv1.KillPolicy{Grace: durationpb.New(0)}},
	}
}

// data is the directory of a volume.
func (m *machine) data(task string) string { return volume.Data(filepath.Join(m.dir, "volumes"), task) }

func (m *machine) keep(task, name string) string {
	m.t.Helper()
	m.server.launch(leaseOf(task, name))
	m.want(task, running, "")
	file := filepath.Join(m.data(task), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return file
}

func there(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// TestVolumeEndsOnlyWhenDeleted: whatever else the server says, and however often the agent starts, what is in a volume stays.
func TestVolumeEndsOnlyWhenDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		file := m.keep("v.0", "data")
		m.server.stop(&polderv1.StopTask{Task: "v.0", Force: true, Reason: &polderv1.Reason{Code: "Stale", Message: "it is not wanted"}})
		m.server.stop(&polderv1.StopTask{Task: "v.0", Force: true})
		m.server.notice("v.0", time.Second)
		if err := m.agent.StopAll(t.Context()); err != nil {
			t.Error(err)
		}
		pass(time.Hour)
		m.want("v.0", running, "")
		if !there(file) || !m.server.saw("VolumeKept") || m.server.lastNotice("v.0").Accepted {
			t.Errorf("the volume is there: %v; the server was told: %v", there(file), m.server.saw("VolumeKept"))
		}
		m.restart()
		m.want("v.0", running, "")
		m.server.stop(&polderv1.StopTask{Task: "v.0", Reason: &polderv1.Reason{Code: volume.Deleted, Message: "somebody asked for it"}})
		pass(time.Second)
		m.want("v.0", killed, volume.Deleted)
		if there(m.data("v.0")) {
			t.Error("it was deleted and is still there")
		}
		m.server.ack("v.0")
		pass(2 * time.Hour)
		if there(filepath.Dir(m.data("v.0"))) {
			t.Error("its record is still there after it was forgotten")
		}
	})
}

// TestDeletionGoesOn: what a deletion that was cut off has left is a volume until the next order has ended it.
func TestDeletionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		file := m.keep("v.0", "data")
		m.halt()
		if !there(file) {
			t.Fatal("it ended with its agent")
		}
		if err := os.Rename(m.data("v.0"), filepath.Join(filepath.Dir(m.data("v.0")), "deleting")); err != nil {
			t.Fatal(err)
		}
		m.start()
		m.want("v.0", running, "")
		m.server.stop(&polderv1.StopTask{Task: "v.0", Reason: &polderv1.Reason{Code: volume.Deleted}})
		pass(time.Second)
		m.want("v.0", killed, volume.Deleted)
	})
}

// TestVolumeWithoutItsDisk: a directory that is missing at the start is neither lost nor made anew; it may still be deleted.
func TestVolumeWithoutItsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		file := m.keep("v.0", "data")
		m.halt()
		volumes := filepath.Join(m.dir, "volumes")
		if err := os.Rename(volumes, volumes+".away"); err != nil {
			t.Fatal(err)
		}
		m.start()
		pass(time.Hour)
		m.want("v.0", running, "")
		if h := strings.Join(m.server.hello().Warnings, " "); there(volumes) || !m.server.saw("Warning") && !strings.Contains(h, "volume data is not in") {
			t.Errorf("made anew: %v; warnings %q", there(volumes), h)
		}
		m.server.launch(assignment("t1", mounting("data", "/data")))
		m.want("t1", failed, "VolumeMissing")
		m.halt()
		if err := os.Rename(volumes+".away", volumes); err != nil {
			t.Fatal(err)
		}
		m.start()
		m.want("v.0", running, "")
		if !there(file) {
			t.Error("what was in it is gone")
		}
		m.halt()
		if err := os.RemoveAll(volumes); err != nil {
			t.Fatal(err)
		}
		m.start()
		m.server.stop(&polderv1.StopTask{Task: "v.0", Reason: &polderv1.Reason{Code: volume.Deleted}})
		pass(time.Minute)
		m.want("v.0", killed, volume.Deleted)
	})
}

func mounting(name, target string) func(*polderv1.TaskSpec) {
	return func(s *polderv1.TaskSpec) {
		s.Mounts = []*polderv1.Mount{{Volume: name, Target: target, ReadOnly: true}}
	}
}

// TestTasksMountVolumes: by their names, whatever --allow-mount says; by their paths nobody may, a door neither.
func TestTasksMountVolumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []runtime.Mount
		m := newMachine(t, func(s runtime.Spec) fake.Script { got = s.Mounts; return fake.Script{} })
		m.keep("v.0", "data")
		m.server.launch(assignment("t1", mounting("data", "/data")))
		m.want("t1", running, "")
		if want := (runtime.Mount{Source: m.data("v.0"), Target: "/data", ReadOnly: true, Volume: "data", Lease: "v.0"}); len(got) != 1 || got[0] != want {
			t.Errorf("mounts %v, want %v", got, want)
		}
		m.server.launch(assignment("t2", mounting("other", "/data")))
		m.want("t2", failed, "VolumeMissing")
		x := m.agent.mountable()
		x.allowed = []string{m.dir}
		if _, err := x.of([]*polderv1.Mount{{Source: m.data("v.0"), Target: "/data"}}); err == nil {
			t.Error("a task mounts a volume by its path")
		}
		for _, source := range []string{m.data("v.0"), m.data("v.0") + "/below", filepath.Join(m.dir, "volumes")} {
			create := fmt.Sprintf(`{"HostConfig":{"Binds":["%s:/data"]}}`, source)
			if _, err := bound([]byte(create), x); err == nil {
				t.Errorf("a door's container binds %s", source)
			}
		}
	})
}
