// Command images writes archives of images into a directory, so that the tests need no registry: localhost/pause:1, and
// localhost/busybox:1 of the machine's own static busybox and the program of e2e/web. Given the programs of Kubernetes' own tests, it
// writes theirs too, by the names that they are known by.
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
	if len(os.Args) != 4 && len(os.Args) != 7 {
		fmt.Fprintln(os.Stderr, "usage: images PAUSE WEB DIR [AGNHOST TESTS SOURCE]    PAUSE and WEB are the programs of e2e/pause and e2e/web, linked statically; AGNHOST and TESTS those of Kubernetes' own tests, SOURCE its module")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(pause, web, dir string, upstream []string) error {
	program, err := os.ReadFile(pause)
	if err != nil {
		return err
	}
	holder := image{tags: []string{"localhost/pause:1"}, entrypoint: []string{"/pause"}, files: []file{{"pause", program, ""}}}
	tools, err := busybox()
	if err != nil {
		return err
	}
	if program, err = os.ReadFile(web); err != nil {
		return err
	}
	shell := image{tags: []string{"localhost/busybox:1"}, entrypoint: []string{"/bin/sh"}, files: append(tools, file{"bin/web", program, ""})}
	all := map[string]image{"pause.tar": holder, "busybox.tar": shell}
	if len(upstream) > 0 {
		if err := addUpstream(all, holder, shell, upstream[0], upstream[1], upstream[2]); err != nil {
			return err
		}
	}
	for name, i := range all {
		if err := i.write(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// busybox is the machine's own, under all of its names.
func busybox() ([]file, error) {
	where, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w; install busybox-static", err)
	}
	program, err := os.ReadFile(where)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(where, "--list").Output()
	if err != nil {
		return nil, err
	}
	files := []file{{"bin/busybox", program, ""}}
	for _, name := range strings.Fields(string(out)) {
		if name != "busybox" {
			files = append(files, file{"bin/" + name, nil, "busybox"})
		}
	}
	return files, nil
}

// file is a program, or a link to one beside it.
type file struct {
	name string
	data []byte
	link string
}

// image has one layer.
type image struct {
	tags       []string
	entrypoint []string
	command    []string
	files      []file
}

// write writes an archive that "ctr images import" and "docker load" read.
func (i image) write(name string) error {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, d := range []string{"bin/", "tmp/", "etc/", "uploads/"} {
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
	config, err := json.Marshal(object{"architecture": runtime.GOARCH, "os": "linux", "config": object{"Entrypoint": i.entrypoint, "Cmd": i.command, "Env": []string{"PATH=/usr/bin:/bin"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))}}})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]object{{"Config": "config.json", "RepoTags": i.tags, "Layers": []string{"layer.tar"}}})
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
