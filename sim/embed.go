package sim

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed scenarios/*.yaml
var shipped embed.FS

// Shipped lists the names of the scenarios that come with Polder.
func Shipped() []string {
	files, _ := fs.Glob(shipped, "scenarios/*.yaml") // the pattern is good
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".yaml")
	}
	slices.Sort(files)
	return files
}

// ShippedText returns a scenario that comes with Polder, as it is written.
func ShippedText(name string) ([]byte, error) {
	data, err := shipped.ReadFile("scenarios/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("no scenario is called %q; there are %s", name, strings.Join(Shipped(), ", "))
	}
	return data, nil
}
