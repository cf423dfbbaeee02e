package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// accounts are what the image of agnhost says about users: a test asks for them.
var accounts = []file{
	{"etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nuser-defined-in-image:x:1000:1000::/home:/bin/sh\n"), ""},
	{"etc/group", []byte("root:x:0:root\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"), ""},
}

// addUpstream adds the images of Kubernetes' own tests that can be made here: agnhost, busybox and pause, under every name that
// the tests have for them. Their shell is the machine's bash: busybox' own would drop variables with names that are none in a shell, and runs
// its own nc, which resolves no names. The first has the machine's curl, too, since many tests call that.
func addUpstream(all map[string]image, holder, shell image, agnhost, tests, source string) error {
	out, err := exec.Command(tests, "--list-images").Output()
	if err != nil {
		return fmt.Errorf("asking %s for its images: %w", tests, err)
	}
	tags := map[string][]string{}
	for _, name := range strings.Fields(string(out)) {
		what, _, _ := strings.Cut(filepath.Base(name), ":")
		if strings.HasPrefix(name, "registry.k8s.io/") {
			tags[what] = append(tags[what], name)
		}
	}
	program, err := os.ReadFile(agnhost)
	if err != nil {
		return err
	}
	bash, err := withLibraries("bash")
	if err != nil {
		return err
	}
	curl, err := withLibraries("curl")
	if err != nil {
		return err
	}
	tools := append(slices.Clone(bash), shell.files...)
	for i, f := range tools {
		switch f.name {
		case "bin/nc":
			tools[i].link = "web"
		case "bin/sh":
			tools[i].link = "/" + bash[0].name
		}
	}
	host := slices.Concat([]file{{"agnhost", program, ""}, {"agnhost-2", nil, "agnhost"}}, accounts, tools, curl)
	for _, name := range []string{"localhost.crt", "localhost.key"} { // of a server that it can be
		data, err := os.ReadFile(filepath.Join(source, "test/images/agnhost/porter", name))
		if err != nil {
			return err
		}
		host = append(host, file{name, data, ""})
	}
	all["agnhost.tar"] = image{tags: tags["agnhost"], entrypoint: []string{"/agnhost"}, command: []string{"pause"}, files: host}
	all["upstream-busybox.tar"] = image{tags: tags["busybox"], command: []string{"sh"}, files: tools}
	all["upstream-pause.tar"] = image{tags: tags["pause"], entrypoint: holder.entrypoint, files: holder.files}
	return nil
}

// withLibraries is a program of the machine's and what it is linked with, each at its own place, and what resolves names for it.
func withLibraries(name string) ([]file, error) {
	where, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("ldd", where).Output()
	if err != nil {
		return nil, fmt.Errorf("the libraries of %s: %w", where, err)
	}
	paths := []string{where}
	for _, word := range strings.Fields(string(out)) {
		if filepath.IsAbs(word) {
			paths = append(paths, word)
		}
	}
	for _, path := range slices.Clone(paths) {
		if strings.HasPrefix(filepath.Base(path), "libc.so.") {
			more, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "libnss_[df]*.so.2")) // none is fine: they may be in the library itself
			paths = append(paths, more...)
		}
	}
	var files []file
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{strings.TrimPrefix(path, "/"), data, ""})
	}
	return files, nil
}
