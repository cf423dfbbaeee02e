package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Bounds on one task's artifacts.
const (
	maxBytes = 4 << 30          // of one download, and of what one archive unpacks to
	maxFiles = 100_000          // in an archive
	patience = 10 * time.Minute // for one download
)

// Artifact is a file to be fetched; the fields are those of the API.
type Artifact struct {
	URI, Path           string
	Executable, Extract bool
}

// client follows redirects, but only from http to http or https.
var client = &http.Client{CheckRedirect: func(r *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	return checkScheme(r.URL)
}}

func checkScheme(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s is neither http nor https", u.Redacted())
	}
	return nil
}

// Into fetches an artifact into a directory. Nothing is written outside of it, links included.
func Into(ctx context.Context, dir string, a Artifact) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u, err := url.Parse(a.URI)
	if err == nil {
		err = checkScheme(u)
	}
	if err != nil {
		return fmt.Errorf("artifact: %w", err)
	}
	name := a.Path
	if name == "" {
		name = path.Base(u.Path)
	}
	if name == "." || name == "/" || !filepath.IsLocal(name) {
		return fmt.Errorf("artifact %s: no file name in it; give it a path", u.Redacted())
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = download(ctx, root, u, name, a.Executable)
	if err == nil && a.Extract {
		err = extract(root, name)
	}
	if err != nil {
		return fmt.Errorf("artifact %s: %w", u.Redacted(), err)
	}
	return nil
}

func download(ctx context.Context, root *os.Root, u *url.URL, name string, executable bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", res.Status)
	}
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	return write(root, name, mode, res.Body, maxBytes)
}

// write makes a file, and the directories it is in.
func write(root *os.Root, name string, mode os.FileMode, from io.Reader, most int64) error {
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(from, most+1))
	if n > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// extract unpacks an archive beside itself; what is none is left alone.
func extract(root *os.Root, name string) error {
	dir := filepath.Dir(name)
	switch {
	case strings.HasSuffix(name, ".zip"):
		return unzip(root, name, dir)
	case strings.HasSuffix(name, ".tar"), strings.HasSuffix(name, ".tar.gz"), strings.HasSuffix(name, ".tgz"):
		return untar(root, name, dir)
	}
	return nil
}
