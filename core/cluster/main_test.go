package cluster

import (
	"flag"
	"os"
	"testing"
)

// TestMain has properties draw the same days every time, so that a test passes or fails for what was changed. New days are for
// "make prove", which draws others on each run; what it finds is a story, or a property, afterwards.
func TestMain(m *testing.M) {
	flag.Parse()
	if seed := flag.Lookup("rapid.seed").Value; seed.String() == "0" {
		if err := seed.Set("1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
