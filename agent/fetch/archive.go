package fetch

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// budget is what an archive may still unpack to.
type budget struct {
	bytes int64
	files int
}

func newBudget() *budget { return &budget{maxBytes, maxFiles} }

// spend takes a file off the budget.
func (b *budget) spend(size int64) error {
	if b.files--; b.files < 0 {
		return fmt.Errorf("the archive has more than %d files", maxFiles)
	}
	if b.bytes -= size; size < 0 || b.bytes < 0 {
		return fmt.Errorf("the archive unpacks to more than %d bytes", int64(maxBytes))
	}
	return nil
}

func untar(root *os.Root, name, dir string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var from io.Reader = f
	if !strings.HasSuffix(name, ".tar") {
		zipped, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		from = zipped
	}
	left := newBudget()
	for t := tar.NewReader(from); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = left.spend(h.Size)
		}
		if err == nil {
			err = unpack(root, dir, h, t)
		}
		if err != nil {
			return err
		}
	}
}

// unpack writes one entry of a tar. Devices and the like are skipped; links go nowhere else than the root lets them.
func unpack(root *os.Root, dir string, h *tar.Header, from io.Reader) error {
	to := filepath.Join(dir, h.Name)
	if !filepath.IsLocal(to) {
		return fmt.Errorf("the archive has %q, which is outside of it", h.Name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(to, 0o755)
	case tar.TypeReg:
		return write(root, to, h.FileInfo().Mode().Perm()|0o444, from, h.Size)
	case tar.TypeSymlink:
		if filepath.IsAbs(h.Linkname) || !filepath.IsLocal(filepath.Join(filepath.Dir(to), h.Linkname)) {
			return fmt.Errorf("the archive links %q to %q, which is outside of it", h.Name, h.Linkname)
		}
		return root.Symlink(h.Linkname, to)
	}
	return nil
}

func unzip(root *os.Root, name, dir string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return err
	}
	left := newBudget()
	for _, entry := range z.File {
		if err := left.spend(int64(entry.UncompressedSize64)); err != nil {
			return err
		}
		if err := unzipOne(root, dir, entry); err != nil {
			return err
		}
	}
	return nil
}

func unzipOne(root *os.Root, dir string, entry *zip.File) error {
	to := filepath.Join(dir, entry.Name)
	if !filepath.IsLocal(to) {
		return fmt.Errorf("the archive has %q, which is outside of it", entry.Name)
	}
	if entry.FileInfo().IsDir() {
		return root.MkdirAll(to, 0o755)
	}
	if !entry.Mode().IsRegular() {
		return nil
	}
	from, err := entry.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	return write(root, to, entry.Mode().Perm()|0o444, from, int64(entry.UncompressedSize64))
}
