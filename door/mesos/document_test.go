package mesos

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// TestDocumentInParts: what is written in parts is what encoding it all at once gives, tasks in order of their ids.
func TestDocumentInParts(t *testing.T) {
	doc := object{
		"text": "a<b", "empty": object{}, "list": []object{{"x": 1.5}, {}}, "none": []object{}, "kept": []json.RawMessage{[]byte(`{"k":1}`), []byte("2")},
		"tasks": listOf([][]byte{[]byte(`"first","second"`), []byte(`"third"`)}), "no tasks": listOf(nil), "words": []string{"v"},
	}
	w := httptest.NewRecorder()
	if err := writeDoc(w, httptest.NewRequest(http.MethodGet, "/state", nil), doc); err != nil {
		t.Fatal(err)
	}
	want := `{"empty":{},"kept":[{"k":1},2],"list":[{"x":1.5},{}],"no tasks":[],"none":[],"tasks":["first","second","third"],"text":"a\u003cb","words":["v"]}`
	if w.Body.String() != want {
		t.Errorf("it is %s, want %s", w.Body, want)
	}
	w = httptest.NewRecorder()
	if err := writeDoc(w, httptest.NewRequest(http.MethodGet, "/state?jsonp=f", nil), object{}); err != nil || w.Body.String() != "f({});" {
		t.Errorf("for a page it is %s, %v", w.Body, err)
	}
}

// TestTaskDocumentIsNew: a task's document is made anew when its state has changed, and not before.
func TestTaskDocumentIsNew(t *testing.T) {
	task, d := keptTask(), &Door{}
	task.fw.put(task)
	state := func() string {
		var doc struct{ State string }
		if err := json.Unmarshal(task.document(), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.State
	}
	if state() != "TASK_RUNNING" {
		t.Errorf("it is %s", task.document())
	}
	task.fw.papers["a"].tasks.AppendPieces(nil)
	if first, again := task.document(), task.document(); &first[0] != &again[0] {
		t.Error("it is made twice")
	}
	task.note(d, task.status(mesosv1.TaskState_TASK_KILLING, ""))
	if state() != "TASK_KILLING" {
		t.Errorf("after a change it is %s", task.document())
	}
}
