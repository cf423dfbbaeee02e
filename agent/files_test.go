package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// files collects what a relay says of files, to its last message.
func files(p *relayPipe) (names []string, data string, size uint64, last *polderv1.RelayUp) {
	for m := range p.up {
		last = m
		for _, f := range m.Files {
			names = append(names, f.Name)
		}
		data, size = data+string(m.Data), size+m.Size
		if m.Id == "" && len(m.Files) == 0 && len(m.Data) == 0 && m.Size == 0 {
			break
		}
	}
	close(p.hung)
	return names, data, size, last
}

// TestFilesOfASandbox: a sandbox is listed and read, and nothing outside of it is, whatever the task puts there.
func TestFilesOfASandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, plain)
		m.server.launch(assignment("t1"))
		m.server.launch(assignment("t2"))
		m.write("t1", "stdout", "hello world\n")
		m.write("t2", "secret", "not yours")
		sandbox := filepath.Join(m.dir, "sandboxes", "t1")
		outside := filepath.Join(t.TempDir(), "outside")
		for _, err := range []error{
			os.MkdirAll(filepath.Join(sandbox, "sub", "deep"), 0o755), os.WriteFile(filepath.Join(sandbox, "sub", "a"), []byte("a"), 0o600),
			os.WriteFile(outside, []byte("outside"), 0o644), os.Symlink(outside, filepath.Join(sandbox, "link-out")),
			os.Symlink("../t2", filepath.Join(sandbox, "link-up")), os.Symlink("sub/a", filepath.Join(sandbox, "link-in")),
			syscall.Mkfifo(filepath.Join(sandbox, "pipe"), 0o644),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		read := func(path string) *relayPipe {
			return m.server.openRelay(&polderv1.OpenRelay{Id: "r", ReadFile: &polderv1.ReadFileRequest{Task: "t1", Path: path}})
		}
		list := func(path string) *relayPipe {
			return m.server.openRelay(&polderv1.OpenRelay{Id: "r", ListFiles: &polderv1.ListFilesRequest{Task: "t1", Path: path}})
		}
		for path, want := range map[string]string{"": "link-in link-out link-up pipe stdout sub", "/sub/": "a deep", "sub/deep": "", "sub/../sub": "a deep"} {
			if names, _, _, last := files(list(path)); strings.Join(names, " ") != want || last.Error != "" {
				t.Errorf("%q lists %q, %v; want %q", path, names, last, want)
			}
		}
		for path, want := range map[string]string{"stdout": "hello world\n", "link-in": "a", "./sub//a": "a", "/stdout": "hello world\n"} {
			if _, data, size, last := files(read(path)); data != want || size != uint64(len(want)) || last.Error != "" {
				t.Errorf("%q reads %q of %d, %v", path, data, size, last)
			}
		}
		p := m.server.openRelay(&polderv1.OpenRelay{Id: "r", ReadFile: &polderv1.ReadFileRequest{Task: "t1", Path: "stdout", Offset: 6, Length: new(uint64(3))}})
		if _, data, size, last := files(p); data != "wor" || size != 12 || last.Error != "" {
			t.Errorf("a piece is %q of %d, %v", data, size, last)
		}
		for path, code := range map[string]string{
			"link-out": "Invalid", "link-up/secret": "Invalid", "../t2/secret": "Invalid", "sub/../../t2/secret": "Invalid", "/../../../etc/passwd": "NotFound",
			"missing": "NotFound", "sub": "Invalid", "pipe": "Invalid", "stdout/x": "Invalid",
		} {
			if _, data, _, last := files(read(path)); last.Code != code || last.Error == "" || data != "" {
				t.Errorf("%q reads %q, %v; want %s", path, data, last, code)
			}
		}
		for path, code := range map[string]string{"link-up": "Invalid", "..": "Invalid", "stdout": "Invalid", "missing": "NotFound"} {
			if names, _, _, last := files(list(path)); last.Code != code || names != nil {
				t.Errorf("%q lists %q, %v; want %s", path, names, last, code)
			}
		}
		if _, _, _, last := files(m.server.openRelay(&polderv1.OpenRelay{Id: "r", ListFiles: &polderv1.ListFilesRequest{Task: "ghost"}})); last.Error == "" {
			t.Error("the sandbox of nobody is listed")
		}
	})
}
