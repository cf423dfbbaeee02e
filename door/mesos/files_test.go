package mesos

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/masterv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// runs launches a task that runs for ever and returns what the pool calls it.
func (w *world) runs(c *client, id string) (native string) {
	w.t.Helper()
	o := c.offer()
	c.must(http.StatusAccepted, launchCall(o, command(o, id, "forever", scalar("cpus", 0.5), scalar("mem", 64))))
	return c.state(id, mesosv1.TaskState_TASK_RUNNING).GetContainerStatus().GetContainerId().GetValue()
}

// TestFiles: a task's sandbox is browsed, read and downloaded as tools do it, by whoever may read what the role's tasks write.
func TestFiles(t *testing.T) {
	w := newWorld(t, onePlan, 1, nil)
	ann, eve := w.user("ann", "view a", "logs a"), w.user("eve", "view b", "logs b")
	c := w.subscribe(w.admin, info("one", []string{"a"}))
	native := w.runs(c, "t1")
	sandbox := filepath.Join(w.dirs["n1"], "sandboxes", native)
	text := strings.Repeat("0123456789", 7000)
	for name, data := range map[string]string{"stdout": text, "sub/a": "a", "bytes": "\xff\x00"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(sandbox, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sandbox, name), []byte(data), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(sandbox, "out")); err != nil {
		t.Fatal(err)
	}
	var known map[string]string
	if _, body := w.send(ann, "/files/debug", nil); json.Unmarshal([]byte(body), &known) != nil || len(known) != 1 {
		t.Fatalf("ann knows %s", body)
	}
	if _, body := w.send(eve, "/files/debug", nil); strings.TrimSpace(body) != "{}" {
		t.Errorf("eve knows %s", body)
	}
	dir := "/var/lib/polder/slaves/n1/frameworks/" + c.id + "/executors/t1/runs/" + native
	if known[dir] == "" {
		t.Fatalf("%s is not among %v", dir, known)
	}
	at := func(kind, path, more string) string {
		return "/files/" + kind + "?path=" + url.QueryEscape(path) + more
	}
	for _, root := range []string{dir, dir + "/", strings.TrimSuffix(dir, native) + "latest", "/frameworks/" + c.id + "/executors/t1/runs/latest"} {
		res, body := w.send(ann, at("browse", root, ""), nil)
		var files []struct {
			Path, Mode, UID string
			Size            int
			Mtime           float64
			Nlink           int
		}
		if err := json.Unmarshal([]byte(body), &files); err != nil || len(files) != 4 {
			t.Fatalf("%s lists %s %s, %v", root, res.Status, body, err)
		}
		root = strings.TrimSuffix(root, "/")
		if f := files[2]; f.Path != root+"/stdout" || f.Mode != "-rw-r-----" || f.Size != len(text) || f.Nlink != 1 || f.Mtime < 1e9 {
			t.Errorf("stdout is %+v", f)
		}
		if f := files[3]; f.Path != root+"/sub" || f.Mode[0] != 'd' {
			t.Errorf("sub is %+v", f)
		}
	}
	for query, want := range map[string]string{
		"&offset=-1":             fmt.Sprintf(`{"data":"","offset":%d}`, len(text)),
		"&offset=3&length=4":     `{"data":"3456","offset":3}`,
		"":                       fmt.Sprintf(`{"data":"","offset":%d}`, len(text)),
		"&offset=99999":          `{"data":"","offset":99999}`,
		"&offset=0&length=0":     `{"data":"","offset":0}`,
		"&offset=0&jsonp=f":      `f({"data":"` + text[:maxRead] + `","offset":0});`,
		"&offset=69999":          `{"data":"9","offset":69999}`,
		"&offset=0&length=99999": `{"data":"` + text[:maxRead] + `","offset":0}`,
	} {
		if _, body := w.send(ann, at("read", dir+"/stdout", query), nil); body != want {
			t.Errorf("%s reads %.200s, want %.200s", query, body, want)
		}
	}
	res, body := w.send(ann, at("download", dir+"/bytes", ""), nil)
	if body != "\xff\x00" || res.Header.Get("Content-Disposition") != "attachment; filename=bytes" {
		t.Errorf("the download is %q, %v", body, res.Header)
	}
	if _, body := w.send(ann, at("download.json", dir+"/stdout", ""), nil); body != text {
		t.Errorf("the download has %d bytes", len(body))
	}
	for _, x := range []struct {
		who, path string
		status    int
	}{
		{eve, at("browse", dir, ""), 403}, {eve, at("read", dir+"/stdout", "&offset=0"), 403}, {eve, at("download", dir+"/stdout", ""), 403},
		{"", at("browse", dir, ""), 401}, {ann, "/files/browse", 400}, {ann, "/files/read?path=", 400}, {ann, at("browse", "/etc", ""), 404},
		{ann, at("read", dir+"/missing", "&offset=0"), 404}, {ann, at("download", dir+"/missing", ""), 404}, {ann, at("read", dir+"/sub", ""), 400},
		{ann, at("read", dir+"/out", "&offset=0"), 400}, {ann, at("download", dir+"/out", ""), 400}, {ann, at("browse", dir+"/stdout", ""), 400},
		{ann, at("read", dir+"/../../../../../../../../../../../etc/passwd", ""), 404}, {ann, at("read", dir+"/../"+native+"x/stdout", ""), 404},
		{ann, at("read", dir+"/stdout", "&offset=-2"), 400}, {ann, at("read", dir+"/stdout", "&offset=x"), 400}, {ann, at("read", dir+"/stdout", "&length=-7"), 400},
		{ann, at("browse", "/frameworks/x/executors/t1/runs/latest", ""), 404},
	} {
		if res, body := w.send(x.who, x.path, nil); res.StatusCode != x.status {
			t.Errorf("%s is answered %s: %.200s, want %d", x.path, res.Status, body, x.status)
		}
	}
	callsOnFiles(w, ann, eve, dir)
}

