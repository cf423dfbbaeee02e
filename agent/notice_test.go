package agent

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"polder.dev/polder/agent/checkpoint"
	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
)

// signals records when which signal reached a task.
type signals []struct {
	signal runtime.Signal
	at     time.Time
}

func (s *signals) script(ignore ...runtime.Signal) func(runtime.Spec) fake.Script {
	return func(runtime.Spec) fake.Script {
		return fake.Script{Ignore: ignore, OnSignal: func(_ string, sig runtime.Signal) {
			*s = append(*s, struct {
				signal runtime.Signal
				at     time.Time
			}{sig, time.Now()})
		}}
	}
}

func TestDeadlineIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(15))
		m.server.launch(assignment("t1"))
		noticed := time.Now()
		m.server.notice("t1", time.Minute)
		m.want("t1", leaving, "")
		if n := m.server.lastNotice("t1"); !n.Accepted || !n.Deadline.AsTime().Equal(noticed.Add(time.Minute)) {
			t.Errorf("accepted %v", n)
		}
		pass(time.Minute - time.Nanosecond)
		m.want("t1", leaving, "")
		pass(time.Nanosecond)
		m.want("t1", reclaimed, "Reclaimed")
		if len(got) != 2 || got[0].signal != 15 || !got[0].at.Equal(noticed.Add(50*time.Second)) ||
			got[1].signal != 9 || !got[1].at.Equal(noticed.Add(time.Minute)) {
			t.Errorf("signals %v", got)
		}
		if n := m.server.last("t1").Notice; n.State != noticeExpired {
			t.Errorf("notice %v", n)
		}
	})
}

func TestStopSignalAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(15))
		m.server.launch(assignment("t1", func(s *polderv1.TaskSpec) { s.Kill = nil }))
		noticed := time.Now()
		m.server.notice("t1", time.Minute)
		pass(2 * time.Minute)
		if len(got) != 2 || !got[0].at.Equal(noticed.Add(time.Minute)) || !got[1].at.Equal(noticed.Add(time.Minute+lastWords)) {
			t.Errorf("signals %v", got)
		}
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestStopSignalLeavesHalfOfAShortNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(15))
		m.server.launch(assignment("t1"))
		noticed := time.Now()
		m.server.notice("t1", 4*time.Second)
		pass(4 * time.Second)
		if len(got) != 2 || !got[0].at.Equal(noticed.Add(2*time.Second)) {
			t.Errorf("signals %v", got)
		}
	})
}

func TestTaskEndsUnderNotice(t *testing.T) {
	cases := []struct {
		name   string
		script fake.Script
		state  polderv1.TaskState
		code   string
	}{
		{"leaves", fake.Script{ExitAfter: 30 * time.Second, ExitCode: 75}, reclaimed, "Reclaimed"},
		{"finishes", fake.Script{ExitAfter: 30 * time.Second}, succeeded, ""},
		{"ends well after the stop signal", fake.Script{Ignore: []runtime.Signal{15}, ExitAfter: 55 * time.Second}, reclaimed, "Reclaimed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t, func(runtime.Spec) fake.Script { return c.script })
				m.server.launch(assignment("t1"))
				m.server.notice("t1", time.Minute)
				pass(59 * time.Second)
				m.want("t1", c.state, c.code)
				if r := m.server.last("t1"); int(r.GetExitCode()) != c.script.ExitCode || r.Notice.State != noticeLeft {
					t.Errorf("report %v", r)
				}
			})
		})
	}
}

func TestNoticeFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		var d noticeDocument
		if err := json.Unmarshal([]byte(m.read("t1", noticeFile)), &d); err != nil {
			t.Fatal(err)
		}
		if d.ID != "nt1" || d.Claimant != "corp/search for ask web" || d.Amount["cpu"] != "2" || d.State != "open" ||
			!d.Deadline.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("notice.json says %+v", d)
		}
		m.server.withdraw("t1")
		if err := json.Unmarshal([]byte(m.read("t1", noticeFile)), &d); err != nil || d.State != noticeWithdrawn {
			t.Errorf("after the withdrawal notice.json says %+v, %v", d, err)
		}
	})
}

func TestNoticeFileFollowsNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		victim := filepath.Join(t.TempDir(), "victim")
		if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		m.server.launch(assignment("t1"))
		box := filepath.Join(m.dir, "sandboxes", "t1")
		for _, name := range []string{noticeFile, "." + noticeFile + ".new", answerFile} {
			if err := os.Symlink(victim, filepath.Join(box, name)); err != nil {
				t.Fatal(err)
			}
		}
		m.server.notice("t1", time.Minute)
		if err := os.Symlink(victim, filepath.Join(box, answerFile)); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if data, _ := os.ReadFile(victim); string(data) != "precious" {
			t.Errorf("a link led out of the sandbox: %q", data)
		}
		if !strings.Contains(m.read("t1", noticeFile), `"nt1"`) {
			t.Error("the notice was not written")
		}
	})
}

func TestWithdrawnNoticeLetsTheTaskRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script())
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		pass(40 * time.Second)
		m.server.withdraw("t1")
		m.want("t1", running, "")
		pass(time.Hour)
		m.want("t1", running, "")
		if len(got) != 0 {
			t.Errorf("signals %v", got)
		}
	})
}

// TestWithdrawalIsToldAfterARestart ends the agent when the withdrawal is in its journal and not yet in the sandbox; after
// that it is told once, not at every restart.
func TestWithdrawalIsToldAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(10))
		m.server.launch(assignment("t1", func(s *polderv1.TaskSpec) { s.Notice = &polderv1.NoticeDelivery{Signal: "SIGUSR1"} }))
		m.server.notice("t1", time.Minute)
		text := m.read("t1", noticeFile)
		record := m.agent.task("t1").rec.clone()
		record.Notice.Wire, record.Notice.Told = withState(record.Notice.Wire, noticeWithdrawn), false
		m.halt()
		m.overwrite(record)
		for range 2 {
			m.start()
			m.want("t1", running, "")
			if after := m.read("t1", noticeFile); after == text || !strings.Contains(after, noticeWithdrawn) {
				t.Errorf("the task reads %s", after)
			}
			pass(time.Hour)
			m.halt()
		}
		if len(got) != 2 {
			t.Errorf("signals %v, want one for the notice and one for its withdrawal", got)
		}
	})
}

// TestStopSignalEndsANoticeForGood ends the agent when the stop signal is in its journal and the note that the task was told
// is not: the deadline that the signal was sent at stays.
func TestStopSignalEndsANoticeForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(15))
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		text := m.read("t1", noticeFile)
		record := m.agent.task("t1").rec.clone()
		record.Notice.Told, record.Notice.Termed = false, true
		now := after(m.agent.c.Clock, 0)
		record.Signalled = &now
		m.halt()
		m.overwrite(record)
		pass(time.Minute)
		m.start()
		if after := m.read("t1", noticeFile); after != text {
			t.Errorf("the task reads %s, and before %s", after, text)
		}
		pass(lastWords + time.Second)
		m.want("t1", reclaimed, "Reclaimed")
	})
}

// TestStopSignalIsNotLost ends the agent between the note that the stop signal is sent and the sending: the next one sends it,
// once, and what ends then has left because of the notice.
func TestStopSignalIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script())
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		record := m.agent.task("t1").rec.clone()
		now := after(m.agent.c.Clock, 50*time.Second)
		record.Notice.Told, record.Notice.Termed, record.Sending = true, true, &now
		m.halt()
		m.overwrite(record)
		pass(51 * time.Second)
		m.start()
		pass(time.Second)
		m.want("t1", reclaimed, "Reclaimed")
		if len(got) != 1 {
			t.Errorf("signals %v, want one stop signal", got)
		}
	})
}

// TestWithdrawalWaitsForTheSignal withdraws a notice while the stop signal is on its way to the task: the task reads of it
// only after the signal, and what it does then is because of the signal.
func TestWithdrawalWaitsForTheSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := ""
		var m *machine
		m = newMachine(t, func(runtime.Spec) fake.Script {
			return fake.Script{OnSignal: func(string, runtime.Signal) {
				time.Sleep(time.Second)
				read = m.read("t1", noticeFile)
			}}
		})
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		text := m.read("t1", noticeFile)
		pass(50*time.Second + time.Millisecond)
		m.server.withdraw("t1")
		pass(2 * time.Second)
		if read != text {
			t.Errorf("as it is signalled the task reads %s, want the notice in force", read)
		}
		m.want("t1", reclaimed, "Reclaimed")
	})
}

