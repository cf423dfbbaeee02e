package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
)

func TestLaunchReportStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.want("t1", running, "")
		m.server.stop(&polderv1.StopTask{Task: "t1"})
		m.want("t1", killed, "Killed")
		if r := m.server.last("t1"); r.GetExitCode() != 143 || r.Started == nil || r.Ended == nil {
			t.Errorf("report of the end: %v", r)
		}
	})
}

func TestTaskEndsByItself(t *testing.T) {
	for code, want := range map[int]polderv1.TaskState{0: succeeded, 3: failed} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAfter: time.Minute, ExitCode: code} })
			m.server.launch(assignment("t1"))
			pass(time.Minute)
			if r := m.server.last("t1"); r.State != want || int(r.GetExitCode()) != code {
				t.Errorf("exit %d was reported as %v", code, r)
			}
		})
	}
}

func TestLaunchTwiceIsOneTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAfter: time.Minute} })
		m.server.launch(assignment("t1"))
		m.server.launch(assignment("t1"))
		m.restart()
		m.server.launch(assignment("t1"))
		pass(time.Minute)
		m.want("t1", succeeded, "")
		m.server.ack("t1")
		m.server.launch(assignment("t1"))
		m.restart()
		m.server.launch(assignment("t1"))
		if n := m.runtime.Starts("t1"); n != 1 {
			t.Errorf("started %d times", n)
		}
	})
}

func TestKillPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(2))
		m.server.launch(assignment("t1", func(s *polderv1.TaskSpec) {
			s.Kill = &polderv1.KillPolicy{Signal: "SIGINT", Grace: durationpb.New(time.Minute)}
		}))
		m.server.stop(&polderv1.StopTask{Task: "t1", Reason: &polderv1.Reason{Code: codeDone}})
		pass(30 * time.Second)
		m.restart() // the grace goes on
		pass(30*time.Second - time.Nanosecond)
		m.want("t1", stopping, codeDone)
		pass(time.Nanosecond)
		m.want("t1", reclaimed, codeDone)
		if len(got) != 2 || got[0].signal != 2 || got[1].signal != 9 {
			t.Errorf("signals %v", got)
		}
	})
}

func TestStopWhilePreparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{PrepareTakes: time.Hour} })
		m.server.launch(assignment("t1"))
		m.want("t1", starting, "")
		m.server.stop(&polderv1.StopTask{Task: "t1"})
		m.want("t1", killed, "Killed")
		if n := m.runtime.Starts("t1"); n != 0 {
			t.Errorf("started %d times", n)
		}
	})
}

func TestFailedStarts(t *testing.T) {
	cases := map[string]struct {
		script fake.Script
		change func(*polderv1.TaskSpec)
		code   string
	}{
		"image":   {fake.Script{PrepareErr: errors.New("manifest unknown")}, nil, "ImageUnavailable"},
		"start":   {fake.Script{StartErr: errors.New("no such file")}, nil, "StartFailed"},
		"runtime": {fake.Script{}, func(s *polderv1.TaskSpec) { s.Runtime = "vm" }, "NoRuntime"},
		"port":    {fake.Script{}, func(s *polderv1.TaskSpec) { s.Ports = []*polderv1.Port{{Name: "missing"}} }, "InvalidTask"},
		"signal":  {fake.Script{}, func(s *polderv1.TaskSpec) { s.Kill = &polderv1.KillPolicy{Signal: "SIGNAL"} }, "InvalidTask"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t, func(runtime.Spec) fake.Script { return c.script })
				a := assignment("t1")
				if c.change != nil {
					c.change(a.Spec)
				}
				m.server.launch(a)
				m.want("t1", failed, c.code)
			})
		})
	}
}

func TestNamesThatAreNoTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("../../etc"))
		m.want("../../etc", failed, "InvalidTask")
		m.server.stop(&polderv1.StopTask{Task: "ghost"})
		m.want("ghost", lost, "UnknownTask")
	})
}

func TestMaxRunTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1", func(s *polderv1.TaskSpec) { s.MaxRunTime = durationpb.New(time.Hour) }))
		pass(30 * time.Minute)
		m.restart()
		pass(30*time.Minute - time.Nanosecond)
		m.want("t1", running, "")
		pass(time.Nanosecond)
		m.want("t1", failed, "MaxRunTime")
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var code atomic.Int32
		m := newMachine(t, func(runtime.Spec) fake.Script {
			return fake.Script{Exec: func(runtime.ExecOptions) (int, error) { return int(code.Load()), nil }}
		})
		m.server.launch(assignment("t1", func(s *polderv1.TaskSpec) { s.Health = &polderv1.HealthCheck{Command: []string{"check"}} }))
		pass(11 * time.Second)
		if h := m.server.last("t1").Health; h != "healthy" {
			t.Errorf("health %q", h)
		}
		code.Store(1)
		pass(20 * time.Second)
		m.want("t1", running, "")
		pass(10 * time.Second)
		m.want("t1", failed, "Unhealthy")
		if h := m.server.last("t1").Health; h != "unhealthy" {
			t.Errorf("health %q", h)
		}
	})
}

func TestFundingAndResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.server.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Funding{
			Funding: &polderv1.SetFunding{Task: "t1", Funding: "corp/batch"}}})
		m.server.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Resize{
			Resize: &polderv1.ResizeTask{Task: "t1", Resources: map[string]string{"cpu": "1"}}}})
		if list, _ := m.runtime.List(t.Context()); list[0].Funded != runtime.Guaranteed {
			t.Errorf("the runtime says %q", list[0].Funded)
		}
		m.restart()
		if a := m.server.hello().Tasks[0].Assignment; a.Funding != "corp/batch" || a.Resources["cpu"] != "1" {
			t.Errorf("assignment %v", a)
		}
	})
}

func TestEarlierLeaderIsNotObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.hangUp(false)
		m.server.comeBack(7)
		pass(time.Second)
		m.server.launch(assignment("t1"))
		m.server.hangUp(false)
		m.server.comeBack(6)
		pass(time.Second)
		m.server.launch(assignment("t2"))
		pass(time.Second)
		m.restart() // remembers
		m.server.launch(assignment("t3"))
		if m.runtime.Starts("t1") != 1 || m.runtime.Starts("t2") != 0 || m.runtime.Starts("t3") != 0 {
			t.Error("a command of epoch 6 was obeyed after epoch 7")
		}
		if e := m.server.hello().Epoch; e != 7 {
			t.Errorf("hello says epoch %d", e)
		}
	})
}

func TestCommandOfAnEarlierLeaderInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		if err := m.agent.obey(2); err != nil {
			t.Fatal(err)
		}
		m.server.stop(&polderv1.StopTask{Task: "t1"}) // in a session of epoch 1
		m.want("t1", running, "")
	})
}

func TestReportIsRepeatedUntilItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAfter: time.Second} })
		m.server.launch(assignment("t1"))
		m.server.hangUp(true)
		pass(time.Minute)
		m.server.comeBack(1)
		pass(time.Minute)
		m.want("t1", succeeded, "")
		m.restart()
		if h := m.server.hello(); len(h.Tasks) != 1 {
			t.Errorf("hello before the acknowledgement: %v", h)
		}
		m.server.ack("t1")
		m.restart()
		if h := m.server.hello(); len(h.Tasks) != 0 {
			t.Errorf("hello after the acknowledgement: %v", h)
		}
	})
}

func TestEndedTaskIsKeptForItsLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAtOnce: true} })
		m.server.launch(assignment("t1"))
		m.server.ack("t1")
		box := filepath.Join(m.dir, "sandboxes", "t1")
		pass(time.Hour - time.Second)
		if _, err := os.Stat(box); err != nil {
			t.Error(err)
		}
		pass(time.Second)
		if _, err := os.Stat(box); !os.IsNotExist(err) {
			t.Errorf("the sandbox is still there: %v", err)
		}
		if list, _ := m.runtime.List(t.Context()); len(list) != 0 {
			t.Errorf("the runtime still has %v", list)
		}
		if _, ok := m.agent.journal.Get(taskPrefix + "t1"); ok {
			t.Error("the journal still has the task")
		}
	})
}

func TestEndedTasksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAtOnce: true} })
		for i := range maxEnded + 10 {
			id := "t" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			m.server.launch(assignment(id))
			m.server.ack(id)
			if i == maxEnded-1 {
				m.restart()
			}
		}
		if list, _ := m.runtime.List(t.Context()); len(list) != maxEnded {
			t.Errorf("%d ended tasks are kept", len(list))
		}
	})
}

func TestEngineAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.runtime.SetDown(true)
		m.server.launch(assignment("t1"))
		m.want("t1", starting, "EngineUnavailable")
		m.server.launch(assignment("t2"))
		m.server.stop(&polderv1.StopTask{Task: "t2"})
		m.want("t2", stopping, "Killed") // nobody knows yet that nothing runs
		pass(time.Minute)
		m.runtime.SetDown(false)
		pass(time.Minute)
		m.want("t1", running, "")
		m.want("t2", killed, "Killed")
		if m.runtime.Starts("t1") != 1 || m.runtime.Starts("t2") != 0 {
			t.Error("wrong starts")
		}
	})
}

// TestRuntimeAway: the server is told once when a runtime goes away and once when it is back; a new session begins with it.
func TestRuntimeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		pass(time.Minute)
		if len(m.server.gone) != 0 || len(m.server.hello().Away) != 0 {
			t.Errorf("told %v at the start", m.server.gone)
		}
		m.runtime.SetDown(true)
		pass(time.Minute)
		m.server.hangUp(false)
		pass(time.Minute)
		if hello := m.server.hello(); !slices.Equal(hello.Away, []string{"fake"}) || !slices.Equal(hello.Runtimes, []string{"fake", "volume"}) {
			t.Errorf("hello %v", hello)
		}
		m.runtime.SetDown(false)
		pass(time.Minute)
		if got := fmt.Sprint(m.server.gone); got != "[[fake] []]" {
			t.Errorf("told %s", got)
		}
	})
}

func TestEngineAwayAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.runtime.SetDown(true)
		m.restart()
		pass(time.Minute)
		m.want("t1", running, "")
		m.server.hangUp(false)
		pass(time.Minute)
		if w := m.server.hello().Warnings; len(w) != 1 || !strings.Contains(w[0], "does not answer") {
			t.Errorf("warnings %q", w)
		}
		m.runtime.SetDown(false)
		pass(time.Minute)
		m.server.stop(&polderv1.StopTask{Task: "t1"})
		m.want("t1", killed, "Killed")
	})
}

func TestVanishedTaskIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.runtime = fake.New(plain)
		m.restart()
		m.want("t1", lost, "Vanished")
		if r := m.server.last("t1"); r.ExitCode != nil {
			t.Errorf("an exit code nobody saw: %v", r)
		}
	})
}

func TestLostExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.runtime.Lose("t1", "the machine was reset")
		synctest.Wait()
		m.want("t1", lost, "Lost")
	})
}

func TestTaskWithoutARecordIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.server.launch(assignment("t2"))
		m.halt()
		path := filepath.Join(m.dir, "checkpoint", "journal")
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// Damage every record of t1.
		text := strings.ReplaceAll(string(file), "task/t1", "task/tX")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m.start()
		m.want("t2", running, "")
		warnings := strings.Join(m.server.hello().Warnings, "\n")
		pass(time.Second)
		m.server.hangUp(false)
		pass(time.Second)
		warnings += strings.Join(m.server.hello().Warnings, "\n")
		if !strings.Contains(warnings, path) || !strings.Contains(warnings, "task t1 runs in fake and there is no record of it") {
			t.Errorf("warnings %q", warnings)
		}
		if list, _ := m.runtime.List(t.Context()); len(list) != 2 || list[0].State != runtime.Running {
			t.Errorf("the runtime has %v", list)
		}
	})
}

func TestUnreadableRecordIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.halt()
		j, _, err := checkpoint.Open(filepath.Join(m.dir, "checkpoint"), checkpoint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var b checkpoint.Batch
		b.Put(taskPrefix+"t1", []byte(`{"assignment":{"task":"t1"},"later":true}`))
		if err := errors.Join(j.Commit(b), j.Close()); err != nil {
			t.Fatal(err)
		}
		m.start()
		if w := strings.Join(m.server.hello().Warnings, "\n"); !strings.Contains(w, `"later"`) {
			t.Errorf("warnings %q", w)
		}
		if _, ok := m.agent.journal.Get(taskPrefix + "t1"); !ok {
			t.Error("the record is gone")
		}
	})
}

// fullDisk refuses writes while full is set.
type fullDisk struct{ full atomic.Bool }

func (d *fullDisk) create(path string) (checkpoint.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return fullFile{f, d}, err
}

type fullFile struct {
	*os.File
	disk *fullDisk
}

func (f fullFile) WriteAt(p []byte, at int64) (int, error) {
	if f.disk.full.Load() {
		return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return f.File.WriteAt(p, at)
}

func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk fullDisk
		m := newMachine(t, stubborn)
		m.disk = disk.create
		m.restart()
		m.server.launch(assignment("t1"))
		m.server.launch(assignment("t2"))
		disk.full.Store(true)
		m.server.launch(assignment("t3"))
		m.want("t3", failed, "NoCheckpoint")
		m.server.notice("t1", time.Minute)
		m.want("t1", running, "")
		if n := m.server.lastNotice("t1"); n.Accepted {
			t.Error("a notice was accepted without a record")
		}
		m.server.stop(&polderv1.StopTask{Task: "t2", Force: true})
		m.want("t2", killed, "Killed") // what has happened is told all the same
		pass(10 * time.Second)
		disk.full.Store(false)
		pass(2 * time.Second)
		m.want("t1", leaving, "")
		if d := time.Until(m.server.lastNotice("t1").Deadline.AsTime()); d < 58*time.Second || d > time.Minute {
			t.Errorf("the grace that counts from the record has %v left", d)
		}
		m.server.ack("t3")
		m.restart()
		m.want("t2", killed, "Killed")
		if n := m.runtime.Starts("t3"); n != 0 {
			t.Errorf("t3 was started %d times", n)
		}
	})
}

func TestAgentGoneTasksStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.halt()
		pass(time.Hour)
		if list, _ := m.runtime.List(t.Context()); list[0].State != runtime.Running {
			t.Errorf("the runtime says %v", list)
		}
	})
}

func TestStopAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.launch(assignment("t2"))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.agent.StopAll(short); err == nil || !strings.Contains(err.Error(), "t1, t2") {
			t.Errorf("a stop that was cut short: %v", err)
		}
		if err := m.agent.StopAll(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		m.want("t1", lost, "NodeStopped")
		m.want("t2", lost, "NodeStopped")
		m.server.launch(assignment("t3"))
		m.want("t3", lost, "NodeStopped")
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script {
			return fake.Script{Usage: runtime.Usage{CPUSeconds: 1.5, MemoryBytes: 1 << 20}}
		})
		m.server.launch(assignment("t1"))
		pass(10 * time.Second)
		beats := m.server.beats
		if len(beats) != 2 || beats[1].Usage["t1"].GetCpuSeconds() != 1.5 || !beats[1].Usage["t1"].GetAt().AsTime().Before(time.Now()) {
			t.Errorf("heartbeats %v", beats)
		}
	})
}

func TestHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		h := m.server.hello()
		if h.Node != "n1" || h.Capacity["cpu"] != "4" || h.Capacity["memory"] != "8Gi" || h.Ports != "31000-31010" ||
			len(h.Runtimes) != 2 || h.Runtimes[0] != "fake" || h.Runtimes[1] != "volume" {
			t.Errorf("hello %v", h)
		}
	})
}

func TestEventsAreBounded(t *testing.T) {
	o := newOutbox()
	for range maxEvents + 5 {
		o.event(&polderv1.AgentEvent{Kind: "Test"})
	}
	_, messages := o.take()
	if n := len(messages); n != maxEvents+1 {
		t.Fatalf("%d messages wait", n)
	}
	if e := messages[maxEvents].GetEvent(); e.Kind != "EventsDropped" || !strings.Contains(e.Message, "5 events") {
		t.Errorf("last message %v", e)
	}
}
