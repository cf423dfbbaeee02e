package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

// built has what "make" made of ui in app, or only the page that says that it was not made.
//
//go:embed all:ui/dist
var built embed.FS

// file is one file of the program for the browser.
type file struct {
	kind   string
	plain  []byte
	packed []byte // gzip
	tag    string
}

// readFiles reads the program, by name. Without one, index.html is the page that says so.
func readFiles(from fs.FS) (map[string]file, error) {
	out := map[string]file{}
	for _, dir := range []string{"ui/dist/app", "ui/dist/app/assets"} {
		entries, err := fs.ReadDir(from, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if out[e.Name()], err = readFile(from, path.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	if _, ok := out["index.html"]; ok {
		return out, nil
	}
	missing, err := readFile(from, "ui/dist/missing.html")
	out["index.html"] = missing
	return out, err
}

func readFile(from fs.FS, name string) (file, error) {
	plain, err := fs.ReadFile(from, name)
	if err != nil {
		return file{}, err
	}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is a good one
	if _, err = w.Write(plain); err == nil {
		err = w.Close()
	}
	sum := sha256.Sum256(plain)
	return file{mime.TypeByExtension(path.Ext(name)), plain, packed.Bytes(), `"` + hex.EncodeToString(sum[:8]) + `"`}, err
}

// asset serves a file. Names of assets carry a digest of their content, so browsers may keep them.
func (c *console) asset(w http.ResponseWriter, r *http.Request, name string) {
	f, ok := c.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", f.tag)
	h.Set("Cache-Control", "no-cache")
	if name != "index.html" {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	content := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		content = f.packed
	}
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(content) // the browser is gone if this fails
}