// overwrite changes a record in the journal of an agent that does not run.
func (m *machine) overwrite(r *record) {
	m.t.Helper()
	j, _, err := checkpoint.Open(filepath.Join(m.dir, "checkpoint"), checkpoint.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	data, err := r.encode()
	if err != nil {
		m.t.Fatal(err)
	}
	var b checkpoint.Batch
	b.Put(taskPrefix+r.Assignment.Task, data)
	if err := errors.Join(j.Commit(b), j.Close()); err != nil {
		m.t.Fatal(err)
	}
}

func TestTaskLeavesAsItsNoticeIsWithdrawn(t *testing.T) {
	for late, want := range map[time.Duration]polderv1.TaskState{50 * time.Second: reclaimed, 70 * time.Second: failed} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAfter: late, ExitCode: 75} })
			m.server.launch(assignment("t1"))
			m.server.notice("t1", time.Minute)
			pass(20 * time.Second)
			m.server.withdraw("t1")
			m.restart()
			pass(time.Minute)
			m.want("t1", want, map[bool]string{true: "Reclaimed", false: "Exited"}[want == reclaimed])
		})
	}
}

func TestWithdrawnAfterTheStopSignal(t *testing.T) {
	for _, ignores := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, func(runtime.Spec) fake.Script {
				if ignores {
					return fake.Script{Ignore: []runtime.Signal{15}}
				}
				return fake.Script{StopTakes: 5 * time.Second}
			})
			m.server.launch(assignment("t1"))
			m.server.notice("t1", time.Minute)
			pass(51 * time.Second)
			m.server.withdraw("t1")
			if !m.server.saw("WithdrawnAfterSignal") {
				t.Error("nobody said that the signal had been sent")
			}
			pass(time.Hour)
			if ignores {
				m.want("t1", running, "")
			} else {
				m.want("t1", reclaimed, "Reclaimed")
			}
		})
	}
}

func TestAnswerFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.write("t1", answerFile, `{"done":true}`) // before the notice: not an answer to it
		m.server.notice("t1", time.Minute)
		pass(2 * time.Second)
		m.want("t1", leaving, "")
		m.write("t1", answerFile, `{"released":{"cpu":"1"}}`)
		pass(2 * time.Second)
		m.want("t1", leaving, "")
		if n := m.server.lastNotice("t1"); n.Released["cpu"] != "1" || n.Done {
			t.Errorf("partial release was reported as %v", n)
		}
		m.write("t1", answerFile, `{"done":true}`)
		pass(2 * time.Second)
		m.want("t1", reclaimed, codeDone)
		if n := m.server.last("t1").Notice; n.State != noticeDone {
			t.Errorf("notice %v", n)
		}
	})
}

func TestDoneIsReportedBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		m.write("t1", answerFile, `{"done":true}`)
		pass(2 * time.Second)
		m.want("t1", stopping, codeDone)
		if n := m.server.lastNotice("t1"); !n.Done {
			t.Errorf("report %v", n)
		}
		pass(10 * time.Second) // the kill policy's grace
		m.want("t1", reclaimed, codeDone)
	})
}

func TestWithdrawnAfterTheTaskWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		m.write("t1", answerFile, `{"done":true}`)
		pass(2 * time.Second)
		m.server.withdraw("t1")
		if !m.server.saw("WithdrawnTooLate") || m.server.last("t1").Notice.State != noticeDone {
			t.Errorf("the task's word was forgotten: %v", m.server.last("t1"))
		}
		pass(10 * time.Second)
		m.want("t1", reclaimed, codeDone)
	})
}

func TestBadAnswersChangeNothing(t *testing.T) {
	for _, text := range []string{`done`, `{"finished":true}`, `{"released":{"cpu":"lots"}}`, `{"done":true}{}`, `{"released":{"gpu-pool/cpu":"1"}}`,
		strings.Repeat(" ", maxAnswer) + `{"done":true}`} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, plain)
			m.server.launch(assignment("t1"))
			m.server.notice("t1", time.Minute)
			m.write("t1", answerFile, text)
			pass(2 * time.Second)
			m.want("t1", leaving, "")
			if !m.server.saw("BadAnswer") {
				t.Errorf("nothing was said about %.40q", text)
			}
		})
	}
}

func TestCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		var states []string
		tries := 0
		m.callback = func(r *http.Request) (*http.Response, error) {
			if r.URL.String() != "http://localhost:31000/notice" {
				t.Errorf("called %s", r.URL)
			}
			if tries++; tries == 1 {
				return nil, errors.New("connection refused")
			}
			var d noticeDocument
			body, _ := io.ReadAll(r.Body)
			if err := json.Unmarshal(body, &d); err != nil {
				t.Error(err)
			}
			states = append(states, d.State)
			if d.ID == "nt2" {
				return answering(`{"done":true}`), nil
			}
			return answering(""), nil
		}
		way := func(s *polderv1.TaskSpec) {
			s.Notice = &polderv1.NoticeDelivery{Http: "http://localhost:{port:http}/notice"}
		}
		m.server.launch(assignment("t1", way))
		m.server.notice("t1", time.Minute)
		pass(2 * time.Second)
		m.server.withdraw("t1")
		if strings.Join(states, " ") != "open withdrawn" {
			t.Errorf("the callback saw %v", states)
		}
		m.server.launch(assignment("t2", way))
		m.server.notice("t2", time.Minute)
		m.want("t2", reclaimed, codeDone)
	})
}

func TestNoticeSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(10))
		m.server.launch(assignment("t1", func(s *polderv1.TaskSpec) { s.Notice = &polderv1.NoticeDelivery{Signal: "SIGUSR1"} }))
		m.server.notice("t1", time.Minute)
		m.restart()
		m.server.notice("t1", time.Minute)
		pass(time.Second)
		if len(got) != 1 || got[0].signal != 10 {
			t.Errorf("a notice, a restart and the same notice sent %v", got)
		}
		m.server.withdraw("t1")
		if len(got) != 2 {
			t.Errorf("the withdrawal sent %v", got)
		}
	})
}

func TestRepeatedNoticeMovesOnlyLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		pass(30 * time.Second)
		m.server.notice("t1", 10*time.Second) // sooner: refused
		if d := m.server.last("t1").Notice.Deadline.AsTime(); !d.Equal(time.Now().Add(30 * time.Second)) {
			t.Errorf("deadline moved to %v", d)
		}
		m.server.notice("t1", 40*time.Second) // later: taken
		pass(40*time.Second - time.Nanosecond)
		m.want("t1", leaving, "")
		pass(time.Nanosecond)
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestGraceCountsFromReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.clock.jump(time.Hour) // to this machine the server's deadline is long past
		m.server.notice("t1", time.Minute)
		pass(time.Minute - time.Nanosecond)
		m.want("t1", leaving, "")
		pass(time.Nanosecond)
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestClockBehindDoesNotStretchANotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.clock.jump(-time.Hour)
		m.server.notice("t1", time.Minute)
		pass(time.Minute)
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestClockJumpsDoNotMoveADeadline(t *testing.T) {
	for _, jump := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, stubborn)
			m.server.launch(assignment("t1"))
			m.server.notice("t1", time.Minute)
			pass(20 * time.Second)
			m.clock.jump(jump)
			m.restart()
			pass(40*time.Second - time.Nanosecond)
			m.want("t1", leaving, "")
			pass(time.Nanosecond)
			m.want("t1", reclaimed, "Reclaimed")
		})
	}
}

func TestDeadlineSurvivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		for range 5 {
			pass(7 * time.Second)
			m.restart()
		}
		m.halt()
		pass(5 * time.Second)
		m.server.comeBack(1)
		m.start()
		if h := m.server.hello(); len(h.Tasks) != 1 || h.Tasks[0].State != leaving || h.Tasks[0].Notice.GetId() != "nt1" {
			t.Fatalf("hello after the restarts: %v", h)
		}
		pass(20*time.Second - time.Nanosecond)
		m.want("t1", leaving, "")
		pass(time.Nanosecond)
		m.want("t1", reclaimed, "Reclaimed")
		if n := m.runtime.Starts("t1"); n != 1 {
			t.Errorf("started %d times", n)
		}
	})
}

