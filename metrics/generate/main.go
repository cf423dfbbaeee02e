// Command generate writes what follows from the table of metrics: the page docs/metrics.md, a Grafana dashboard and Prometheus alert
// rules. Its argument is the directory of the repository.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"polder.dev/polder/metrics"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIRECTORY")
		os.Exit(2)
	}
	for name, content := range metrics.Files() {
		path := filepath.Join(os.Args[1], name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
