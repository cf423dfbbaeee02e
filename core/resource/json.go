package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MarshalJSON writes amounts as text in their kind's unit: {"cpu":"2","memory":"4Gi"}.
func (r Resources) MarshalJSON() ([]byte, error) {
	out := make(map[string]string, len(r))
	for n, a := range r {
		out[n] = FormatValue(n, a)
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads amounts given as text or as plain numbers (2, 0.5), each in its kind's unit.
func (r *Resources) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("resources: want an object such as {cpu: 2, memory: 4Gi}")
	}
	out := make(Resources, len(raw))
	for name, v := range raw {
		text := string(bytes.TrimSpace(v))
		if len(text) > 0 && text[0] == '"' {
			if err := json.Unmarshal(v, &text); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		a, err := ParseValue(name, text)
		if err != nil {
			return err
		}
		out[name] = a
	}
	*r = out
	return nil
}
