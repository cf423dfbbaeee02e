package fields

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth is how deep objects and lists may nest. The table knows nothing deeper than seven.
const maxDepth = 16

// Decode reads one JSON object. Numbers stay as they were written.
func Decode(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d, "", 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the object")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("want a JSON object")
	}
	return object, nil
}

func value(d *json.Decoder, path string, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("at %s: %w", at(path), noEOF(err))
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, fmt.Errorf("%s is nested deeper than %d", at(path), maxDepth)
	}
	if open == '[' {
		return list(d, path, depth)
	}
	return object(d, path, depth)
}

func list(d *json.Decoder, path string, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := value(d, path+"[]", depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := d.Token()
	return out, noEOF(err)
}

func object(d *json.Decoder, path string, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("in %s: %w", at(path), noEOF(err))
		}
		key := t.(string) // a decoder gives nothing else here
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%s is given twice", join(path, key))
		}
		if out[key], err = value(d, join(path, key), depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return out, noEOF(err)
}

// noEOF names an end in the middle of something: to a caller an EOF alone would read like a good end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func at(path string) string {
	if path == "" {
		return "the beginning"
	}
	return path
}
