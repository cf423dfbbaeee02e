package cli

import (
	"strings"
	"testing"
)

// TestSeveralServers: of several servers the command line speaks to the one that leads, whichever is named first, and says what
// each answered when none does.
func TestSeveralServers(t *testing.T) {
	leads, follows := newFake(t), newFake(t)
	follows.follows = true
	const nobody = "127.0.0.1:1"
	for _, list := range []string{leads.url + "," + follows.url, follows.url + ", " + leads.url, nobody + "," + follows.url + "," + leads.url} {
		env := leads.env()
		env["POLDER_ADDR"], env["POLDER_CA"] = list, leads.ca+follows.ca
		if r := (command{env: env}).run("node", "list"); r.code != 0 || !strings.Contains(r.out, "node-1") {
			t.Errorf("%s: exit %d: %s", list, r.code, r.err)
		}
	}
	if n := follows.calls["/polder.v1.NodeService/List"]; n != 0 {
		t.Errorf("%d calls went to the server that does not lead", n)
	}
	env := leads.env()
	env["POLDER_ADDR"], env["POLDER_CA"] = nobody+","+follows.url, follows.ca
	r := command{env: env}.run("node", "list")
	for _, want := range []string{"none of the 2 servers leads", nobody + ": ", "connection refused", follows.url + ": does not lead", "next: "} {
		if r.code != exitError || !strings.Contains(r.err, want) {
			t.Errorf("exit %d, want %q in:\n%s", r.code, want, r.err)
		}
	}
}
