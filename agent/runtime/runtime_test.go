package runtime

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func valid() Spec {
	return Spec{TaskID: "t-1", Role: "corp/search", Sandbox: "/s", CPU: 500,
		Ports: []PortMap{{Name: "web-ui", HostPort: 31000, ContainerPort: 80}, {HostPort: 31001, Protocol: "udp"}}}
}

func TestValidate(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*Spec)
		want  string // in the error; "" is valid
	}{
		{"fine", func(*Spec) {}, ""},
		{"root role", func(s *Spec) { s.Role = "" }, ""},
		{"no id", func(s *Spec) { s.TaskID = "" }, "taskID"},
		{"id with slash", func(s *Spec) { s.TaskID = "a/b" }, "taskID"},
		{"id too long", func(s *Spec) { s.TaskID = strings.Repeat("x", 121) }, "taskID"},
		{"role climbs", func(s *Spec) { s.Role = "corp/../x" }, "role"},
		{"role has a hole", func(s *Spec) { s.Role = "corp//x" }, "role"},
		{"env name", func(s *Spec) { s.Env = map[string]string{"A=B": "c"} }, "env"},
		{"env zero", func(s *Spec) { s.Env = map[string]string{"A": "c\x00"} }, "env"},
		{"relative sandbox", func(s *Spec) { s.Sandbox = "s" }, "sandbox"},
		{"relative workdir", func(s *Spec) { s.WorkDir = "w" }, "workDir"},
		{"mount below the sandbox", func(s *Spec) { s.Mounts = []Mount{{Source: "/a", Target: "b"}} }, ""},
		{"mount beside the sandbox", func(s *Spec) { s.Mounts = []Mount{{Source: "/a", Target: "../b"}} }, "mount"},
		{"mount below no sandbox", func(s *Spec) { s.Sandbox, s.Mounts = "", []Mount{{Source: "/a", Target: "b"}} }, "mount"},
		{"relative source", func(s *Spec) { s.Mounts = []Mount{{Source: "a", Target: "/b"}} }, "mount"},
		{"negative", func(s *Spec) { s.MemoryBytes = -1 }, "memoryBytes=-1"},
		{"hard but how much", func(s *Spec) { s.CPU, s.CPUHard = 0, true }, "cpuHard"},
		{"funded", func(s *Spec) { s.Funded = "lent" }, "funded"},
		{"signal", func(s *Spec) { s.StopSignal = "SIGNOPE" }, "stopSignal"},
		{"port 0", func(s *Spec) { s.Ports[0].HostPort = 0 }, "hostPort"},
		{"protocol", func(s *Spec) { s.Ports[0].Protocol = "sctp" }, "protocol"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := valid()
			c.spoil(&s)
			err := s.Validate()
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestEnviron(t *testing.T) {
	s := valid()
	s.Node = "n1"
	s.Env = map[string]string{"POLDER_SANDBOX": "/forged", "A": "b"}
	got := s.Environ("/polder", true)
	want := []string{"A=b", "POLDER_NODE=n1", "POLDER_PORT1=31001", "POLDER_PORT_WEB_UI=80", "POLDER_ROLE=corp/search",
		"POLDER_SANDBOX=/polder", "POLDER_TASK=t-1"}
	if !slices.Equal(got, want) {
		t.Errorf("environment\n%v\nwant\n%v", got, want)
	}
	if got := s.Environ("/s", false); !slices.Contains(got, "POLDER_PORT_WEB_UI=31000") {
		t.Errorf("a process listens on the machine's port: %v", got)
	}
}

func TestErrorsMatchKindAndCause(t *testing.T) {
	cause := errors.New("pull access denied")
	err := error(&Error{Kind: ErrImage, Op: "pull x", Task: "t1", Cause: cause, Next: "log in"})
	if !errors.Is(err, ErrImage) || !errors.Is(err, cause) || errors.Is(err, ErrStart) {
		t.Error("kind or cause is not found")
	}
	if want := "task t1: pull x: pull access denied; log in"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestExitOf(t *testing.T) {
	for code, sig := range map[int]syscall.Signal{0: 0, 7: 0, 128: 0, 137: syscall.SIGKILL, 143: syscall.SIGTERM, 255: 0} {
		if e := ExitOf(code, time.Time{}); e.Signal != sig || e.Code != code || e.Success() != (code == 0) {
			t.Errorf("code %d: %+v", code, e)
		}
	}
	if e := LostExit("rebooted"); e.Success() || e.String() != "lost: rebooted" {
		t.Errorf("lost exit: %v", e)
	}
}

func FuzzParseSignal(f *testing.F) {
	for _, s := range []string{"", "TERM", "sigusr1", "9", "0", "65", "SIG"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		sig, err := ParseSignal(name)
		if err != nil {
			return
		}
		if again, err := ParseSignal(SignalName(sig)); err != nil || again != sig {
			t.Errorf("%q is %d, whose name %q is %d (%v)", name, sig, SignalName(sig), again, err)
		}
	})
}
