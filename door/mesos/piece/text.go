package piece

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// Text is a JSON document that is being written, its fields in the order in which they are. Its zero value is an empty one; what is opened
// must be closed again by who writes.
type Text struct {
	done [][]byte // what comes before tail
	tail []byte
}

// On continues a text that has begun elsewhere.
func On(dst []byte) *Text { return &Text{tail: dst} }

// Bytes is the text when nothing in it was put there by [Text.Pieces].
func (t *Text) Bytes() []byte { return t.tail }

// Parts are the text, to be read one after the other.
func (t *Text) Parts() [][]byte { return append(t.done, t.tail) }

// Open begins an object or a list with its bracket.
func (t *Text) Open(bracket byte) {
	t.separate()
	t.tail = append(t.tail, bracket)
}

// Close ends it.
func (t *Text) Close(bracket byte) { t.tail = append(t.tail, bracket) }

// separate puts a comma between what is in the same object or list.
func (t *Text) separate() {
	if n := len(t.tail); n > 0 {
		switch t.tail[n-1] {
		case '{', '[', ':', ',':
		default:
			t.tail = append(t.tail, ',')
		}
	}
}

// Key begins a field of an object.
func (t *Text) Key(name string) {
	t.separate()
	t.tail = append(AppendString(t.tail, name), ':')
}

// String writes a field that is a text.
func (t *Text) String(name, value string) {
	t.Key(name)
	t.tail = AppendString(t.tail, value)
}

// Item writes a text as an item of a list.
func (t *Text) Item(value string) {
	t.separate()
	t.tail = AppendString(t.tail, value)
}

// Number writes a field that is a number; what JSON has no number for is zero.
func (t *Text) Number(name string, value float64) {
	t.Key(name)
	t.tail = appendNumber(t.tail, value)
}

// Bool writes a field that is true or false.
func (t *Text) Bool(name string, value bool) {
	t.Key(name)
	t.tail = strconv.AppendBool(t.tail, value)
}

// Raw writes a field that is JSON already.
func (t *Text) Raw(name string, value []byte) {
	t.Key(name)
	t.tail = append(t.tail, value...)
}

// With writes a field with a function that appends its value.
func (t *Text) With(name string, write func(dst []byte) []byte) {
	t.Key(name)
	t.tail = write(t.tail)
}

// Pieces writes a list out of pieces that are not copied.
func (t *Text) Pieces(pieces [][]byte) {
	t.Open('[')
	for i, p := range pieces {
		if i > 0 {
			t.tail = append(t.tail, ',')
		}
		t.done = append(t.done, t.tail, p)
		t.tail = t.tail[len(t.tail):] // what is behind it is not read by whoever has the parts
	}
	t.Close(']')
}

// AppendString appends a text in quotes. What is not UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string can be encoded
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

func appendNumber(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return append(dst, '0')
	case abs != 0 && (abs < 1e-6 || abs >= 1e21):
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}
