package volume

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"polder.dev/polder/agent/runtime"
)

func spec(id, name string) runtime.Spec {
	return runtime.Spec{TaskID: id, Role: "corp/db", Node: "n1", Volume: name, Labels: map[string]string{"app": "pg"}, Funded: runtime.Guaranteed}
}

func start(t *testing.T, r *Runtime, s runtime.Spec) {
	t.Helper()
	if err := r.Prepare(t.Context(), s, nil); err != nil {
		t.Fatal(err)
	}
	if st, err := r.Start(t.Context(), s); err != nil || st.State != runtime.Running || st.TaskID != s.TaskID {
		t.Fatalf("%+v, %v", st, err)
	}
}

func only(t *testing.T, r *Runtime) runtime.Status {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("list %+v, %v", list, err)
	}
	return list[0]
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDirectoryOutlastsRuntimes: it is made once, open to whoever mounts it and to nobody else, and goes when it is killed.
func TestDirectoryOutlastsRuntimes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volumes")
	r := New(dir)
	if list, err := r.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("before there is any: %v, %v", list, err)
	}
	start(t, r, spec("v1.0", "data"))
	data := Data(dir, "v1.0")
	write(t, filepath.Join(data, "file"))
	for path, mode := range map[string]os.FileMode{dir: 0o700, data: 0o777} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %o", path, info.Mode(), err, mode)
		}
	}
	r.Close()
	if _, err := r.Wait(t.Context(), "v1.0"); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("wait after the close: %v", err)
	}
	r = New(dir)
	st := only(t, r)
	if st.State != runtime.Running || st.Role != "corp/db" || st.Node != "n1" || st.Labels["app"] != "pg" || st.Funded != runtime.Guaranteed || st.StartedAt.IsZero() {
		t.Errorf("after a restart: %+v", st)
	}
	start(t, r, spec("v1.0", "data"))
	if got, err := r.Directory("data"); err != nil || got != data {
		t.Errorf("directory %q, %v", got, err)
	}
	if text, err := os.ReadFile(filepath.Join(data, "file")); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	ended := make(chan runtime.Exit, 1)
	go func() {
		e, _ := r.Wait(context.WithoutCancel(t.Context()), "v1.0")
		ended <- e
	}()
	if err := r.Kill(t.Context(), "v1.0"); err != nil {
		t.Fatal(err)
	}
	if e := <-ended; e.Signal != syscall.SIGKILL || e.Lost || e.FinishedAt.IsZero() {
		t.Errorf("exit %+v", e)
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was in it is still there: %v", err)
	}
	r = New(dir)
	if st := only(t, r); st.State != runtime.Exited || st.Exit.Code != 137 {
		t.Errorf("after its end and a restart: %+v", st)
	}
	for range 2 {
		if err := r.Remove(t.Context(), "v1.0"); err != nil {
			t.Error(err)
		}
	}
	if list, err := r.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("after its removal: %v, %v", list, err)
	}
}

// TestKillGoesOn: a deletion that was cut off is none, and nobody mounts what is left; the next one ends it.
func TestKillGoesOn(t *testing.T) {
	dir := t.TempDir()
	r := New(dir)
	start(t, r, spec("v1.0", "data"))
	write(t, filepath.Join(Data(dir, "v1.0"), "file"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Kill(ctx, "v1.0"); !errors.Is(err, context.Canceled) {
		t.Fatalf("kill: %v", err)
	}
	r = New(dir)
	if st := only(t, r); st.State != runtime.Running {
		t.Errorf("cut off: %+v", st)
	}
	if err := os.MkdirAll(filepath.Join(dir, "v1.0", deletingDir), 0o700); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(Data(dir, "v1.0"))
	if _, err := r.Directory("data"); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("what is being deleted may be mounted: %v", err)
	}
	if err := r.Kill(t.Context(), "v1.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "v1.0", deletingDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := r.Kill(t.Context(), "v1.0"); err != nil {
		t.Errorf("killing it again: %v", err)
	}
}

// TestOnlyKillEnds: no signal and no removal touches a volume.
func TestOnlyKillEnds(t *testing.T) {
	dir := t.TempDir()
	r := New(dir)
	start(t, r, spec("v1.0", "data"))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := r.Signal(t.Context(), "v1.0", sig); err != nil {
			t.Error(err)
		}
	}
	if err := r.Remove(t.Context(), "v1.0"); !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("remove: %v", err)
	}
	if st := only(t, r); st.State != runtime.Running {
		t.Errorf("%+v", st)
	}
	_, exec := r.Exec(t.Context(), "v1.0", runtime.ExecOptions{})
	_, usage := r.Usage(t.Context(), "v1.0")
	for what, err := range map[string]error{
		"logs": r.Logs(t.Context(), "v1.0", runtime.LogOptions{}, io.Discard, nil), "exec": exec, "usage": usage,
		"attach": r.Attach(t.Context(), "v1.0", runtime.AttachOptions{}),
	} {
		if !errors.Is(err, runtime.ErrUnsupported) || !strings.Contains(err.Error(), "volume data") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestUnknown(t *testing.T) {
	r := New(t.TempDir())
	_, wait := r.Wait(t.Context(), "nobody")
	_, directory := r.Directory("nobody")
	for what, err := range map[string]error{
		"wait": wait, "directory": directory, "kill": r.Kill(t.Context(), "nobody"), "signal": r.Signal(t.Context(), "nobody", syscall.SIGTERM), "climbing": r.Kill(t.Context(), "../x"),
	} {
		if !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, s := range []runtime.Spec{spec("../x", "data"), spec("v1.0", "")} {
		if _, err := r.Start(t.Context(), s); !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("start %+v: %v", s, err)
		}
	}
}

// TestNewestOfAName: a volume the server has given up does not come before the one that has its name now.
func TestNewestOfAName(t *testing.T) {
	dir := t.TempDir()
	r := New(dir)
	start(t, r, spec("v9.0", "data"))
	start(t, r, spec("v1.0", "data"))
	if got, err := r.Directory("data"); err != nil || got != Data(dir, "v1.0") {
		t.Errorf("directory %q, %v", got, err)
	}
}

// TestStartCutOff: what a start has left unfinished is no volume.
func TestStartCutOff(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, unfinished+"1", dataDir)
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if list, err := New(dir).List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("list %v, %v", list, err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"spec":{"taskID":"v1.0","role":"corp/db","volume":"data"},"created":"2026-03-02T12:00:00Z"}`))
	f.Add([]byte(`{"spec":{"taskID":"v1.0","role":"corp/db"}}`))
	f.Add([]byte(`{"spec":{"taskID":"v1.0","role":"corp/db","volume":"data"},"exit":{"Code":137},"more":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeRecord(data); err == nil && (r.Spec.Volume == "" || r.Spec.Validate() != nil) {
			t.Errorf("accepted %s", data)
		}
	})
}
