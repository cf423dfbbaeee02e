package start

import (
	"fmt"
	"path/filepath"

	"polder.dev/polder/cmd/polder/cli"
)

// sayConsole prints where the console is and how to log in.
func sayConsole(s cli.Streams, dir, addr string) {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	fmt.Fprintf(s.Out, `
  console  https://%s/
  log in   POLDER_CONTEXT=%s polder console    prints a link that logs you in;
           or with the token in %s

`, addr, filepath.Join(dir, contextFile), filepath.Join(dir, adminTokenFile))
}
