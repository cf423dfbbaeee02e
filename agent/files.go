package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// Bounds of a listing: how many files of a directory are listed, and how many go into one message.
const (
	maxFiles   = 10_000
	filesChunk = 200
)

// errNotFile is about what can be listed or read and is neither directory nor regular file.
var errNotFile = errors.New("not a regular file")

// inSandbox opens a path below a task's sandbox. Whatever the task put there, nothing outside is reached: links are followed as far as they stay
// inside, and what blocks when it is opened, such as a pipe, does not.
func (a *Agent) inSandbox(task, name string, use func(*os.Root, *os.File, fs.FileInfo) error) error {
	t, err := a.relayed(task)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(sandboxOf(a.c.Dir, t.rec.Assignment))
	if err != nil {
		return fmt.Errorf("task %s has no sandbox here any more: %w", task, err)
	}
	defer root.Close()
	if name = strings.TrimLeft(path.Clean(name), "/"); name == "" {
		name = "."
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return use(root, f, info)
}

// relayFiles lists a directory of a sandbox.
func (a *Agent) relayFiles(stream relayStream, m *polderv1.ListFilesRequest) error {
	return a.inSandbox(m.Task, m.Path, func(root *os.Root, f *os.File, info fs.FileInfo) error {
		if !info.IsDir() {
			return &fs.PathError{Op: "list", Path: m.Path, Err: syscall.ENOTDIR}
		}
		names, err := f.Readdirnames(maxFiles)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		slices.Sort(names)
		dir, _ := strings.CutPrefix(path.Clean("/"+m.Path), "/")
		for part := range slices.Chunk(names, filesChunk) {
			up := &polderv1.RelayUp{}
			for _, name := range part {
				if x := fileAt(root, path.Join(dir, name)); x != nil {
					up.Files = append(up.Files, x)
				}
			}
			if err := stream.Send(up); err != nil {
				return err
			}
		}
		return nil
	})
}

// fileAt says what is at a path: what a link leads to, or the link itself where that is outside. It is nil when it is gone by now.
func fileAt(root *os.Root, name string) *polderv1.File {
	info, err := root.Stat(name)
	if err != nil {
		info, err = root.Lstat(name)
	}
	if err != nil {
		return nil
	}
	out := &polderv1.File{Name: path.Base(name), Size: uint64(info.Size()), Modified: timestamppb.New(info.ModTime())}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		out.Mode, out.Uid, out.Gid, out.Links = s.Mode, s.Uid, s.Gid, uint32(s.Nlink)
	}
	return out
}

// relayFile sends a piece of a file in a sandbox: what there is of it now, not what is appended meanwhile.
func (a *Agent) relayFile(stream relayStream, m *polderv1.ReadFileRequest) error {
	return a.inSandbox(m.Task, m.Path, func(_ *os.Root, f *os.File, info fs.FileInfo) error {
		if !info.Mode().IsRegular() {
			return &fs.PathError{Op: "read", Path: m.Path, Err: errNotFile}
		}
		size := uint64(info.Size())
		if err := stream.Send(&polderv1.RelayUp{Size: size}); err != nil {
			return err
		}
		n := size - min(size, m.Offset)
		if m.Length != nil {
			n = min(n, m.GetLength())
		}
		up := &relayWriters{stream: stream, turn: make(chan struct{}, 1)}
		_, err := io.Copy(up.writer(false), io.NewSectionReader(f, int64(min(size, m.Offset)), int64(n)))
		return err
	})
}

// codeOf is the code of a refusal that clients tell apart from others.
func codeOf(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "NotFound"
	case errors.Is(err, errNotFile), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENXIO), isEscape(err):
		return "Invalid"
	}
	return ""
}

// isEscape reports whether a path was refused because it leads outside. The standard library has no name for that error.
func isEscape(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && p.Err != nil && p.Err.Error() == "path escapes from parent"
}
