package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/e2e/stage"
)

const plan = `roles:
  db: {guarantee: {cpu: 1, memory: 512Mi, disk: 5Gi}}
`

type story struct {
	t    *testing.T
	pool *stage.Pool

	reservation string // that tasks and volumes are carved out of, if any
}

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// ctx bounds one step.
func (s *story) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

// ready waits until the volume is, and returns it.
func (s *story) ready(name string) (v *polderv1.Volume) {
	s.t.Helper()
	s.must(stage.Retry(s.ctx(), func(ctx context.Context) error {
		res, err := s.pool.API.Volumes.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: name, UntilReady: true}))
		if err != nil {
			return err
		}
		if v = res.Msg; v.State != "ready" {
			return fmt.Errorf("volume %s is %s: %s", name, v.State, v.Reason.GetMessage())
		}
		return nil
	}))
	return v
}

// run runs a shell line in a task that mounts the volume below its sandbox, and waits until it has succeeded.
func (s *story) run(name, line string, readOnly bool) {
	s.t.Helper()
	ask, err := s.pool.API.Submit(s.ctx(), name, &polderv1.AskSpec{Name: name, Role: "db", Count: 1, Task: &polderv1.TaskSpec{
		Command: []string{"/bin/sh", "-ec", line}, Resources: map[string]string{"cpu": "0.25", "memory": "32Mi"},
		Mounts: []*polderv1.Mount{{Volume: "pg", Target: "data", ReadOnly: readOnly}}, Reservation: s.reservation,
	}})
	s.must(err)
	s.must(stage.Retry(s.ctx(), func(ctx context.Context) error {
		res, err := s.pool.API.Tasks.Get(ctx, connect.NewRequest(&polderv1.TaskServiceGetRequest{Id: ask + ".0"}))
		if err != nil {
			return err
		}
		switch task := res.Msg.Task; {
		case task.State == polderv1.TaskState_TASK_STATE_SUCCEEDED:
			return nil
		case task.State > polderv1.TaskState_TASK_STATE_SUCCEEDED:
			s.t.Fatalf("%s is %v: %s", name, task.State, task.Reason.GetMessage())
		}
		return errors.New("it goes on")
	}))
}

// TestVolume: what is in a volume outlasts the task that wrote it and the agent that made it, and goes when the volume is deleted.
func TestVolume(t *testing.T) {
	dir, remove, err := stage.TempDir("volume")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { remove(t.Failed()) }()
	programs, err := stage.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := stage.Open(t.Context(), stage.Options{Dir: dir, Programs: programs, Agents: 1, Capacity: "cpu=1,memory=512Mi,disk=5Gi", Runtime: "process", Plan: plan})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := &story{t: t, pool: p}
	create := &polderv1.VolumeServiceCreateRequest{Name: "pg", Role: "db", Size: "1Gi"}
	s.must(stage.Retry(s.ctx(), func(ctx context.Context) error {
		_, err := p.API.Volumes.Create(ctx, connect.NewRequest(create))
		return err
	}))
	v := s.ready("pg")
	s.run("write", "echo precious >data/file", false)
	if data, err := os.ReadFile(filepath.Join(v.Path, "file")); err != nil || string(data) != "precious\n" {
		t.Fatalf("the volume has %q, %v", data, err)
	}
	p.Agents[0].Kill()
	s.must(p.Agents[0].Start())
	s.must(p.AwaitNodes(s.ctx()))
	if again := s.ready("pg"); again.Task != v.Task || again.Path != v.Path {
		t.Errorf("after the agent's restart it is %v, was %v", again, v)
	}
	s.run("read", `test "$(cat data/file)" = precious; ! touch data/other 2>/dev/null`, true)
	s.must(stage.Retry(s.ctx(), func(ctx context.Context) error {
		_, err := p.API.Volumes.Delete(ctx, connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: "pg"}))
		return err
	}))
	s.must(stage.Retry(s.ctx(), func(ctx context.Context) error {
		_, err := p.API.Volumes.Get(ctx, connect.NewRequest(&polderv1.VolumeServiceGetRequest{Name: "pg"}))
		if connect.CodeOf(err) == connect.CodeNotFound {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	}))
	if _, err := os.Stat(v.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was deleted, and its directory is there: %v", err)
	}
	s.reserved()
}

// reserved carves a volume and tasks out of a reservation that fills what the role is guaranteed: all of it is booked once, before and after
// the agent's restart, and the reservation is whole in the end.
func (s *story) reserved() {
	api := s.pool.API.Reservations
	_, err := api.Create(s.ctx(), connect.NewRequest(&polderv1.ReservationServiceCreateRequest{
		Name: "place", Role: "db", Resources: map[string]string{"cpu": "1", "memory": "512Mi", "disk": "5Gi"},
	}))
	s.must(err)
	res, err := api.Get(s.ctx(), connect.NewRequest(&polderv1.ReservationServiceGetRequest{Name: "place", UntilReady: true}))
	s.must(err)
	if res.Msg.State != "ready" {
		s.t.Fatalf("the reservation is %v", res.Msg)
	}
	s.reservation = "place"
	_, err = s.pool.API.Volumes.Create(s.ctx(), connect.NewRequest(&polderv1.VolumeServiceCreateRequest{Name: "pg", Role: "db", Size: "1Gi", Reservation: "place"}))
	s.must(err)
	s.ready("pg")
	s.run("first", "echo precious >data/file", false)
	s.pool.Agents[0].Kill()
	s.must(s.pool.Agents[0].Start())
	s.must(s.pool.AwaitNodes(s.ctx()))
	s.run("second", `test "$(cat data/file)" = precious`, true)
	remove := connect.NewRequest(&polderv1.ReservationServiceDeleteRequest{Name: "place"})
	if _, err := api.Delete(s.ctx(), remove); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		s.t.Errorf("a reservation with a volume: %v", err)
	}
	_, err = s.pool.API.Volumes.Delete(s.ctx(), connect.NewRequest(&polderv1.VolumeServiceDeleteRequest{Name: "pg"}))
	s.must(err)
	s.must(stage.Retry(s.ctx(), func(ctx context.Context) error {
		_, err := api.Delete(ctx, remove)
		if connect.CodeOf(err) == connect.CodeFailedPrecondition { // the agent deletes the volume
			return errors.New(err.Error())
		}
		return err
	}))
}