func TestDeadlineThatPassedWhileTheAgentWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		m.halt()
		pass(time.Hour)
		m.start()
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestWorkFinishedUnderNoticeWhileTheAgentWasAway(t *testing.T) {
	for code, want := range map[int]polderv1.TaskState{0: succeeded, 75: reclaimed} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{ExitAfter: 20 * time.Second, ExitCode: code} })
			m.server.launch(assignment("t1"))
			m.server.notice("t1", time.Minute)
			m.halt()
			pass(time.Hour)
			m.start()
			m.want("t1", want, map[bool]string{true: "Reclaimed"}[want == reclaimed])
			if n := m.server.last("t1").Notice; n.State != noticeLeft {
				t.Errorf("notice %v", n)
			}
		})
	}
}

func TestDeadlineThatPassedWhileAgentAndEngineWereAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got signals
		m := newMachine(t, got.script(15))
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		m.halt()
		m.runtime.SetDown(true)
		pass(time.Hour)
		m.start()
		pass(time.Minute)
		m.want("t1", leaving, "")
		m.runtime.SetDown(false)
		pass(time.Minute)
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestDeadlineIsKeptWithoutTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		m.server.hangUp(true)
		pass(2 * time.Minute)
		if s, _ := m.runtime.List(t.Context()); s[0].State != runtime.Exited {
			t.Error("the task outlived its deadline")
		}
		m.server.comeBack(1)
		pass(time.Minute)
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestRebootStartsTheNoticeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		pass(30 * time.Second)
		m.halt()
		m.clock = newTestClock()
		m.clock.boot = "boot-2"
		m.clock.jump(-10 * time.Hour)
		m.start()
		pass(time.Minute - time.Nanosecond)
		m.want("t1", leaving, "")
		pass(time.Nanosecond)
		m.want("t1", reclaimed, "Reclaimed")
	})
}

func TestNoticeWhilePreparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{PrepareTakes: time.Hour} })
		m.server.launch(assignment("t1"))
		m.server.notice("t1", 10*time.Second)
		m.want("t1", starting, "")
		pass(10 * time.Second)
		m.want("t1", reclaimed, "Reclaimed")
		if n := m.runtime.Starts("t1"); n != 0 {
			t.Errorf("started %d times", n)
		}
	})
}

// TestNoticeWithdrawnWhilePreparing: a task that may stay after all starts as if nobody had asked.
func TestNoticeWithdrawnWhilePreparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{PrepareTakes: time.Minute} })
		m.server.launch(assignment("t1"))
		m.server.notice("t1", 10*time.Second)
		pass(time.Second)
		m.server.withdraw("t1")
		pass(30 * time.Second)
		m.want("t1", starting, "")
		pass(30 * time.Second)
		m.want("t1", running, "")
	})
}

func TestNoticeForATaskThatIsStoppedForAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		m.write("t1", answerFile, `{"done":true}`)
		pass(time.Second)
		m.want("t1", stopping, "Done")
		m.server.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Notice{Notice: &polderv1.NoticeTask{
			Grace: durationpb.New(time.Hour), Notice: &polderv1.Notice{Id: "nlater", Task: "t1", Claimant: "corp/ads"},
		}}})
		if n := m.server.lastNotice("later"); !n.Accepted || !n.Deadline.AsTime().Equal(time.Now().Add(time.Hour)) {
			t.Errorf("accepted %v", n)
		}
		if text := m.read("t1", noticeFile); !strings.Contains(text, `"nt1"`) {
			t.Errorf("the task reads %s", text)
		}
		pass(time.Minute)
		m.want("t1", reclaimed, "Done")
	})
}

func TestForcedStopDuringANotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, stubborn)
		m.server.launch(assignment("t1"))
		m.server.notice("t1", time.Minute)
		m.server.stop(&polderv1.StopTask{Task: "t1", Grace: durationpb.New(30 * time.Second)})
		m.want("t1", stopping, "Killed")
		m.server.stop(&polderv1.StopTask{Task: "t1", Force: true})
		m.want("t1", killed, "Killed")
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"done":true}`))
	f.Add([]byte(`{"released":{"cpu":"1"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := decodeAnswer(data)
		if err == nil && a.Released.check() != nil {
			t.Fatal("took an answer that cannot be reported")
		}
	})
}
