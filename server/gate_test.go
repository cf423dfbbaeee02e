package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"polder.dev/polder/auth"
	"polder.dev/polder/server/traffic"
)

// TestGate: what a task asks reaches the door with its own credentials and the node of the agent that passed it on; nobody but an agent
// passes anything on.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &traffic.Book{}
		w := newWorld(t, func(c *Config) { c.Doors = book })
		node := w.agentClient(w.newAgent("n1", map[string]string{"cpu": "1"}))
		ask := func(c *client, own string) (int, string) {
			r, err := http.NewRequest(http.MethodPost, baseURL+auth.GatePath+"/api/v1/executor", strings.NewReader("call"))
			if err != nil {
				t.Fatal(err)
			}
			if own != "" {
				r.Header.Set(auth.GateAuthorization, own)
			}
			res, err := c.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return res.StatusCode, string(text)
		}
		if status, _ := ask(node, ""); status != http.StatusNotFound {
			t.Errorf("without a door it is answered %d", status)
		}
		book.Opens(func(node string, w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %q %q %s", node, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get(auth.GateAuthorization), body)
		})
		if status, text := ask(node, "Bearer own"); status != http.StatusOK || text != `n1 /api/v1/executor "Bearer own" "" call` {
			t.Errorf("the door sees %s (%d)", text, status)
		}
		if _, text := ask(node, ""); text != `n1 /api/v1/executor "" "" call` {
			t.Errorf("of a task without credentials the door sees %s", text)
		}
		if status, text := ask(w.as(w.admin), "Bearer own"); status != http.StatusForbidden {
			t.Errorf("an admin is answered %d: %s", status, text)
		}
		if status, text := ask(w.as(""), "Bearer own"); status != http.StatusUnauthorized {
			t.Errorf("nobody is answered %d: %s", status, text)
		}
	})
}
