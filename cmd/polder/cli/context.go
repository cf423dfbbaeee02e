package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// Context is the content of a context file: which server, how to know it, and who we are. "polder up" writes one.
type Context struct {
	// Server is host:port, or several of one cluster with commas between.
	Server string `json:"server"`
	// CA is the cluster's CA: PEM text, or a file, relative to the context file.
	CA string `json:"ca,omitempty"`
	// TokenFile holds the token, relative to the context file.
	TokenFile string `json:"tokenFile,omitempty"`
	// Docker is where the Docker door is, host:port.
	Docker string `json:"docker,omitempty"`
}

// ReadContext reads a context file. Unknown fields and a missing server are errors; relative paths come back joined to
// the file's directory. A missing file is [io/fs.ErrNotExist].
func ReadContext(path string) (Context, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Context{}, fmt.Errorf("context file: %w", err)
	}
	var c Context
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Context{}, fail(exitUsage, "A context file has server, ca, tokenFile and docker, nothing else.", "context file %s: %v", path, err)
	}
	if c.Server == "" {
		return Context{}, fail(exitUsage, "Add the line \"server: host:port\".", "context file %s: no server", path)
	}
	dir := filepath.Dir(path)
	c.TokenFile = under(dir, c.TokenFile)
	if !strings.Contains(c.CA, "-----BEGIN") {
		c.CA = under(dir, c.CA)
	}
	return c, nil
}

// under resolves path relative to dir; an empty path stays empty.
func under(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Write replaces the context file at path, readable by its owner only. Its directory must exist.
func (c Context) Write(path string) error {
	data, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("context file %s: %w", path, err)
	}
	if err := replacePrivate(path, string(data)); err != nil {
		return fmt.Errorf("context file: %w", err)
	}
	return nil
}
