package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serve serves files by name.
func serve(t *testing.T, files map[string][]byte) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
			return
		}
		data, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 1
		}
		h.Mode = 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

func zipOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return b.Bytes()
}

// TestInto fetches and unpacks, and writes nothing outside of the directory.
func TestInto(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	url := serve(t, map[string][]byte{
		"/run":     []byte("#!/bin/sh\n"),
		"/a.tgz":   tarOf(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, reg("d/f"), link("d/l", "f")),
		"/up.tgz":  tarOf(t, reg("../f")),
		"/ln.tgz":  tarOf(t, link("l", "/etc")),
		"/ln2.tgz": tarOf(t, link("l", ".."), reg("l/f")),
		"/a.zip":   zipOf(t, "d/f"),
		"/up.zip":  zipOf(t, "../f"),
	})
	tests := []struct {
		name, want, err string
		a               Artifact
	}{
		{"plain", "run", "", Artifact{URI: url + "/run", Executable: true}},
		{"named", "bin/go", "", Artifact{URI: url + "/run", Path: "bin/go"}},
		{"tar", "d/f", "", Artifact{URI: url + "/a.tgz", Extract: true}},
		{"tar link", "d/l", "", Artifact{URI: url + "/a.tgz", Extract: true}},
		{"zip", "d/f", "", Artifact{URI: url + "/a.zip", Extract: true}},
		{"not unpacked", "a.zip", "", Artifact{URI: url + "/a.zip"}},
		{"tar up", "", "outside", Artifact{URI: url + "/up.tgz", Extract: true}},
		{"tar link out", "", "outside", Artifact{URI: url + "/ln.tgz", Extract: true}},
		{"tar link up", "", "outside", Artifact{URI: url + "/ln2.tgz", Extract: true}},
		{"zip up", "", "outside", Artifact{URI: url + "/up.zip", Extract: true}},
		{"path up", "", "no file name", Artifact{URI: url + "/run", Path: "../x"}},
		{"no name", "", "no file name", Artifact{URI: url}},
		{"not there", "", "404", Artifact{URI: url + "/nothing"}},
		{"file", "", "neither http nor https", Artifact{URI: "file:///etc/passwd"}},
		{"redirect to a file", "", "neither http nor https", Artifact{URI: url + "/away"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sandbox")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Into(t.Context(), dir, test.a)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				if _, err := os.Stat(filepath.Join(dir, "../f")); err == nil {
					t.Error("a file was written outside")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(dir, test.want))
			if err != nil {
				t.Fatal(err)
			}
			if test.a.Executable && info.Mode().Perm()&0o111 == 0 {
				t.Errorf("mode is %v", info.Mode())
			}
		})
	}
}
