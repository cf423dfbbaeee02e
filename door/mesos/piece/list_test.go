package piece

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// word is an item whose text counts how often it was made.
type word struct {
	text  string
	made  int
	shelf *Shelf[*word]
}

// AppendText implements [Item].
func (w *word) AppendText(dst []byte) []byte {
	w.made++
	return AppendString(dst, w.text)
}

// TestListIsWhatIsOnIt adds, changes and removes at random, and compares with a plain slice; a text is made only when it is new, and what was
// given out before is not touched.
func TestListIsWhatIsOnIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list List[*word]
		var all []*word
		type given struct{ pieces, copies [][]byte }
		var before []given
		pick := func(t *rapid.T) *word {
			if len(all) == 0 {
				t.Skip("nothing is on it")
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*perShelf).Draw(t, "so many") {
					w := &word{text: fmt.Sprint("w", len(all))}
					w.shelf = list.Add(w)
					all = append(all, w)
				}
			},
			"change": func(t *rapid.T) {
				w := pick(t)
				w.text += "'"
				w.shelf.Changed(w)
			},
			"remove": func(t *rapid.T) {
				for range rapid.IntRange(1, perShelf).Draw(t, "so many") {
					w := pick(t)
					w.shelf.Remove(w)
					all = slices.DeleteFunc(all, func(x *word) bool { return x == w })
				}
			},
			"one": func(t *rapid.T) {
				if w := pick(t); string(w.shelf.Text(w)) != `"`+w.text+`"` {
					t.Fatalf("%q is %s", w.text, w.shelf.Text(w))
				}
			},
			"": func(t *rapid.T) {
				pieces := list.AppendPieces(nil)
				before = append(before, given{pieces, clones(pieces)})
				sameWords(t, pieces, all)
				for _, w := range all {
					w.made = 0
				}
				list.AppendPieces(nil)
				for _, w := range all {
					if w.made > 0 {
						t.Fatalf("the text of %q is made again", w.text)
					}
				}
				if list.Len() != len(all) {
					t.Fatalf("there are %d, want %d", list.Len(), len(all))
				}
				for _, g := range before {
					if !slices.EqualFunc(g.pieces, g.copies, bytes.Equal) {
						t.Fatal("a piece was written to after it was given out")
					}
				}
			},
		})
		if most := 3 + 2*len(all)/perShelf; len(list.AppendPieces(nil)) > len(all) || len(list.shelves) > most && len(list.roomy) == 0 {
			t.Fatalf("%d items lie on %d shelves", len(all), len(list.shelves))
		}
	})
}

func clones(pieces [][]byte) (out [][]byte) {
	for _, p := range pieces {
		out = append(out, bytes.Clone(p))
	}
	return out
}

// sameWords checks that pieces are a list of words, in any order.
func sameWords(t *rapid.T, pieces [][]byte, all []*word) {
	var x Text
	x.Pieces(pieces)
	var got, want []string
	if err := json.Unmarshal(bytes.Join(x.Parts(), nil), &got); err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		want = append(want, w.text)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("it is %q, want %q", got, want)
	}
}

// TestListKeepsOrder: what is only added stays in order, and what was removed leaves room that is used again.
func TestListKeepsOrder(t *testing.T) {
	var list List[*word]
	var all []*word
	add := func() {
		w := &word{text: fmt.Sprint(len(all))}
		w.shelf = list.Add(w)
		all = append(all, w)
	}
	for range 10 * perShelf {
		add()
	}
	var x Text
	x.Pieces(list.AppendPieces(nil))
	var got []string
	if err := json.Unmarshal(bytes.Join(x.Parts(), nil), &got); err != nil || !slices.EqualFunc(got, all, func(s string, w *word) bool { return s == w.text }) {
		t.Errorf("not in order: %v", err)
	}
	for range 10 {
		for _, w := range all[:9*perShelf] {
			w.shelf.Remove(w)
		}
		all = all[9*perShelf:]
		for range 9 * perShelf {
			add()
		}
	}
	if n := len(list.shelves); n > 12 {
		t.Errorf("%d items lie on %d shelves", list.Len(), n)
	}
}

// TestText: what is written reads back as what was meant, whatever is in it.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, number := rapid.String().Draw(t, "text"), rapid.Float64().Draw(t, "number")
		x := &Text{}
		x.Open('{')
		x.String(text, text)
		x.Number("n", number)
		x.Bool("b", true)
		x.Key("list")
		x.Open('[')
		x.Item(text)
		x.Open('{')
		x.Close('}')
		x.Item("last")
		x.Close(']')
		x.Key("pieces")
		x.Pieces([][]byte{[]byte(`1,2`), []byte(`3`)})
		x.Raw("raw", []byte("{}"))
		x.With("with", func(dst []byte) []byte { return append(dst, "[]"...) })
		x.Close('}')
		data := bytes.Join(x.Parts(), nil)
		want, err := json.Marshal(map[string]any{
			text: text, "n": number, "b": true, "list": []any{text, map[string]any{}, "last"}, "pieces": []int{1, 2, 3}, "raw": map[string]any{}, "with": []any{},
		})
		if err != nil {
			t.Fatal(err)
		}
		if !sameJSON(data, want) {
			t.Fatalf("it is\n%s, want\n%s", data, want)
		}
	})
	for f, want := range map[float64]string{math.NaN(): "0", math.Inf(-1): "0", 1: "1", 0.25: "0.25", 1e21: "1e+21", 1e-7: "1e-07"} {
		if got := string(appendNumber(nil, f)); got != want {
			t.Errorf("%v is %s, want %s", f, got, want)
		}
	}
}

// sameJSON reports whether two texts mean the same.
func sameJSON(a, b []byte) bool {
	norm := func(data []byte) string {
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			return err.Error()
		}
		out, _ := json.Marshal(v)
		return string(out)
	}
	return norm(a) == norm(b)
}
