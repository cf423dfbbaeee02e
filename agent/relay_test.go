package agent

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"polder.dev/polder/agent/runtime"
	"polder.dev/polder/agent/runtime/fake"
	polderv1 "polder.dev/polder/api/polder/v1"
)

type relayPipe = pipe[polderv1.RelayUp, polderv1.RelayDown]

func (s *server) openRelay(m *polderv1.OpenRelay) *relayPipe {
	s.say(&polderv1.ServerMessage{Body: &polderv1.ServerMessage_Relay{Relay: m}})
	return <-s.relays
}

// collect reads a relay to its last message.
func collect(t *testing.T, p *relayPipe) (id, out, errOut string, last *polderv1.RelayUp) {
	t.Helper()
	id = (<-p.up).Id
	for {
		m := <-p.up
		if m.Data == nil {
			close(p.hung)
			return id, out, errOut, m
		}
		if m.Stderr {
			errOut += string(m.Data)
		} else {
			out += string(m.Data)
		}
	}
}

func TestRelayLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("0123456789\n", 10000)
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{Stdout: long, Stderr: "oops\n"} })
		m.server.launch(assignment("t1"))
		id, out, errOut, last := collect(t, m.server.openRelay(&polderv1.OpenRelay{Id: "r1", Logs: &polderv1.LogsRequest{Task: "t1"}}))
		if id != "r1" || out != long || errOut != "oops\n" || last.Error != "" {
			t.Errorf("relay %s: %d bytes, %q, last %v", id, len(out), errOut, last)
		}
		_, out, errOut, _ = collect(t, m.server.openRelay(&polderv1.OpenRelay{Id: "r2", Logs: &polderv1.LogsRequest{Task: "t1", Stream: "stdout", Tail: 1}}))
		if out != "0123456789\n" || errOut != "" {
			t.Errorf("last line of stdout: %q %q", out, errOut)
		}
	})
}

func TestRelayFollowsToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script { return fake.Script{Stdout: "hello\n"} })
		m.server.launch(assignment("t1"))
		p := m.server.openRelay(&polderv1.OpenRelay{Id: "r1", Logs: &polderv1.LogsRequest{Task: "t1", Follow: true}})
		synctest.Wait()
		m.server.stop(&polderv1.StopTask{Task: "t1"})
		if _, out, _, last := collect(t, p); out != "hello\n" || last.Error != "" {
			t.Errorf("%q, %v", out, last)
		}
		// A reader that goes away ends the stream.
		p = m.server.openRelay(&polderv1.OpenRelay{Id: "r2", Logs: &polderv1.LogsRequest{Task: "t1", Follow: true}})
		close(p.hung)
	})
}

func TestRelayExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script {
			return fake.Script{Exec: func(o runtime.ExecOptions) (int, error) {
				size := <-o.Resize
				data, err := io.ReadAll(o.Stdin)
				if size.Cols != 80 {
					t.Errorf("terminal %v", size)
				}
				_, _ = o.Stdout.Write([]byte(strings.ToUpper(string(data))))
				return 7, err
			}}
		})
		m.server.launch(assignment("t1"))
		p := m.server.openRelay(&polderv1.OpenRelay{Id: "r1", Exec: &polderv1.ExecStart{Task: "t1", Command: []string{"tr"}, Tty: true}})
		p.down <- &polderv1.RelayDown{Resize: &polderv1.TerminalSize{Rows: 24, Columns: 80}}
		p.down <- &polderv1.RelayDown{Stdin: []byte("hello ")}
		p.down <- &polderv1.RelayDown{Stdin: []byte("world"), CloseStdin: true}
		if _, out, _, last := collect(t, p); out != "HELLO WORLD" || last.GetExitCode() != 7 || last.Error != "" {
			t.Errorf("%q, %v", out, last)
		}
	})
}

// TestRelayAttach: a sender that goes away leaves the input open; one that closes it ends it; the last message has the task's
// own exit code.
func TestRelayAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, func(runtime.Spec) fake.Script {
			return fake.Script{Main: func(c fake.Console) int {
				data, err := io.ReadAll(c.Stdin)
				if err != nil {
					return 1
				}
				_, _ = c.Stdout.Write([]byte(strings.ToUpper(string(data))))
				return 7
			}}
		})
		a := assignment("t1")
		a.Spec.Stdin = true
		m.server.launch(a)
		first := m.server.openRelay(&polderv1.OpenRelay{Id: "r1", Attach: &polderv1.AttachStart{Task: "t1", Stdin: true}})
		<-first.up
		first.down <- &polderv1.RelayDown{Stdin: []byte("hello ")}
		synctest.Wait()
		close(first.hung)
		synctest.Wait()
		second := m.server.openRelay(&polderv1.OpenRelay{Id: "r2", Attach: &polderv1.AttachStart{Task: "t1", Stdin: true}})
		second.down <- &polderv1.RelayDown{Stdin: []byte("world"), CloseStdin: true}
		if _, out, _, last := collect(t, second); out != "HELLO WORLD" || last.GetExitCode() != 7 || last.Error != "" {
			t.Errorf("%q, %v", out, last)
		}
	})
}

func TestRelayOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		for _, o := range []*polderv1.OpenRelay{
			{Id: "r"}, {Id: "r", Logs: &polderv1.LogsRequest{Task: "ghost"}}, {Id: "r", Exec: &polderv1.ExecStart{Task: "ghost"}},
			{Id: "r", Attach: &polderv1.AttachStart{Task: "ghost"}},
		} {
			if _, _, _, last := collect(t, m.server.openRelay(o)); last.Error == "" || last.ExitCode != nil {
				t.Errorf("%v ended with %v", o, last)
			}
		}
	})
}
