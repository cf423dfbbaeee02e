// Command images writes archives of two images into a directory, so that the tests need no registry: localhost/pause:1, and
// localhost/busybox:1 of the machine's own static busybox and the program of e2e/web.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: images PAUSE WEB DIR    PAUSE and WEB are the programs of e2e/pause and e2e/web, linked statically")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(pause, web, dir string) error {
	program, err := os.ReadFile(pause)
	if err != nil {
		return err
	}
	holder := image{"localhost/pause:1", []string{"/pause"}, []file{{"pause", program, ""}}}
	if err := holder.write(filepath.Join(dir, "pause.tar")); err != nil {
		return err
	}
	where, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w; install busybox-static", err)
	}
	if program, err = os.ReadFile(where); err != nil {
		return err
	}
	files := []file{{"bin/busybox", program, ""}}
	if program, err = os.ReadFile(web); err != nil {
		return err
	}
	files = append(files, file{"bin/web", program, ""})
	out, err := exec.Command(where, "--list").Output()
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(out)) {
		if name != "busybox" {
			files = append(files, file{"bin/" + name, nil, "busybox"})
		}
	}
	return image{"localhost/busybox:1", []string{"/bin/sh"}, files}.write(filepath.Join(dir, "busybox.tar"))
}

// file is a program, or a link to one beside it.
type file struct {
	name string
	data []byte
	link string
}

// image has one layer.
type image struct {
	tag        string
	entrypoint []string
	files      []file
}

// write writes an archive that "ctr images import" and "docker load" read.
func (i image) write(name string) error {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, d := range []string{"bin/", "tmp/", "etc/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o777}); err != nil {
			return err
		}
	}
	for _, f := range i.files {
		if err := add(w, f); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	type object = map[string]any
	config, err := json.Marshal(object{"architecture": runtime.GOARCH, "os": "linux", "config": object{"Entrypoint": i.entrypoint, "Env": []string{"PATH=/bin"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))}}})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]object{{"Config": "config.json", "RepoTags": []string{i.tag}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	var all bytes.Buffer
	w = tar.NewWriter(&all)
	for _, f := range []file{{"config.json", config, ""}, {"layer.tar", layer.Bytes(), ""}, {"manifest.json", manifest, ""}} {
		if err := add(w, f); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, all.Bytes(), 0o644)
}

func add(w *tar.Writer, f file) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o755, Size: int64(len(f.data))}
	if f.link != "" {
		h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.link, 0
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(f.data)
	return err
}