// callsOnFiles: the operator's calls do the same.
func callsOnFiles(w *world, ann, eve, dir string) {
	w.t.Helper()
	ask := func(who string, call *masterv1.Call) (int, *masterv1.Response) {
		res, body := w.send(who, "/api/v1", wire.AppendJSON(nil, call), "Content-Type", "application/json")
		out := &masterv1.Response{}
		if res.StatusCode == http.StatusOK {
			if err := wire.UnmarshalJSON([]byte(body), out); err != nil {
				w.t.Fatal(err)
			}
		}
		return res.StatusCode, out
	}
	list := &masterv1.Call{Type: masterv1.Call_LIST_FILES.Enum(), ListFiles: &masterv1.Call_ListFiles{Path: &dir}}
	if status, out := ask(ann, list); status != 200 || len(out.GetListFiles().GetFileInfos()) != 4 || out.ListFiles.FileInfos[2].GetPath() != dir+"/stdout" {
		w.t.Errorf("LIST_FILES is answered %d: %v", status, out)
	}
	read := &masterv1.Call{Type: masterv1.Call_READ_FILE.Enum(), ReadFile: &masterv1.Call_ReadFile{Path: new(dir + "/stdout"), Offset: new(uint64(2)), Length: new(uint64(3))}}
	if status, out := ask(ann, read); status != 200 || string(out.GetReadFile().GetData()) != "234" || out.ReadFile.GetSize() != 70000 {
		w.t.Errorf("READ_FILE is answered %d: %v", status, out)
	}
	for _, call := range []*masterv1.Call{list, read} {
		if status, _ := ask(eve, call); status != http.StatusForbidden {
			w.t.Errorf("%v for another tenant is answered %d", call.GetType(), status)
		}
	}
}

// TestBrokenOff: an answer that breaks off is not taken for a whole one.
func TestBrokenOff(t *testing.T) {
	d := &Door{log: slog.New(slog.DiscardHandler)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer d.recovered(w, r)
		_, _ = w.Write([]byte("half"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	res, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err == nil || string(got) != "half" {
		t.Errorf("%q and %v", got, err)
	}
}
